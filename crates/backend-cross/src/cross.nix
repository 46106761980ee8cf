# A project's own expressions, with a nixpkgs that makes programs for another system than the one it builds on.
#
# The project stays as it is. Each nixpkgs that it takes is replaced by one that yields the cross package set wherever the
# project asks for the target's: `legacyPackages.<target>`, `import nixpkgs { system = "<target>"; }`, with whatever config and
# overlays. `swap` says from where to where: `local` and `target` are Nix systems, `cross` is nixpkgs' `crossSystem`.
rec {
  # nixpkgs' own default.nix leads there.
  isNixpkgs = path: builtins.pathExists (path + "/pkgs/top-level/impure.nix");

  # What cannot work says so, before anything is built.
  refusals =
    final: prev:
    let
      refuse = what: throw "nixoci-cross: ${what}";
      checked =
        f: args:
        if args ? runAsRoot && args.runAsRoot != null then
          refuse "runAsRoot"
        else if args.enableFakechroot or false then
          refuse "enableFakechroot"
        else
          f args;
      # `WithNixDb` calls the first two of dockerTools itself, not those of the package set.
      names = [
        "buildImage"
        "buildLayeredImage"
        "streamLayeredImage"
        "buildImageWithNixDb"
        "buildLayeredImageWithNixDb"
      ];
      guarded =
        tools:
        let
          known = builtins.filter (name: tools ? ${name}) names;
          wrap = name: {
            inherit name;
            value = checked tools.${name};
          };
        in
        tools
        // builtins.listToAttrs (map wrap known)
        # It unpacks layers in a virtual machine.
        // (if tools ? exportImage then { exportImage = _: refuse "exportImage"; } else { })
        // (if tools ? override then { override = args: guarded (tools.override args); } else { });
    in
    if prev ? dockerTools then { dockerTools = guarded prev.dockerTools; } else { };

  # `import <nixpkgs>`: the function. Without a system, `asked` is what is meant.
  packages =
    swap: asked: real: args:
    let
      named = args.localSystem.system or args.localSystem or null;
      system = args.system or (if named == null then asked else named);
      kept = builtins.removeAttrs args [ "system" "localSystem" ];
      crossed = {
        localSystem = swap.local;
        crossSystem = swap.cross;
        overlays = args.overlays or [ ] ++ [ refusals ];
      };
    in
    if system == swap.target && (args.crossSystem or null) == null then
      import real (kept // crossed)
    else
      import real args;

  # An input that is nixpkgs. `import` takes its outPath, which becomes a file with the function.
  nixpkgs =
    swap: input:
    let
      text = ''
        (import ${./cross.nix}).packages (builtins.fromJSON '''${builtins.toJSON swap}''') null (/. + "${builtins.unsafeDiscardStringContext input.outPath}")
      '';
      file = builtins.toFile "nixpkgs.nix" (builtins.appendContext text (builtins.getContext input.outPath));
      pkgs = import file { system = swap.target; };
    in
    input
    // {
      outPath = file;
      legacyPackages = (input.legacyPackages or { }) // {
        ${swap.target} = pkgs;
      };
    };

  isFlake = input: (input._type or "") == "flake";

  # Inputs lead in circles: `inputs.a.inputs.b.follows = ""` makes a project an input of its own input. `above` are those on the way.
  key = flake: builtins.unsafeDiscardStringContext flake.outPath;
  takesNixpkgs =
    above: input:
    isFlake input
    && !(builtins.elem (key input) above)
    && builtins.any (inner: isNixpkgs inner.outPath || takesNixpkgs (above ++ [ (key input) ]) inner) (
      builtins.attrValues (input.inputs or { })
    );

  replace =
    swap: above: input:
    if isNixpkgs input.outPath then
      nixpkgs swap input
    else if takesNixpkgs above input then
      call swap above input
    else
      input;

  # A flake, called with the inputs that it has after the swap.
  call =
    swap: above: flake:
    let
      inputs = builtins.mapAttrs (_: replace swap (above ++ [ (key flake) ])) flake.inputs;
      outputs = (import (flake.outPath + "/flake.nix")).outputs (inputs // { self = called; });
      called =
        outputs
        // (flake.sourceInfo or { })
        // {
          inherit inputs outputs;
          inherit (flake) outPath;
          sourceInfo = flake.sourceInfo or { };
          _type = "flake";
        };
    in
    called;

  get = builtins.foldl' (set: name: if set != null && builtins.isAttrs set && set ? ${name} then set.${name} else null);
  first =
    set: paths:
    builtins.foldl' (found: path: if found != null then found else get set path) null paths;

  # The image: what the project has for this machine to build (`explicit`, on the project as it is), or what it has for the target. Where
  # the settings have `named` the former, nothing else is meant.
  flake =
    { project, swap, explicit, named, places }:
    let
      own = first project explicit;
      crossed = call swap [ ] project;
      found = first crossed places;
    in
    if own != null then
      own
    else if named then
      throw "nixoci-cross: not what is named"
    else if !(takesNixpkgs [ ] project) && found != null then
      throw "nixoci-cross: no nixpkgs"
    else if found == null then
      throw "nixoci-cross: no attribute"
    else
      found;

  # A file that is no flake's: whatever it imports is what it is, but for each nixpkgs.
  file =
    swap: path:
    let
      scope = {
        import =
          value:
          let
            path = if builtins.isAttrs value then value.outPath else value;
            root = if builtins.baseNameOf (toString path) == "default.nix" then dirOf path else path;
          in
          if isNixpkgs root then
            packages swap swap.target root
          else if builtins.isPath value then
            builtins.scopedImport scope value
          else
            import value;
      };
    in
    builtins.scopedImport scope path;
}
