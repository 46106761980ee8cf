#!/bin/sh
# Fills a Nix store with the stand-in's sources and packages, so that the lab starts as a machine with a warm binary
# cache would: seed-store.sh SYSTEM..., run in a scratch copy of a Nix root whose /nix is the store to fill.
set -eu
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

nix-store --add-fixed --recursive sha256 /lab/sources/*-amd64 /lab/sources/*-arm64 | while read -r path; do
    ln -sfn "$path" "/nix/var/nix/gcroots/lab/${path##*/}"
done
for system in "$@"; do
    nix-build --no-build-output -o "/nix/var/nix/gcroots/lab/$system" -E "import /lab/nixpkgs/seed.nix { system = \"$system\"; }"
done
nix-collect-garbage > /dev/null
# What the builds said, and nobody will ask for again.
rm -rf /nix/var/log/nix/drvs
