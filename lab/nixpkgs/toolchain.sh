# Functions for toolchain.nix: Debian's compiler, moved into store paths and made to live there.

# What comes out of a store is read-only, and the next package may add to the same directory.
copy() { mkdir -p "$2" && cp -a "$1/." "$2" && chmod -R u+w "$2"; }

isElf() {
    local magic=
    LC_ALL=C IFS= read -r -n 4 magic < "$1" 2> /dev/null || true
    [ "$magic" = $'\x7fELF' ]
}

# Programs that run where things are built, with their libraries, and the libraries that they link with.
programs() {
    local deb dir file
    for deb in $debs; do
        for dir in bin libexec "lib/$gccDir" "$triplet"; do
            [ ! -d "$deb/usr/$dir" ] || copy "$deb/usr/$dir" "$out/$dir"
        done
        for file in "$deb"/usr/lib/x86_64-linux-gnu/*.so*; do
            [ ! -e "$file" ] || { mkdir -p "$out/lib" && cp -a "$file" "$out/lib/"; }
        done
    done
    # Debian's compiler for its own CPU has its tools beside it.
    mkdir -p "$out/$triplet/bin"
    for file in "$out/bin/$triplet"-*; do
        dir=${file##*/$triplet-}
        [ -e "$out/$triplet/bin/$dir" ] || ln -s "$file" "$out/$triplet/bin/$dir"
    done
    chmod -R u+w "$out"
    find "$out" -type f | while IFS= read -r file; do
        isElf "$file" || continue
        case $file in
        "$out/lib/$gccDir/"*) continue ;;
        # The compiler proper is not position independent, and patchelf breaks it.
        */cc1)
            mv "$file" "${file%cc1}.cc1"
            printf '#!%s\nexec %s --library-path %s %s "$@"\n' "$buildTools/bin/bash" "$buildTools/lib/$loader" \
                "$out/lib:$buildTools/lib" "${file%cc1}.cc1" > "$file"
            chmod 755 "$file"
            continue
            ;;
        esac
        if patchelf --print-interpreter "$file" > /dev/null 2>&1; then
            patchelf --page-size 65536 --set-interpreter "$buildTools/lib/$loader" --set-rpath "$out/lib:$buildTools/lib" "$file"
        else
            patchelf --page-size 65536 --set-rpath "$out/lib:$buildTools/lib" "$file"
        fi
    done
}

# Headers, and what programs are linked with.
development() {
    local deb dir file
    for deb in $debs; do
        for dir in include "include/$triplet" "$triplet/include"; do
            [ ! -d "$deb/usr/$dir" ] || copy "$deb/usr/$dir" "$out/include"
        done
        for dir in "lib/$triplet" "$triplet/lib"; do
            [ ! -d "$deb/usr/$dir" ] || copy "$deb/usr/$dir" "$out/lib"
        done
    done
    # Some libraries are texts that say where the libraries are.
    for file in "$out"/lib/*.so; do
        [ -f "$file" ] && [ ! -L "$file" ] && ! isElf "$file" || continue
        sed -i "s#/[^ ]*/\([^/ ]*\)#$out/lib/\1#g" "$file"
    done
}

# wrap CONFIG GCC BINUTILS: the names that nixpkgs has for everything.
wrap() {
    local file
    config=$1 gcc=$2 binutils=$3
    mkdir -p "$out/bin"
    for file in "$binutils/bin/$triplet"-*; do
        ln -s "$file" "$out/bin/$config-${file##*/$triplet-}"
    done
}

compiler() {
    {
        echo "#!$buildTools/bin/bash"
        echo "driver=$gcc/bin/$triplet-gcc-14 tools=$binutils/$triplet/bin"
        cat
    } > "$out/bin/$config-gcc"
    chmod 755 "$out/bin/$config-gcc"
    ln -s "$config-gcc" "$out/bin/$config-cc"
}

# glibcCompiler DEVELOPMENT LOADER LIBRARIES
glibcCompiler() {
    compiler << END
exec "\$driver" -B"\$tools" -B$1/lib -isystem $1/include -L$1/lib -Wl,-dynamic-linker,$2 -Wl,-rpath,$3 "\$@"
END
}

# muslCompiler MUSL: static programs.
muslCompiler() {
    compiler << END
own=$gcc/lib/$gccDir/$triplet/14
flags=(-B"\$tools" -nostdinc -isystem $1/include -isystem "\$own/include")
for word in "\$@"; do
    case \$word in -c | -S | -E) exec "\$driver" "\${flags[@]}" "\$@" ;; esac
done
exec "\$driver" "\${flags[@]}" -static -nostdlib $1/lib/crt1.o $1/lib/crti.o "\$@" -Wl,--start-group $1/lib/libc.a "\$own/libgcc.a" -Wl,--end-group $1/lib/crtn.o
END
}
