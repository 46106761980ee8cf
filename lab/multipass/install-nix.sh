#!/bin/sh
# Makes the root of a custom image, which has Nix installed: install-nix.sh OUT, run inside a scratch copy of the guest's root with the
# apt repository at /lab/apt.
set -eu
out=$1
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
# The packages make users and groups of their own, which differ from those of the lab's hosts.
sed -i -E '/^(nixbld|nix-users:)/d' /etc/passwd /etc/group /etc/shadow /etc/gshadow
echo 'deb [trusted=yes] file:/lab/apt ./' > /etc/apt/sources.list
mkdir /tmp/others
mv /etc/apt/sources.list.d/* /tmp/others/ 2> /dev/null || true
apt-get -q update
apt-get -q -y install --no-install-recommends nix-bin nix-setup-systemd git
apt-get clean
rm -rf /tmp/others /etc/resolv.conf
# Without what is mounted: /proc, /dev, /sys and what is below /lab.
cp -ax / "$out"
rm -rf "$out/lab" "$out/.old"
