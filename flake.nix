{
  description = "nixoci: container images from Nix expressions, in one command";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "aarch64-darwin"
        "aarch64-linux"
        "x86_64-linux"
      ];
      forEach = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forEach (pkgs: rec {
        nixoci = pkgs.callPackage ./nix/package.nix { };
        default = nixoci;
      });

      apps = forEach (pkgs: rec {
        nixoci = {
          type = "app";
          program = pkgs.lib.getExe self.packages.${pkgs.stdenv.hostPlatform.system}.nixoci;
          meta.description = "Build, check, load and run container images from Nix expressions";
        };
        default = nixoci;
      });

      overlays.default = final: _: {
        nixoci = final.callPackage ./nix/package.nix { };
      };

      # For work on nixoci: `cargo xtask` needs nothing else, except the lab, which is at home on Debian.
      devShells = forEach (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.clippy
            pkgs.rust-analyzer
            pkgs.rustc
            pkgs.rustfmt
          ];
          RUST_SRC_PATH = pkgs.rustPlatform.rustLibSrc;
        };
      });
    };
}
