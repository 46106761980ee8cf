# An image that is never stored whole: what Nix builds is a script that writes it. `nixoci build` runs the script.
{ system ? builtins.currentSystem
, pkgs ? import <nixpkgs> { inherit system; }
}:

pkgs.dockerTools.streamLayeredImage {
  name = "hello-stream";
  tag = "latest";
  contents = [ pkgs.hello ];
  config.Cmd = [ "hello" ];
}
