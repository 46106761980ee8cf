{
  description = "A container that runs `cowsay hello world` and exits";

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
            name = "cowsay-hello-world";
            tag = "latest";
            contents = [ pkgs.cowsay ];
            config.Cmd = [ "cowsay" "hello" "world" ];
          };
        }
      );
    };
}
