{
  description = "A container with one program in C, for Linux, by a flake that knows nothing of other machines";

  inputs.nixpkgs.url = "nixpkgs";

  outputs =
    { self, nixpkgs }:
    {
      packages = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
        in
        {
          container = pkgs.dockerTools.buildLayeredImage {
            name = "c-hello";
            tag = "latest";
            config.Cmd = [ "${self.packages.${system}.hello}/bin/hello" ];
          };
          hello = pkgs.stdenv.mkDerivation {
            pname = "c-hello";
            version = "1";
            src = ./.;
            buildPhase = "$CC -O2 -o hello hello.c";
            installPhase = "mkdir -p $out/bin && cp hello $out/bin/";
          };
        }
      );
    };
}
