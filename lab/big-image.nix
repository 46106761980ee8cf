# An image of one layer with one file of as many bytes, from /dev/zero or /dev/urandom: a big one in a second. Tests and benchmarks write it into a project.
{ system, bytes, architecture, from ? "zero" }:
(import <nixpkgs> { inherit system; }).runCommand "big.tar" { } ''
  mkdir -p layer/data; head -c ${toString bytes} /dev/${from} > layer/data/big
  tar -C layer -cf layer.tar .; rm -r layer
  id=$(sha256sum layer.tar | cut -d' ' -f1)
  printf '{"architecture":"${architecture}","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $id > config
  config=$(sha256sum config | cut -d' ' -f1).json; mv config $config
  printf '[{"Config":"%s","RepoTags":["big:latest"],"Layers":["layer.tar"]}]' $config > manifest.json
  tar -cf $out layer.tar $config manifest.json
''
