#!/bin/sh
# Makes an apt repository with Nix, qemu and what they need beyond a guest: make-repository.sh OUT, run inside a scratch copy of the
# guest's root, online.
set -eu
out=$1
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
mkdir -p "$out/partial"
apt-get -q -y --download-only -o "Dir::Cache::archives=$out" -o APT::Sandbox::User=root install nix-bin nix-setup-systemd qemu-user-static
rm -rf "$out/partial" "$out/lock"
cd "$out"
for deb in *.deb; do
    dpkg-deb -f "$deb"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
done > Packages
