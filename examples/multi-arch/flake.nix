{
  description = "One image for two platforms: nixoci.toml names both";

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
            name = "hello-multi-arch";
            tag = "latest";
            contents = [ pkgs.hello ];
            config.Cmd = [ "hello" ];
          };
        }
      );
    };
}
