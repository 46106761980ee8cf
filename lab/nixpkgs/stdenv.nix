# The build environment: tools from Debian's packages, then `stdenv.mkDerivation` over them.
{ pkgs }:
let
  inherit (pkgs) lib buildPlatform hostPlatform labIsCross;
  inherit (buildPlatform) system;

  # Nothing is ever built for a Mac: what an expression for one asks of its packages is what can be tried here. On a Mac things
  # are built for Linux, by the tools of the machine that plays one.
  inherit (hostPlatform) isDarwin;
  sources = pkgs.labBuildSources;
  cpu = if buildPlatform.isDarwin then "x86_64" else buildPlatform.parsed.cpu.name;
  names = cpu: {
    triplet = "${cpu}-linux-gnu";
    loader = { x86_64 = "ld-linux-x86-64.so.2"; aarch64 = "ld-linux-aarch64.so.1"; }.${cpu};
  };
  inherit (names cpu) triplet loader;
  host = names hostPlatform.parsed.cpu.name;

  # Stage one: a static busybox lays Debian's files out in one directory and a patchelf that runs through its own loader
  # makes them live there. Only builds see this path; nothing in an image may refer to it.
  toolsOf =
    { sources, triplet, loader }:
    derivation {
      name = "lab-build-tools";
      inherit system;
      builder = "${sources.busybox-static}/usr/bin/busybox";
      args = [ "sh" "-eu" ./build-tools.sh ];
      inherit triplet loader;
      debs = map toString (
        map (name: sources.${name}) [
          "bash" "coreutils" "diffutils" "findutils" "grep" "gzip" "jq" "libacl1" "libattr1" "libbz2-1.0" "libc6"
          "libexpat1" "libgcc-s1" "libgmp10" "libjq1" "liblz4-1" "liblzma5" "libonig5" "libpcre2-8-0"
          "libpython3.13-minimal" "libpython3.13-stdlib" "libselinux1" "libssl3t64" "libstdc++6" "libtinfo6" "libxxhash0" "libzstd1"
          "mawk" "patchelf" "pigz" "python3.13-minimal" "sed" "tar" "xz-utils" "zlib1g" "zstd"
        ]
      );
      libc = sources.libc6;
      patchelf = sources.patchelf;
      cxx = sources."libstdc++6";
      gcc = sources.libgcc-s1;
    };
  tools = if isDarwin then "/no-tools-for-a-mac" else toolsOf { inherit sources triplet loader; };
  machine = names "x86_64";

  # nixpkgs' mkDerivation, as far as expressions around an image use it: phases, inputs on PATH, passthru, overrideAttrs.
  mkDerivation =
    fnOrAttrs:
    let
      attrs = if builtins.isFunction fnOrAttrs then lib.fix' fnOrAttrs else fnOrAttrs;
      # As nixpkgs names what runs elsewhere.
      suffix = lib.optionalString labIsCross "-${hostPlatform.config}";
      name = attrs.name or "${attrs.pname}${suffix}-${attrs.version}";
      # Inputs may name themselves twice; order decides who wins on PATH.
      inputs = (attrs.nativeBuildInputs or [ ]) ++ lib.optionals (!labIsCross) (attrs.buildInputs or [ ]) ++ compiler;
      compiler = lib.optional withCompiler pkgs.labCompiler;
      # nixpkgs' stdenv always has one; here only those wait for it that compile, or are to be seen waiting.
      phases = attrs ? src && !(attrs ? buildCommand);
      withCompiler = !(attrs.labNoCompiler or false) && (labIsCross || (phases && hostPlatform.isLinux));
      drv = derivation (
        {
          inherit name system;
          builder = "${tools}/bin/bash";
          args = [ "-eu" ./setup.sh ];
          tools = "${tools}";
          inputPath = lib.concatMapStringsSep ":" (input: "${input}/bin") inputs;
          outputs = [ "out" ];
        }
        // builtins.removeAttrs attrs [
          "name" "meta" "passthru" "nativeBuildInputs" "buildInputs" "propagatedBuildInputs" "labNoCompiler"
        ]
        // lib.optionalAttrs withCompiler { CC = pkgs.labCompiler.cc; }
      );
    in
    drv
    // (attrs.passthru or { })
    // {
      inherit name;
      meta = attrs.meta or { };
      passthru = attrs.passthru or { };
      overrideAttrs =
        f:
        mkDerivation (
          attrs
          // (
            if !builtins.isFunction f then
              f
            else
              let
                once = f attrs;
              in
              if builtins.isFunction once then f attrs attrs else once
          )
        );
    }
    // lib.optionalAttrs (attrs ? pname) { inherit (attrs) pname version; };
in
{
  labTools = tools;
  labTriplet = host.triplet;
  labLoader = host.loader;
  # Where compilers run.
  labMachineTools = if cpu == "x86_64" then tools else toolsOf { sources = pkgs.labToolSources; inherit (machine) triplet loader; };
  labMachineLoader = machine.loader;
  # What a program that runs where things are built is begun by.
  labShell = if labIsCross then "${tools}/bin/bash" else "${pkgs.bash}/bin/bash";
  stdenv = {
    inherit mkDerivation buildPlatform hostPlatform;
    inherit (hostPlatform) system isLinux isDarwin;
    targetPlatform = hostPlatform;
    cc = lib.optionalAttrs labIsCross { targetPrefix = "${hostPlatform.config}-"; };
    shell = "${tools}/bin/bash";
  };
  stdenvNoCC = pkgs.stdenv // {
    mkDerivation =
      attrs:
      mkDerivation (
        if builtins.isFunction attrs then (self: attrs self // { labNoCompiler = true; }) else attrs // { labNoCompiler = true; }
      );
  };
}
