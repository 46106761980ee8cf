#!/bin/sh
# Fetches the stand-in nixpkgs' sources: make-sources.sh LIST OUT, run inside a scratch copy of the trixie root, online.
#
# OUT gets one unpacked tree for every package and CPU, `sources.json` with the address each has in a Nix store, and
# the emulator for arm64.
set -eu
list=$1 out=$2
export LC_ALL=C
lists=/tmp/apt-lists
mkdir -p "$lists/partial"
apt-get -q -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o "Dir::State::lists=$lists" -o APT::Sandbox::User=root update >&2

fetch() { # fetch DEBIAN-ARCH NIX-SYSTEM
    mkdir -p "/tmp/debs/$1" && cd "/tmp/debs/$1"
    sed 's/#.*//' "$list" | while read -r name kind; do
        case $name:$kind in
        :*) ;;
        *:all) echo "$name" ;;
        *:tool) [ "$1" != amd64 ] || echo "$name" ;;
        *) echo "$name:$1" ;;
        esac
    done | xargs apt-get -q -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 \
        -o "Dir::State::lists=$lists" -o APT::Sandbox::User=root download
    for deb in *.deb; do
        name=${deb%%_*} version=$(dpkg-deb -f "$deb" Version)
        # An epoch's colon and a rebuild's plus or tilde do not belong in a store path's name.
        version=$(printf '%s' "${version#*:}" | tr '+~' '..')
        tree=$out/$name-$version-$1
        dpkg-deb -x "$deb" "$tree"
        # What no build ever reads would only make the store slower to fill.
        rm -rf "$tree/usr/share/doc" "$tree/usr/share/man" "$tree/usr/share/locale" "$tree/usr/share/info" \
            "$tree/usr/share/lintian" "$tree/usr/lib/$2-gnu/gconv" "$tree/usr/share/bash-completion"
        hash=$(nix --extra-experimental-features nix-command hash path --sri "$tree")
        printf '%s %s %s %s %s\n' "$2" "$name" "$version" "$name-$version-$1" "$hash"
    done
}
{
    fetch amd64 x86_64-linux
    fetch arm64 aarch64-linux
} > "$out/sources.list.new" 2> "$out/fetch.log" || { cat "$out/fetch.log" >&2; exit 1; }

cd /tmp
apt-get -q -o "Dir::State::lists=$lists" -o APT::Sandbox::User=root download qemu-user >&2
dpkg-deb --fsys-tarfile qemu-user_*.deb | tar -xO ./usr/bin/qemu-aarch64 > "$out/qemu-aarch64-static"
chmod 755 "$out/qemu-aarch64-static"

grep -E '^(x86_64|aarch64)-linux ' "$out/sources.list.new" | LC_ALL=C sort > "$out/sources.list"
rm "$out/sources.list.new"
jq -Rn '[inputs | split(" ")] | reduce .[] as [$system, $deb, $version, $name, $hash]
    ({}; .[$system][$deb] = {version: $version, name: $name, hash: $hash})' < "$out/sources.list" > "$out/sources.json"
