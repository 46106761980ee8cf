# Offers this guest's programs an ssh agent that is elsewhere: what they ask goes out on standard output, answers come in on standard input.
#
# Both carry frames: a connection's number, a length (32 bits each, the highest first), and so many bytes: one message of the agent
# protocol. A length of 0 ends a connection. The first frame in is a file of known hosts, and the first one out is the directory
# where that and the socket are. It goes when standard input ends, which is when nixoci does.
import glob, os, select, shutil, socket, struct, sys, tempfile

LIMIT = 256 << 10
PREFIX = "/dev/shm/nixoci-agent-"


def whole(buffer, fixed):
    """Takes a whole message off a buffer: its number, where it has one, and itself."""
    if len(buffer) < fixed:
        return None
    length = struct.unpack(">I", buffer[fixed - 4:fixed])[0]
    if length > LIMIT and fixed == 4:
        raise ValueError
    if len(buffer) < fixed + length:
        return None
    number = struct.unpack(">I", buffer[:4])[0] if fixed == 8 else None
    message = bytes(buffer[fixed:fixed + length])
    del buffer[:fixed + length]
    return number, message


def send(number, message):
    data = struct.pack(">II", number, len(message)) + message
    while data:
        data = data[os.write(1, data):]


def sweep():
    # Those whose process was killed.
    for left in glob.glob(PREFIX + "*"):
        try:
            socket.socket(socket.AF_UNIX).connect(left + "/socket")
        except ConnectionRefusedError:
            shutil.rmtree(left, ignore_errors=True)
        except OSError:
            pass


def serve(place):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place + "/socket")
    listener.listen(16)
    clients, buffers, incoming, last, started = {}, {}, bytearray(), 0, False
    while True:
        ready, _, _ = select.select([0, listener, *clients.values()], [], [])
        if 0 in ready:
            data = os.read(0, 1 << 16)
            if not data:
                return
            incoming += data
            while True:
                frame = whole(incoming, 8)
                if frame is None:
                    break
                number, message = frame
                if not started:
                    started = True
                    with open(place + "/known_hosts", "wb") as file:
                        file.write(message)
                    send(0, place.encode())
                elif number in clients:
                    try:
                        clients[number].sendall(struct.pack(">I", len(message)) + message)
                    except OSError:
                        pass
        if listener in ready:
            last += 1
            clients[last], buffers[last] = listener.accept()[0], bytearray()
        for number, client in list(clients.items()):
            if client not in ready:
                continue
            try:
                data = client.recv(1 << 16)
                buffers[number] += data
                while data:
                    message = whole(buffers[number], 4)
                    if message is None:
                        break
                    # Nothing is no message, and would end the connection.
                    send(number, message[1] or b"\0")
            except (OSError, ValueError):
                data = b""
            if not data:
                send(number, b"")
                clients.pop(number).close()
                del buffers[number]


os.umask(0o077)
sweep()
place = tempfile.mkdtemp(prefix=os.path.basename(PREFIX), dir=os.path.dirname(PREFIX))
try:
    serve(place)
except (BrokenPipeError, KeyboardInterrupt):
    pass
finally:
    shutil.rmtree(place, ignore_errors=True)
