#!/bin/bash
# Makes one small image in every shape in which people who use Nix meet images, each by the real tool: produce.sh OUT,
# run on a host of the lab that may build for arm64. OUT/manifest.tsv says what there is.
#
# Every image greets when it is run. Names of images are hello:TAG; Docker, containerd and Podman are left as they were.
set -euo pipefail
out=$1
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
printf 'file\tproducer\tshape\timages\tplatforms\n' > "$out/manifest.tsv"

# note FILE PRODUCER SHAPE IMAGES PLATFORMS: lists what lies in OUT. No platforms: no image.
note() {
    [ -e "$out/$1" ] || { echo "$1 was not made" >&2; exit 1; }
    printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "${5-linux/amd64}" >> "$out/manifest.tsv"
}

nix() { nix-build --quiet --no-out-link -Q "$here/images.nix" --argstr system "${2:-x86_64-linux}" -A "$1"; }

from_nix() {
    local path
    for kind in build layered; do
        for pair in none: gz:.gz zstd:.zst; do
            path=$(nix "$kind-${pair%:*}")
            cp "$path" "$out/nix-$kind.tar${pair#*:}"
            note "nix-$kind.tar${pair#*:}" "dockerTools $kind, compressor ${pair%:*}" "docker-archive${pair#*:}" "hello:$kind"
        done
    done
    cp "$(nix build-on-base)" "$out/nix-build-on-base.tar"
    note nix-build-on-base.tar "dockerTools buildImage fromImage" docker-archive hello:on-base
    cp "$(nix layered-none aarch64-linux)" "$out/nix-layered-arm64.tar"
    note nix-layered-arm64.tar "dockerTools buildLayeredImage" docker-archive hello:layered linux/arm64
    xz -1c "$out/nix-layered.tar" > "$out/nix-layered.tar.xz"
    note nix-layered.tar.xz "xz over buildLayeredImage" docker-archive.xz hello:layered
    # As nixpkgs names it: no extension, compressed like its last input.
    cp "$(nix merged)" "$out/merge-docker-images"
    note merge-docker-images "dockerTools mergeImages" docker-archive.gz hello:build,hello:other
    path=$(nix stream)
    cp "$path" "$out/stream-hello"
    note stream-hello "dockerTools streamLayeredImage" stream-script hello:layered
    "$path" 2> /dev/null > "$out/stream-hello.tar"
    note stream-hello.tar "a stream script's output" docker-archive hello:layered
    chmod -R u+w "$out"
}

no_images() {
    cp "$(nix exported)" "$out/exported-rootfs.tar"
    note exported-rootfs.tar "dockerTools exportImage" rootfs-tar - ""
    cp "$(nix conf)" "$out/hello-conf.json"
    note hello-conf.json "dockerTools streamLayeredImage .conf" conf-json - ""
    cp -r "$(nix bundle)" "$out/runtime-bundle"
    note runtime-bundle "ociTools buildContainer" runtime-bundle - ""
    cp -r "$(nix hello)" "$out/plain-package"
    note plain-package "stdenv.mkDerivation" package - ""
    chmod -R u+w "$out"
}

# Debian 12's skopeo, with its own libraries.
old_skopeo() {
    local root=/lab/roots/bookworm lib
    lib=$root/usr/lib/x86_64-linux-gnu
    [ -e "$lib/ld-linux-x86-64.so.2" ] || lib=$root/lib/x86_64-linux-gnu
    "$lib/ld-linux-x86-64.so.2" --library-path "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/skopeo" "$@"
}

