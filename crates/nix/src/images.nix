# Finds the images of a flake or a file, and builds nothing. SYSTEM is what is built for, HOST this machine's own. What cannot be
# evaluated is no image.
#
# An image of nixpkgs' dockerTools or of nix2container says the name that it will have (nixpkgs, pkgs/build-support/docker/default.nix).
# Images are found in a set, and in the sets in it; each is a list of names, as a path to type.
#
# DEEP: sets in a set are looked into, unless one of the two is as large as a set of packages.
{ system, host, deep }:
let
  try = value: let tried = builtins.tryEval value; in tried.success && tried.value;
  isImage = value: try (builtins.isAttrs value && (value ? imageName || value ? imageTag));
  isSet = value: try (builtins.isAttrs value && !(value ? type));
  concatMap = each: list: builtins.concatLists (map each list);
  names = builtins.attrNames;
  direct = path: set: map (name: path ++ [ name ]) (builtins.filter (name: isImage set.${name}) (names set));
  isSmall = set: builtins.length (names set) <= 200 && !(set ? callPackage);
  inner = path: set: name:
    if isSet set.${name} && isSmall set.${name} then direct (path ++ [ name ]) set.${name} else [ ];
  within = path: set:
    direct path set ++ (if deep && isSmall set then concatMap (inner path set) (names set) else [ ]);
  linux = set: builtins.filter (name: builtins.match ".*-linux" name != null) (names set);
  # The wanted system, or else the first Linux that there is.
  choose = set:
    if set ? ${system} then system
    else if linux set != [ ] then builtins.head (linux set)
    else null;
  # Sets of a flake that hold no images, or are asked otherwise.
  known = [
    "apps" "checks" "darwinConfigurations" "darwinModules" "defaultApp" "defaultPackage" "devShell" "devShells" "formatter"
    "homeConfigurations" "hydraJobs" "legacyPackages" "lib" "nixosConfigurations" "nixosModules" "overlay" "overlays" "packages"
    "schemas" "templates"
  ];
  # Names that sets of images have among thousands of packages.
  usual = [ "images" "containers" "dockerImages" "ociImages" "docker" ];
in
{
  # Some projects keep their Linux images in a Mac's own set.
  packages = set:
    let
      chosen = choose set;
      used = if chosen == null && set ? ${host} then host else chosen;
      own = if used == null then { } else set.${used};
    in
    { system = chosen; images = within [ ] own; names = names own; };

  outputs = outputs:
    let
      others = builtins.filter (name: !(builtins.elem name known) && isSet outputs.${name}) (names outputs);
      ofOther = name:
        let set = outputs.${name}; used = choose set; in
        if used == null || !(isSet set.${used}) then [ ] else within [ name used ] set.${used};
      legacy = outputs.legacyPackages.${system} or { };
      ofLegacy = name: if legacy ? ${name} && isSet legacy.${name} then direct [ name ] legacy.${name} else [ ];
    in
    { images = concatMap ofOther others ++ concatMap ofLegacy usual; };

  # A function gets `system`, if it takes one, as for a build.
  value = file:
    let
      arguments = builtins.intersectAttrs (builtins.functionArgs file) { inherit system; };
      value = if builtins.isFunction file then file arguments else file;
    in
    # An error in it is reported.
    if builtins.isAttrs value && !(value ? type) then { images = within [ ] value; names = names value; } else { itself = isImage value; };
}
