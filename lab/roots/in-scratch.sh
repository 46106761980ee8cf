#!/bin/sh
# Runs a command in a throw-away copy of a root, with the machine's network: in-scratch.sh ROOT WORK BINDS COMMAND...
#
# WORK holds what the copy writes. BINDS is `SOURCE:TARGET,...`. With LAB_ARM64 (a name) and LAB_QEMU arm64 programs run. The caller has put us into a mount namespace of our own,
# so nothing needs to be unmounted; pivot_root instead of chroot, because Nix cannot make its sandbox under chroot.
set -eu
here=$(dirname "$(readlink -f "$0")")
root=$1 work=$2 binds=$3
shift 3
mkdir -p "$work/upper" "$work/work" "$work/merged"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/work" "$work/merged"
cd "$work/merged"
mkdir -p .old
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
rm -f etc/resolv.conf
cp -L /etc/resolv.conf etc/resolv.conf 2> /dev/null || true
printf '%s\n' "$binds" | tr ',' '\n' | while IFS=: read -r source target; do
    [ -n "$source" ] || continue
    if [ -d "$source" ]; then mkdir -p ".$target"; else mkdir -p ".${target%/*}" && : > ".$target"; fi
    mount --bind "$source" ".$target"
done
[ -z "${LAB_ARM64:-}" ] || "$here/arm64.sh" register "$LAB_ARM64" "$PWD/proc/sys/fs/binfmt_misc" "$LAB_QEMU"
pivot_root . .old
cd /
umount -l /.old
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
