# Functions for debian.nix: gather unpacked .debs into $out, and make the programs run from there.

# What comes out of a store is read-only, and the next package may add to the same directory.
copy() { cp -a "$1" "$2" && chmod -R u+w "$2"; }

gather() {
    local deb dir entry
    mkdir -p "$out"
    for deb in $debs; do
        for dir in usr/bin usr/sbin usr/games; do
            [ ! -d "$deb/$dir" ] || { mkdir -p "$out/bin" && copy "$deb/$dir/." "$out/bin/"; }
        done
        for entry in "$deb"/usr/lib/*; do
            [ -e "$entry" ] || continue
            mkdir -p "$out/lib"
            case ${entry##*/} in
            "$triplet") copy "$entry/." "$out/lib/" ;;
            ld-linux*) ;; # a link into the directory above
            *) copy "$entry" "$out/lib/" ;;
            esac
        done
        [ ! -d "$deb/usr/share" ] || copy "$deb/usr/share" "$out/"
    done
    # Perl's modules come below a second directory of their own.
    [ ! -d "$out/lib/$triplet" ] || { cp -a "$out/lib/$triplet/." "$out/lib/" && rm -r "${out:?}/lib/$triplet"; }
}

isElf() {
    local magic=
    LC_ALL=C IFS= read -r -n 4 magic < "$1" 2> /dev/null || true
    [ "$magic" = $'\x7fELF' ]
}

livePrograms() {
    local file search=$out/lib${libraries:+:}$libraries:$libc/lib
    find "$out" -type f | while IFS= read -r file; do
        isElf "$file" || continue
        # Programs have an interpreter, libraries have none. (The page size: see build-tools.sh.)
        if patchelf --print-interpreter "$file" > /dev/null 2>&1; then
            patchelf --page-size 65536 --set-interpreter "$libc/lib/$loader" --set-rpath "$search" "$file"
        else
            patchelf --page-size 65536 --set-rpath "$search" "$file"
        fi
    done
}