by_skopeo() {
    local from=docker-archive:$out/nix-layered.tar version
    version=$(skopeo --version | cut -d ' ' -f 3)
    # What `pullImage` leaves is made this way, too.
    skopeo copy -q "$from" "docker-archive:$out/skopeo-docker.tar:hello:pulled"
    note skopeo-docker.tar "skopeo $version" docker-archive hello:pulled
    old_skopeo copy -q "$from" "docker-archive:$out/skopeo-old-docker.tar:hello:pulled"
    note skopeo-old-docker.tar "skopeo $(old_skopeo --version | cut -d ' ' -f 3)" docker-archive hello:pulled
    # Unpacked and packed again, where links became hard: the manifest names members that are links to earlier ones.
    mkdir again
    tar -C again -xf "$out/skopeo-docker.tar"
    find again -type l | while IFS= read -r link; do ln -f "$(readlink -f "$link")" "$link"; done
    tar -C again --sort=name -cf "$out/hard-links.tar" .
    note hard-links.tar "tar over skopeo's archive, links made hard" docker-archive hello:pulled
    for codec in gzip zstd; do
        skopeo copy -q --dest-compress-format "$codec" "$from" "oci:$out/skopeo-oci-$codec:hello"
        note "skopeo-oci-$codec" "skopeo $version" oci-dir hello
        skopeo copy -q --dest-compress-format "$codec" "$from" "oci-archive:$out/skopeo-oci-$codec.tar:hello"
        note "skopeo-oci-$codec.tar" "skopeo $version" oci-archive hello
        skopeo copy -q --dest-compress --dest-compress-format "$codec" "$from" "dir:$out/skopeo-dir-$codec"
        note "skopeo-dir-$codec" "skopeo $version" dir -
    done
    skopeo copy -q --dest-oci-accept-uncompressed-layers "$from" "oci:$out/skopeo-oci-plain:hello"
    note skopeo-oci-plain "skopeo $version" oci-dir hello
    skopeo copy -q "$from" "dir:$out/skopeo-dir"
    note skopeo-dir "skopeo $version" dir -
    # No tag: the index names nothing.
    skopeo copy -q "$from" "oci:$out/skopeo-oci-unnamed"
    note skopeo-oci-unnamed "skopeo $version" oci-dir -
    # Two images in one layout.
    skopeo copy -q "$from" "oci:$out/skopeo-oci-two:amd64"
    skopeo copy -q "docker-archive:$out/nix-layered-arm64.tar" "oci:$out/skopeo-oci-two:arm64"
    note skopeo-oci-two "skopeo $version" oci-dir amd64,arm64 linux/amd64,linux/arm64
}

by_podman() {
    local version; version="podman $(podman --version | cut -d ' ' -f 3)"
    local name=localhost/hello:produced
    # Storage of its own: the host's is for others.
    podman() { command podman --root "$work/podman" --runroot "$work/podman-run" --storage-driver vfs "$@"; }
    podman load -q -i "$out/nix-layered.tar" > /dev/null
    podman load -q -i "$out/nix-build-on-base.tar" > /dev/null
    podman tag localhost/hello:layered "$name"
    podman tag localhost/hello:on-base localhost/hello:second
    podman save -q --format docker-archive -o "$out/podman-docker.tar" "$name"
    note podman-docker.tar "$version" docker-archive "$name"
    podman save -q --multi-image-archive -o "$out/podman-docker-two.tar" "$name" localhost/hello:second
    note podman-docker-two.tar "$version" docker-archive "$name,localhost/hello:second"
    podman save -q --format oci-archive -o "$out/podman-oci.tar" "$name"
    note podman-oci.tar "$version" oci-archive "$name"
    podman save -q --format oci-dir -o "$out/podman-oci" "$name"
    note podman-oci "$version" oci-dir "$name"
    podman save -q --format docker-dir -o "$out/podman-dir" "$name"
    note podman-dir "$version" dir -

    podman rmi -f -a > /dev/null
    podman manifest create both > /dev/null
    podman manifest add both "docker-archive:$out/nix-layered.tar" > /dev/null
    podman manifest add both "docker-archive:$out/nix-layered-arm64.tar" > /dev/null
    podman manifest push -q --all both "oci:$out/podman-oci-nested:hello" > /dev/null
    note podman-oci-nested "$version manifest" oci-dir hello linux/amd64,linux/arm64
    podman manifest push -q --all both "oci-archive:$out/podman-oci-nested.tar:docker.io/library/hello:both" > /dev/null
    note podman-oci-nested.tar "$version manifest" oci-archive docker.io/library/hello:both linux/amd64,linux/arm64
    unset -f podman
}

