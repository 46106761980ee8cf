#!/bin/sh
# Fills a Nix store with the stand-in's sources and packages, so that the lab starts as a machine with a warm binary
# cache would: seed-store.sh all|demo SYSTEM..., run in a scratch copy of a Nix root whose /nix is the store to fill. With `demo` it gets
# what the image of `cargo xtask demo` is made of.
set -eu
which=$1
shift
export NIX_CONF_DIR=/tmp/nix-conf
# The store may be a copy of an older one: what it kept alive then need not live now.
rm -rf /nix/var/nix/gcroots/lab
mkdir -p "$NIX_CONF_DIR" /nix/var/nix/gcroots/lab
cat > "$NIX_CONF_DIR/nix.conf" <<CONF
substituters =
sandbox = true
sandbox-fallback = false
build-users-group = nixbld
extra-platforms = aarch64-linux
nix-path = nixpkgs=/lab/nixpkgs
CONF

set_of() { printf 'import /lab/nixpkgs/seed.nix { system = "%s"; which = "%s"; }' "$1" "$which"; }
find /lab/sources -mindepth 1 -maxdepth 1 -type d | xargs nix-store --add-fixed --recursive sha256 | while read -r path; do
    ln -sfn "$path" "/nix/var/nix/gcroots/lab/${path##*/}"
done
for system in "$@"; do
    nix-build --no-build-output -o "/nix/var/nix/gcroots/lab/$system" -E "$(set_of "$system")"
done
nix-collect-garbage > /dev/null
# What the builds said, and nobody will ask for again.
rm -rf /nix/var/log/nix/drvs
