"""Writes a static ELF program that prints "Hello, world!": static-hello.py CPU FILE."""

import struct
import sys

MESSAGE = b"Hello, world!\n"
BASE = 0x400000
HEADERS = 64 + 56


def x86_64(code_at):
    code = bytearray()
    code += b"\xb8" + struct.pack("<I", 1)  # mov eax, 1 (write)
    code += b"\xbf" + struct.pack("<I", 1)  # mov edi, 1 (stdout)
    code += b"\x48\x8d\x35"  # lea rsi, [rip + distance of the message]
    rest = b"\xba" + struct.pack("<I", len(MESSAGE))  # mov edx, length
    rest += b"\x0f\x05"  # syscall
    rest += b"\xb8" + struct.pack("<I", 60)  # mov eax, 60 (exit)
    rest += b"\x31\xff\x0f\x05"  # xor edi, edi; syscall
    return bytes(code + struct.pack("<i", len(rest)) + rest)


def aarch64(code_at):
    def mov(register, value):
        return 0xD2800000 | value << 5 | register

    count = 8
    distance = (count - 1) * 4  # from the second instruction to the message behind the last
    adr = 0x10000001 | (distance & 3) << 29 | (distance >> 2) << 5
    svc = 0xD4000001
    words = [mov(0, 1), adr, mov(2, len(MESSAGE)), mov(8, 64), svc, mov(0, 0), mov(8, 93), svc]
    assert len(words) == count
    return struct.pack(f"<{count}I", *words)


def main():
    cpu, target = sys.argv[1:]
    machine, make = {"x86_64": (62, x86_64), "aarch64": (183, aarch64)}[cpu]
    entry = BASE + HEADERS
    code = make(entry) + MESSAGE
    size = HEADERS + len(code)
    ident = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, entry, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x10000)
    with open(target, "wb") as out:
        out.write(header + segment + code)


main()
