#!/bin/sh
# The last step of `lab exec`, inside the host: puts in place what this command is to find, then becomes the command.
#
# enter.sh BINDS USER CWD COMMAND... BINDS is `SOURCE:TARGET,...`, where the source `empty` is a new
# directory. We are in a mount namespace of our own, so two commands
# with different wishes do not see each other's.
set -eu
binds=$1 user=$2 cwd=$3
shift 3
IFS=,
for bind in $binds; do
    case $bind in
    empty:*) mount -t tmpfs -o mode=755 tmpfs "${bind#*:}" ;;
    *) mount --rbind "${bind%%:*}" "${bind#*:}" ;;
    esac
done
unset IFS
# For tests of a full disk: each command has one of its own.
mount -t tmpfs -o size=2m,mode=1777 tmpfs /small
# As everywhere with systemd: Podman warns where it is not so.
mount --make-rshared /
cd "$cwd"
if [ "$user" = root ]; then
    exec setpriv --pdeathsig KILL -- "$@"
fi
exec setpriv --reuid "$user" --regid "$user" --init-groups --pdeathsig KILL -- "$@"
