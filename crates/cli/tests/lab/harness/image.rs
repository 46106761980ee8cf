//! An image of any size, made quickly.

/// Writes `image.nix`: an image of one layer, whose only file has as many bytes.
pub(crate) fn image(bytes: u64, architecture: &str) -> String {
    IMAGE.replace("@bytes@", &bytes.to_string()).replace("@architecture@", architecture)
}

/// [`image`] for the lab's own CPU, in a directory of its own, which the script then works in.
pub(crate) fn image_apart(bytes: u64) -> String {
    format!("cd $(mktemp -d); trap 'rm -rf $PWD $XDG_CACHE_HOME' EXIT; {}", image(bytes, "amd64"))
}

const IMAGE: &str = r#"cat > image.nix <<'END'
{ system }: (import <nixpkgs> { inherit system; }).runCommand "big.tar" { } ''
  mkdir -p layer/data; head -c @bytes@ /dev/zero > layer/data/big
  tar -C layer -cf layer.tar .; rm -r layer
  id=$(sha256sum layer.tar | cut -d' ' -f1)
  printf '{"architecture":"@architecture@","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $id > config
  config=$(sha256sum config | cut -d' ' -f1).json; mv config $config
  printf '[{"Config":"%s","RepoTags":["big:latest"],"Layers":["layer.tar"]}]' $config > manifest.json
  tar -cf $out layer.tar $config manifest.json
''
END
"#;
