#!/bin/sh
# Compiles the double's `exec` with libssh: make-exec.sh SOURCE LIBSSH OUT, run inside a scratch copy of the root of Debian 13, online.
# LIBSSH is a directory with libssh's source. Only the C library is linked dynamically: no host has the others.
set -eu
source=$1 libssh=$2 out=$3
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
apt-get -q -y install --no-install-recommends cmake g++ libc6-dev libssl-dev libzstd-dev make zlib1g-dev
cp -r "$libssh" /tmp/source
# Multipass has changed its libssh in one respect: the connector of standard error reads that stream, and not the other one, when its output is
# ready again. Without this a command that writes to both loses lines, or hangs.
stderr='connector->in_flags == SSH_CONNECTOR_STDERR'
connector=/tmp/source/src/connector.c
sed -i "s/CHUNKSIZE, 0);/CHUNKSIZE, $stderr);/; s/in_channel, 0, 0)/in_channel, 0, $stderr)/" "$connector"
test "$(grep -c "$stderr" "$connector")" = 2
cmake -S /tmp/source -B /tmp/libssh -D CMAKE_BUILD_TYPE=Release -D BUILD_SHARED_LIBS=OFF -D WITH_EXAMPLES=OFF -D WITH_GSSAPI=OFF \
    -D WITH_SERVER=OFF -D WITH_SFTP=OFF -D WITH_ZLIB=OFF
cmake --build /tmp/libssh -j 2
gcc -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -I /tmp/source/include -I /tmp/libssh/include -D LIBSSH_STATIC \
    -o "$out/exec" "$source" /tmp/libssh/src/libssh.a -l:libcrypto.a -l:libzstd.a -l:libz.a
chmod 755 "$out" "$out/exec"
