# Platforms, as far as expressions ask for them (nixpkgs: lib/systems).
{ lib }:
let
  elaborate =
    given:
    let
      words = if builtins.isString given then { system = given; } else given;
      config = words.config or (default words.system);
      parts = lib.splitString "-" config;
      cpu = builtins.head parts;
      isDarwin = lib.hasSuffix "-darwin" config;
      isMusl = lib.hasSuffix "-musl" config;
      default =
        system:
        let
          cpu = builtins.head (lib.splitString "-" system);
        in
        if lib.hasSuffix "-darwin" system then "${cpu}-apple-darwin" else "${cpu}-unknown-linux-gnu";
    in
    {
      inherit config isDarwin isMusl;
      system = if isDarwin then "${cpu}-darwin" else "${cpu}-linux";
      isLinux = !isDarwin;
      isStatic = words.isStatic or false;
      libc = if isMusl then "musl" else if isDarwin then "libSystem" else "glibc";
      canExecute = other: other.config == config;
      isx86_64 = cpu == "x86_64";
      isAarch64 = cpu == "aarch64";
      parsed.cpu.name = cpu;
      # The names Go and the OCI specification use.
      go.GOARCH = { x86_64 = "amd64"; aarch64 = "arm64"; }.${cpu};
      linuxArch = { x86_64 = "x86_64"; aarch64 = "arm64"; }.${cpu};
    };
in
{
  inherit elaborate;
  # lib/systems/examples.nix
  examples = lib.mapAttrs (_: config: { inherit config; }) {
    aarch64-multiplatform = "aarch64-unknown-linux-gnu";
    aarch64-multiplatform-musl = "aarch64-unknown-linux-musl";
    gnu64 = "x86_64-unknown-linux-gnu";
    musl64 = "x86_64-unknown-linux-musl";
  };
}
