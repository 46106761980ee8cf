{
  description = "A container as small as can be: one static program that says hello";

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
            name = "hello";
            tag = "latest";
            config.Cmd = [ "${pkgs.pkgsStatic.hello}/bin/hello" ];
          };
        }
      );
    };
}
