# What `import <nixpkgs> { }` gives: one package set for one system, or with `crossSystem` one whose packages run on another than
# the one that builds them.
#
# `sources.json` lies next to this file only in the copy that the lab generates. It names Debian's packages as unpacked by
# the lab, with their hashes; nothing here knows where they came from.
{
  system ? localSystem.system or localSystem,
  localSystem ? builtins.currentSystem,
  crossSystem ? null,
  config ? { },
  overlays ? [ ],
  crossOverlays ? [ ],
}:
let
  lib = import ./lib.nix;

  platforms = import ./platforms.nix { inherit lib; };
  buildPlatform = platforms.elaborate system;
  hostPlatform = if crossSystem == null then buildPlatform else platforms.elaborate crossSystem;
  isCross = buildPlatform.config != hostPlatform.config;

  known = lib.importJSON ./sources.json;
  of =
    system:
    known.${system} or (throw "the lab's nixpkgs has packages for ${toString (builtins.attrNames known)}, not for ${system}");
  # What runs on a Mac runs on the machine that plays one.
  buildSources = fetched (of (if isCross && buildPlatform.isDarwin then "x86_64-linux" else buildPlatform.system));

  # A source is a fixed-output path: its address follows from its hash, so pure evaluation may name it, and the lab puts
  # it into a store beforehand. Nothing is ever fetched unless that store lost it.
  fetched = lib.mapAttrs (
    _: source:
    derivation {
      inherit (source) name;
      system = "builtin";
      builder = "builtin:fetchurl";
      url = "file:///lab/sources/${source.name}.nar";
      unpack = true;
      executable = false;
      outputHash = source.hash;
      outputHashMode = "recursive";
      preferLocalBuild = true;
    }
    // {
      inherit (source) version;
    }
  );

  base = self: {
    inherit lib config buildPlatform hostPlatform;
    inherit (hostPlatform) system;
    targetPlatform = hostPlatform;
    pkgs = self;
    sources = fetched (of hostPlatform.system);
    labBuildSources = buildSources;
    # Compilers are the machine's own, whatever CPU things are built on.
    labToolSources = fetched (of "x86_64-linux");
    labIsCross = isCross;
    callPackage = path: args: lib.callPackageWith self path args;
  };

  layers = [
    (self: _: base self)
    (self: _: import ./stdenv.nix { pkgs = self; })
    (self: _: import ./trivial.nix { pkgs = self; })
    (self: _: import ./debian.nix { pkgs = self; })
    (self: _: import ./rust.nix { pkgs = self; })
    (self: _: lib.optionalAttrs hostPlatform.isLinux (import ./toolchain.nix { pkgs = self; }))
    (self: _: lib.optionalAttrs hostPlatform.isDarwin (import ./darwin.nix { pkgs = self; }))
    (_: _: {
      pkgsCross = lib.mapAttrs (
        _: crossSystem: import ./. { inherit system config overlays crossOverlays crossSystem; }
      ) platforms.examples;
      buildPackages = if isCross then import ./. { inherit system config overlays; } else self;
    })
    (self: _: { dockerTools = self.lib.makeOverridable (import ./docker) { pkgs = self; }; })
  ]
  ++ overlays
  ++ lib.optionals isCross crossOverlays;

  self = lib.foldl' (super: layer: super // layer self super) { } layers;
in
self
