# Runs in busybox's ash: makes the build tools' directory out of unpacked Debian packages (see stdenv.nix).
busybox() { "$builder" "$@"; }
export PATH=$NIX_BUILD_TOP/applets
"$builder" mkdir -p "$PATH"
"$builder" --install -s "$PATH"

# What comes out of a store is read-only, and the next package may add to the same directory.
copy() { cp -a "$1" "$2" && chmod -R u+w "$2"; }
mkdir -p "$out/bin" "$out/lib"
for deb in $debs; do
    for bin in usr/bin usr/sbin bin; do
        [ ! -d "$deb/$bin" ] || copy "$deb/$bin/." "$out/bin/"
    done
    [ ! -d "$deb/usr/lib" ] || {
        for entry in "$deb"/usr/lib/*; do
            case ${entry##*/} in
            "$triplet") copy "$entry/." "$out/lib/" ;;
            python3*) mkdir -p "$out/lib/${entry##*/}" && copy "$entry/." "$out/lib/${entry##*/}/" ;;
            esac
        done
    }
done
# Never used by a build, and a third of the size.
rm -rf "$out/lib/gconv" "$out/lib/audit" "$out"/lib/python3*/test "$out"/lib/python3*/ensurepip

ln -sf bash "$out/bin/sh"
ln -sf mawk "$out/bin/awk"
for python in "$out"/bin/python3.*; do ln -sf "${python##*/}" "$out/bin/python3"; done

# With the CPU's own page size patchelf 0.18 breaks programs that are not position independent, Python among them.
run_patchelf() {
    "$libc/usr/lib/$triplet/$loader" --library-path \
        "$libc/usr/lib/$triplet:$cxx/usr/lib/$triplet:$gcc/usr/lib/$triplet" "$patchelf/usr/bin/patchelf" --page-size 65536 "$@"
}
is_elf() { [ "$(dd if="$1" bs=1 skip=1 count=3 2>/dev/null)" = ELF ]; }
for file in "$out"/bin/*; do
    [ -f "$file" ] && [ ! -L "$file" ] && is_elf "$file" || continue
    run_patchelf --set-interpreter "$out/lib/$loader" --set-rpath "$out/lib" "$file"
done
find "$out/lib" -type f -name '*.so*' | while read -r file; do
    # libc and its loader are found by everyone else; touching them breaks them.
    case ${file##*/} in ld-linux* | libc.so* | libpthread* | libdl* | librt* | libm.so* | libm[.-]*) continue ;; esac
    is_elf "$file" || continue
    run_patchelf --set-rpath "$out/lib" "$file"
done

"$out/bin/zstd" --version
"$out/bin/python3" -c 'import hashlib, json, tarfile, zlib'
echo "build tools are in $out"
