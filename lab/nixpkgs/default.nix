# What `import <nixpkgs> { }` gives: one package set for one system.
#
# `sources.json` lies next to this file only in the copy that the lab generates. It names Debian's packages as unpacked by
# the lab, with their hashes; nothing here knows where they came from.
{
  system ? localSystem.system or localSystem,
  localSystem ? builtins.currentSystem,
  config ? { },
  overlays ? [ ],
}:
let
  lib = import ./lib.nix;

  known = lib.importJSON ./sources.json;
  sources =
    known.${system} or (throw "the lab's nixpkgs has packages for ${toString (builtins.attrNames known)}, not for ${system}");

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
  ) sources;

  base = self: {
    inherit lib config system;
    pkgs = self;
    sources = fetched;
    hostPlatform = self.stdenv.hostPlatform;
    callPackage = path: args: lib.callPackageWith self path args;
  };

  layers = [
    (self: _: base self)
    (self: _: import ./stdenv.nix { pkgs = self; })
    (self: _: import ./trivial.nix { pkgs = self; })
    (self: _: import ./debian.nix { pkgs = self; })
    (self: _: import ./rust.nix { pkgs = self; })
    (self: _: if lib.hasSuffix "-darwin" system then import ./darwin.nix { pkgs = self; } else { })
    (self: _: { dockerTools = import ./docker { pkgs = self; }; })
  ]
  ++ overlays;

  self = lib.foldl' (super: layer: super // layer self super) { } layers;
in
self
