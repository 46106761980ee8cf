//! An image of any size, made quickly.

const BIG: &str = include_str!("../../../../../lab/big-image.nix");

/// Writes `image.nix`: an image of one layer, whose only file has as many bytes.
pub(crate) fn image(bytes: u64, architecture: &str) -> String {
    let arguments = format!("inherit system; bytes = {bytes}; architecture = \"{architecture}\";");
    format!("cat > image.nix <<'END'\n{{ system }}: (\n{BIG}) {{ {arguments} }}\nEND\n")
}

/// [`image`] for the lab's own CPU, in a directory of its own, which the script then works in.
pub(crate) fn image_apart(bytes: u64) -> String {
    format!("cd $(mktemp -d); trap 'rm -rf $PWD $XDG_CACHE_HOME' EXIT; {}", image(bytes, "amd64"))
}
