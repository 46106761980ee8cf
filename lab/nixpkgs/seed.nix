# Every package of the set, as a list: what a store that knows a binary cache would have at hand.
{ system, which ? "all" }:
let
  pkgs = import ./. { inherit system; };
in
# What dockerTools needs besides comes with the first image that is built.
if which == "demo" then [ pkgs.cowsay pkgs.labTools ] else
builtins.filter (value: (value.type or null) == "derivation" && !(value.evaluatesOnly or false)) (
  builtins.attrValues (builtins.removeAttrs pkgs [ "pkgs" "lib" "sources" ])
  ++ builtins.attrValues pkgs.pkgsStatic
  ++ builtins.attrValues pkgs.perlPackages
  ++ (with pkgs.dockerTools; [ binSh usrBinEnv caCertificates fakeNss ])
)
