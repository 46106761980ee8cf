# nixoci as a package of nixpkgs: the program, its manual pages, what shells complete.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
}:
let
  manifest = lib.importTOML ../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = "nixoci";
  inherit (manifest.workspace.package) version;

  # What cargo reads, and no more: a change of documentation builds nothing anew.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.lock
      ../Cargo.toml
      ../crates
      ../xtask
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;

  cargoBuildFlags = [ "--package=nixoci" ];
  # The tests want Nix, container runtimes and machines to break: `cargo xtask test` brings them.
  doCheck = false;

  nativeBuildInputs = [ installShellFiles ];
  # Both are made by the program itself, which a cross build cannot run.
  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    "$out/bin/nixoci" man --out manual
    installManPage manual/*
    for shell in bash fish zsh; do
      "$out/bin/nixoci" completions "$shell" > "nixoci.$shell"
    done
    installShellCompletion nixoci.{bash,fish,zsh}
  '';

  meta = {
    description = "Build, check, load and run container images from Nix expressions";
    homepage = manifest.workspace.package.repository;
    license = [
      lib.licenses.asl20
      lib.licenses.mit
    ];
    mainProgram = "nixoci";
    platforms = lib.platforms.unix;
  };
}
