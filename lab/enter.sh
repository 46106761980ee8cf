#!/bin/sh
# The last step of `lab exec`, inside the host: puts in place what this command is to find, then becomes the command.
#
# enter.sh DOCKER NIX-CONF NIX-SOCKET USER CWD COMMAND...; `-` leaves a thing out. We are in a mount namespace of our
# own, so two commands with different wishes do not see each other's.
set -eu
docker=$1 conf=$2 socket=$3 user=$4 cwd=$5
shift 5
if [ "$docker" != - ]; then
    mount --bind "/lab/docker/$docker/sock" /lab/now/docker/sock
    mount --rbind "/lab/docker/$docker/bin" /lab/now/docker/bin
fi
[ "$conf" = - ] || mount --bind "/lab/nix-conf/$conf" /etc/nix
[ "$socket" = - ] || mount --bind "/lab/nix-daemon/$socket" /nix/var/nix/daemon-socket
cd "$cwd"
if [ "$user" = root ]; then
    exec setpriv --pdeathsig KILL -- "$@"
fi
exec setpriv --reuid "$user" --regid "$user" --init-groups --pdeathsig KILL -- "$@"
