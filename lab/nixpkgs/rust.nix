# Rust's part of nixpkgs, to be evaluated: Debian's compiler is not among the stand-in's packages, so nothing here builds.
{ pkgs }:
let
  inherit (pkgs) lib stdenv;

  noBuild = ''
    echo "the lab's nixpkgs evaluates Rust packages, it does not build them" >&2
    exit 1
  '';

  program =
    pname:
    stdenv.mkDerivation {
      inherit pname;
      version = "0";
      meta.mainProgram = pname;
      passthru.evaluatesOnly = true;
      buildCommand = noBuild;
    };

  # As nixpkgs' importCargoLock: what the lock file names can be fetched, or it is an error now.
  checkedLock =
    { lockFile, outputHashes ? { }, ... }:
    let
      packages = (lib.importTOML lockFile).package;
      check =
        package:
        if !(package ? source) then
          null
        else if lib.hasPrefix "git+" package.source && !(outputHashes ? "${package.name}-${package.version}") then
          throw "No hash was found while vendoring the git dependency ${package.name}-${package.version}."
        else if lib.hasPrefix "registry+" package.source && !(package ? checksum) then
          throw "${package.name}-${package.version} has no checksum in ${toString lockFile}"
        else
          "${package.name}-${package.version}";
    in
    builtins.filter (name: name != null) (map check packages);
in
{
  rustPlatform = {
    buildRustPackage =
      args:
      let
        attrs = if builtins.isFunction args then lib.fix' args else args;
        crates =
          if attrs ? cargoLock then
            checkedLock attrs.cargoLock
          else if attrs ? cargoHash then
            [ ]
          else
            throw "cargoHash, cargoVendorDir, cargoDeps, or cargoLock must be set";
      in
      stdenv.mkDerivation (
        builtins.removeAttrs attrs [ "cargoLock" ]
        // {
          inherit crates;
          buildCommand = noBuild;
          passthru = (attrs.passthru or { }) // {
            evaluatesOnly = true;
          };
        }
      );
    rustLibSrc = "${program "rust-lib-src"}";
  };
  mkShell =
    {
      name ? "nix-shell",
      packages ? [ ],
      inputsFrom ? [ ],
      nativeBuildInputs ? [ ],
      ...
    }@args:
    stdenv.mkDerivation (
      builtins.removeAttrs args [ "packages" "inputsFrom" ]
      // {
        inherit name;
        nativeBuildInputs = nativeBuildInputs ++ packages;
        buildCommand = noBuild;
        passthru.evaluatesOnly = true;
      }
    );
  installShellFiles = program "install-shell-files";
  cargo = program "cargo";
  clippy = program "clippy";
  rust-analyzer = program "rust-analyzer";
  rustc = program "rustc";
  rustfmt = program "rustfmt";
}
