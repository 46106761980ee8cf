#!/bin/sh
# Fetches the source of one Rust release's standard library: make-rust-src.sh RELEASE OUT MIRROR SUITE..., run inside a
# scratch copy of the trixie root, online. OUT gets `library`.
set -eu
release=$1 out=$2 mirror=$3
shift 3
lists=/tmp/apt-lists sources=/tmp/sources.list
mkdir -p "$lists/partial"
apt() {
    what=$1
    shift
    "apt-$what" -q -o "Dir::State::lists=$lists" -o "Dir::Etc::sourcelist=$sources" -o Dir::Etc::sourceparts=- \
        -o APT::Sandbox::User=root "$@"
}
for suite in "$@"; do
    echo "deb $mirror $suite main" > "$sources"
    apt get update
    version=$(apt cache madison rust-src | awk -F' *[|] *' -v "want=$release+" 'index($2, want) == 1 { print $2; exit }')
    [ -n "$version" ] || continue
    cd /tmp
    apt get download "rust-src=$version"
    dpkg-deb -x rust-src_*.deb unpacked
    mv "unpacked/usr/src/rustc-$release/library" "$out/library"
    # cargo wants the lock file of the standard library, and Debian's points to packages of its own.
    [ -e "$out/library/Cargo.lock" ]
    exit 0
done
echo "no suite of $* has rust-src $release: either its successor is in use there, or it is too new for Debian" >&2
exit 1
