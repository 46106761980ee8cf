# Runs in bash: what every `stdenv.mkDerivation` of the lab does (see stdenv.nix).
set -o pipefail
export PATH=$inputPath${inputPath:+:}$tools/bin
export HOME=/homeless-shelter LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1}
umask 022

runPhase() {
    local name=$1 body=${!1:-}
    [ -n "$body" ] || return 0
    echo "running $name"
    eval "$body"
}

if [ -n "${buildCommandPath:-}" ]; then
    . "$buildCommandPath"
elif [ -n "${buildCommand:-}" ]; then
    eval "$buildCommand"
else
    if [ -n "${src:-}" ] && [ -z "${dontUnpack:-}" ]; then
        if [ -n "${unpackPhase:-}" ]; then
            runPhase unpackPhase
        elif [ -d "$src" ]; then
            cp -r "$src" source && chmod -R u+w source && cd "${sourceRoot:-source}"
        else
            tar -xf "$src"
            [ -z "${sourceRoot:-}" ] || cd "$sourceRoot"
        fi
    fi
    for phase in patchPhase configurePhase buildPhase checkPhase; do runPhase "$phase"; done
    if [ -n "${installPhase:-}" ]; then
        runPhase installPhase
    fi
    runPhase fixupPhase
fi
