{
  description = "A container image";

  # `nix flake lock` pins the version, so that everybody gets the same image.
  inputs.nixpkgs.url = "nixpkgs";

  outputs =
    { nixpkgs, ... }:
    {
      # Containers are Linux, also on a Mac: nixoci picks the system, `--platform linux/amd64` chooses one.
      packages = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
        in
        {
          container = pkgs.dockerTools.buildLayeredImage {
            name = "@NAME@";
            tag = "latest";
            # What is found on the image's PATH; everything that it needs comes along by itself.
            contents = [ pkgs.hello ];
            config.Cmd = [ "hello" ];
          };
        }
      );
    };
}
