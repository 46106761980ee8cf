{
  description = "The lab's stand-in for nixpkgs: the same interface, for the part the examples use, over Debian's binaries";

  outputs =
    { self }:
    let
      lib = import ./lib.nix;
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ] (system: import ./. { inherit system; });
    };
}
