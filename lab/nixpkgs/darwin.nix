# What nixpkgs has for Macs alone, as far as anything here uses it: `darwin.linux-builder`.
#
# As in nixpkgs, its `nixosConfig.system.build.vm` is a program `bin/run-nixos-vm` of the Mac's own. Here that is a double,
# which lies elsewhere (lab/doubles/linux-builder): a changed double makes no other store.
{ pkgs }:
let
  script =
    name: text:
    derivation {
      inherit name text;
      inherit (pkgs) system;
      builder = "/bin/sh";
      args = [
        "-euc"
        ''
          /bin/mkdir -p "$out/bin"
          printf '%s\n' '#!/bin/sh' "$text" > "$out/bin/$name"
          /bin/chmod 755 "$out/bin/$name"
        ''
      ];
    };
  nixosConfig = {
    nixpkgs.hostPlatform.system = builtins.replaceStrings [ "-darwin" ] [ "-linux" ] pkgs.system;
    virtualisation.cores = 1;
    system.build.vm = script "run-nixos-vm" ''exec /lab/doubles/linux-builder/run-nixos-vm "$@"'';
  };
  passthru = { inherit nixosConfig; };
in
{
  darwin.linux-builder =
    script "create-builder" ''echo "create-builder: the lab has no more of it than nixosConfig" >&2; exit 1''
    // passthru
    // { inherit passthru; };
}