by_docker() { # by_docker VERSION
    local name=docker-$1 version
    docker() { DOCKER_HOST=unix:///lab/docker/${name#docker-}/sock/docker.sock command "/lab/docker/${name#docker-}/bin/docker" "$@"; }
    version="docker $(docker version -f '{{.Server.Version}}')"
    docker load -q -i "$out/nix-layered.tar" > /dev/null
    docker tag hello:layered "$2:one"
    docker load -q -i "$out/nix-build-on-base.tar" > /dev/null
    docker tag hello:on-base "$2:two"
    docker rmi hello:layered hello:on-base > /dev/null
    docker save -o "$out/$name.tar" "$2:one"
    note "$name.tar" "$version" "$3" "$2:one"
    docker save -o "$out/$name-two.tar" "$2:one" "$2:two"
    note "$name-two.tar" "$version" "$3" "$2:one,$2:two"
    docker rmi "$2:one" "$2:two" > /dev/null
    if [ "$1" = 28 ]; then
        docker load -q -i "$out/podman-oci-nested.tar" > /dev/null
        docker tag hello:both "$2:both"
        docker rmi hello:both > /dev/null
        docker save -o "$out/$name-platforms.tar" "$2:both"
        note "$name-platforms.tar" "$version" "$3" "$2:both" linux/amd64,linux/arm64
        docker save --platform linux/arm64 -o "$out/$name-arm64.tar" "$2:both"
        note "$name-arm64.tar" "$version" "$3" "$2:both" linux/arm64
        docker rmi "$2:both" > /dev/null
    fi
    unset -f docker
}

by_containerd() { # by_containerd VERSION
    local name=containerd-$1 version ref=docker.io/library/hello:both
    ctr() { "/lab/containerd/${name#containerd-}/bin/ctr" --address "/lab/containerd/${name#containerd-}/run/containerd.sock" --namespace produce "$@"; }
    version="containerd $(ctr version | awk '/Version:/ { version = $2 } END { print version }')"
    ctr images import --all-platforms "$out/podman-oci-nested.tar" > /dev/null
    ctr images export --platform linux/amd64 "$out/$name.tar" "$ref"
    note "$name.tar" "$version" hybrid "$ref"
    ctr images export --all-platforms "$out/$name-platforms.tar" "$ref"
    note "$name-platforms.tar" "$version" hybrid "$ref" linux/amd64,linux/arm64
    ctr images export --skip-manifest-json --platform linux/amd64 "$out/$name-oci.tar" "$ref"
    note "$name-oci.tar" "$version" oci-archive "$ref"
    ctr images rm "$ref" > /dev/null
    unset -f ctr
}

by_umoci() {
    local layout=$out/umoci
    umoci init --layout "$layout"
    umoci new --image "$layout:hello"
    umoci unpack --image "$layout:hello" bundle 2> /dev/null
    mkdir -p bundle/rootfs/bin
    cp "$(nix hello)/bin/hello" bundle/rootfs/bin/hello
    umoci repack --image "$layout:hello" bundle 2> /dev/null
    umoci config --image "$layout:hello" --config.cmd /bin/hello --architecture amd64 --os linux
    umoci gc --layout "$layout" 2> /dev/null
    note umoci "umoci $(umoci --version | awk 'NR == 1 { print $3 }')" oci-dir hello
    tar -C "$layout" -cf "$out/umoci.tar" .
    note umoci.tar "tar over umoci's layout" oci-archive hello
}

from_nix
by_skopeo
by_podman
by_docker 20.10 produced docker-archive
by_docker 28 produced hybrid
by_containerd 1.6
by_containerd 2
by_umoci
no_images
chmod -R a+rX,u+w "$out"
