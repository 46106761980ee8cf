# One small image and what is made of it by dockerTools, plus things that people take for images (see produce.sh).
{ system }:
let
  pkgs = import <nixpkgs> { inherit system; };
  inherit (pkgs) dockerTools runCommand;
  hello = pkgs.pkgsStatic.hello;
  build =
    tag: compressor: more:
    dockerTools.buildImage (
      {
        name = "hello";
        inherit tag compressor;
        copyToRoot = hello;
        config.Cmd = [ "/bin/hello" ];
        config.Labels."org.example.made-by" = tag;
      }
      // more
    );
  layered = {
    name = "hello";
    tag = "layered";
    contents = [ hello ];
    config.Cmd = [ "${hello}/bin/hello" ];
    config.Env = [ "GREETING=hello" ];
  };
in
{
  inherit hello;
  build-gz = build "build" "gz" { };
  build-none = build "build" "none" { };
  build-zstd = build "build" "zstd" { };
  # Another layer on top of it; the archive holds both in the older layout.
  build-on-base = build "on-base" "none" {
    fromImage = build "build" "none" { };
    copyToRoot = pkgs.writeTextDir "etc/motd" "Welcome.\n";
  };
  layered-gz = dockerTools.buildLayeredImage (layered // { compressor = "gz"; });
  layered-none = dockerTools.buildLayeredImage (layered // { compressor = "none"; });
  layered-zstd = dockerTools.buildLayeredImage (layered // { compressor = "zstd"; });
  stream = dockerTools.streamLayeredImage layered;
  merged = dockerTools.mergeImages [
    (build "build" "none" { })
    (build "other" "gz" { copyToRoot = [ hello (pkgs.writeTextDir "etc/motd" "Other.\n") ]; })
  ];

  # No images.
  exported = dockerTools.exportImage { fromImage = build "build" "none" { }; };
  conf = (dockerTools.streamLayeredImage layered).conf;
  # As `ociTools.buildContainer` leaves it.
  bundle = runCommand "join" { } ''
    mkdir -p "$out/rootfs/bin"
    cp ${hello}/bin/hello "$out/rootfs/bin/"
    echo '{"ociVersion": "1.0.0", "root": {"path": "rootfs", "readonly": true}, "process": {"args": ["/bin/hello"]}}' > "$out/config.json"
  '';
}
