#!/bin/sh
# arm64 programs on this machine, by qemu's user emulation: arm64.sh register NAME MISC QEMU | arm64.sh unregister NAME MISC
#
# MISC is where binfmt_misc is, or is to be mounted. On kernels of today a registration lives as long as some mount of
# binfmt_misc does: if the machine itself has none, ours ends with the mount namespace that we are in.
set -eu
what=$1 name=$2 misc=$3
[ -d "$misc" ] || modprobe binfmt_misc
[ -e "$misc/register" ] || mount -t binfmt_misc binfmt_misc "$misc"
[ ! -e "$misc/$name" ] || echo -1 > "$misc/$name"
[ "$what" = register ] || exit 0

# How an ELF program for 64-bit ARM begins; the mask leaves out what differs between programs.
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
# P keeps argv[0] (busybox needs it), O and C open the program for the emulator and keep its credentials, F opens the
# emulator now, so that it also works in roots and sandboxes that do not have it.
printf '%s' ":$name:M::$magic:$mask:$4:POCF" > "$misc/register"
