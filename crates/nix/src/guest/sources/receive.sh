# Makes a tree out of one that is there and what comes in: DIR ID BASE TIME FORMAT HEAD REV TREE GONE LINKS COMMIT STAGED.
#
# The last four say how many bytes of standard input are names that go (each with a NUL behind), submodules of the commit, the commit itself,
# and what is staged; then comes a tar archive of what is new, whose last member is `end`. FORMAT is empty for a tree without history.
set -eu
umask 022
dir=$1 id=$2 base=$3 time=$4 format=$5 head=$6 rev=$7 tree=$8
shift 8
mkdir -p "$dir"
cd "$dir"
finish() { cat >/dev/null; exit 0; }
[ ! -d "$id" ] || finish
new=$(mktemp -d .new-XXXXXXXX)
trap 'cd "$dir"; rm -rf "$new"' EXIT
# Without this, whoever is killed by a signal leaves by no exit.
trap 'exit 1' HUP INT TERM PIPE
for part in gone links commit staged; do
    # Byte by byte: not every `head` leaves what follows to whoever reads next.
    dd bs=1 count="$1" 2>/dev/null >"$new/$part"
    shift
done
if [ -n "$base" ]; then
    [ -d "$base/tree" ] || { echo nobase; finish; }
    cp -al "$base/tree" "$new/tree"
    (cd "$new/tree" && xargs -0 -r rm -rf -- <../gone)
else
    mkdir "$new/tree"
fi
tar -x -f - -C "$new" --no-same-owner
[ -e "$new/end" ] || { echo cut; exit 0; }

# As raw as it comes: what attributes would make of a file, its repository's own objects have behind them.
g() {
    GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null git -c core.autocrlf=false -c core.fileMode=true -c core.compression=0 \
        -c core.looseCompression=0 -c pack.window=0 -c gc.auto=0 -c advice.addEmbeddedRepo=false "$@"
}
begin() { # begin DIRECTORY: an empty repository in it
    g init -q --object-format="$format" --template= "$1"
    mkdir -p "$1/.git/info"
    printf '* -text -ident !eol !filter !working-tree-encoding\n' >"$1/.git/info/attributes"
}
commit() { # The repository of a commit whose files are in $head.
    cp -al "$head/tree" "$new/head"
    begin "$new/head"
    (
        cd "$new/head"
        g add -f -A .
        g update-index -z --index-info <../links
        [ "$(g write-tree)" = "$tree" ] || { echo othertree >&2; exit 1; }
        [ "$(g hash-object -t commit -w --stdin <../commit)" = "$rev" ]
        echo "$rev" >.git/shallow
        echo "$rev" >.git/HEAD
        g repack -a -d -q
    )
    mv -T "$new/head/.git" "$head/git" 2>/dev/null || [ -d "$head/git" ]
}
if [ -n "$format" ]; then
    if [ -n "$head" ]; then
        [ -d "$head/git" ] || commit
        cp -al "$head/git" "$new/tree/.git"
    else
        begin "$new/tree"
    fi
    (
        cd "$new/tree"
        g update-index -z --index-info <"../staged"
        g update-index -q --refresh || true
    )
fi

# Names and contents alone count: whatever else a file system keeps is the same for everyone.
find "$new/tree" -path "$new/tree/.git" -prune -o -type d -exec touch -d @1 {} +
touch -d "@$time" "$new/tree"
mkdir "$new/whole"
mv "$new/tree" "$new/whole/tree"
mv -T "$new/whole" "$id" 2>/dev/null || [ -d "$id" ]
echo new
find . -maxdepth 1 -name '.new-*' -mmin +600 -exec rm -rf {} +
# What nobody used for days, and is none of the newest, goes.
ls -t | tail -n +17 | while read -r old; do
    [ -z "$(find "$old" -maxdepth 0 -mtime +1)" ] || rm -rf "$old"
done
