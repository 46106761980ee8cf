#!/bin/sh
# Fetches the stand-in nixpkgs' sources: make-sources.sh LIST OUT MIRROR SUITE all|demo, run inside a scratch copy of a root, online.
#
# OUT gets one unpacked tree for every package and CPU, `sources.json` with the address each has in a Nix store, and
# the emulator for arm64. With `demo` there are amd64's packages alone, without tools and emulator.
set -eu
list=$1 out=$2 mirror=$3 suite=$4 which=$5
export LC_ALL=C
architectures=amd64
[ "$which" = demo ] || architectures='amd64 arm64'
lists=/tmp/apt-lists
mkdir -p "$lists/partial"
: > /tmp/no-status
echo "deb $mirror $suite main" > /tmp/sources.list
apt() {
    what=$1
    shift
    # No package is installed, as far as this apt knows: else it wants the versions that the root has.
    set -- -o "Dir::State::lists=$lists" -o Dir::State::status=/tmp/no-status -o Dir::Etc::sourcelist=/tmp/sources.list -o Dir::Etc::sourceparts=- \
        -o APT::Sandbox::User=root "$@"
    for architecture in $architectures; do set -- -o "APT::Architectures::=$architecture" "$@"; done
    "apt-$what" -q "$@"
}
apt get update >&2

fetch() { # fetch DEBIAN-ARCH NIX-SYSTEM
    mkdir -p "/tmp/debs/$1" && cd "/tmp/debs/$1"
    sed 's/#.*//' "$list" | while read -r name kind; do
        case $name:$kind in
        :*) ;;
        *:all) echo "$name" ;;
        *:tool) [ "$1" != amd64 ] || [ "$which" = demo ] || echo "$name" ;;
        *) echo "$name:$1" ;;
        esac
    done > list
    # shellcheck disable=SC2046 # one word a package
    apt get download $(cat list) >&2
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
# Not in a condition: there the shell would go on after what fails.
fetch amd64 x86_64-linux > "$out/sources.list.new"
if [ "$which" != demo ]; then fetch arm64 aarch64-linux >> "$out/sources.list.new"; fi

if [ "$which" != demo ]; then
    cd /tmp
    apt get download qemu-user >&2
    dpkg-deb --fsys-tarfile qemu-user_*.deb | tar -xO ./usr/bin/qemu-aarch64 > "$out/qemu-aarch64-static"
    chmod 755 "$out/qemu-aarch64-static"
fi

grep -E '^(x86_64|aarch64)-linux ' "$out/sources.list.new" | LC_ALL=C sort > "$out/sources.list"
rm "$out/sources.list.new"
jq -Rn '[inputs | split(" ")] | reduce .[] as [$system, $deb, $version, $name, $hash]
    ({}; .[$system][$deb] = {version: $version, name: $name, hash: $hash})' < "$out/sources.list" > "$out/sources.json"
