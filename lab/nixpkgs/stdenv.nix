# The build environment: tools from Debian's packages, then `stdenv.mkDerivation` over them.
{ pkgs }:
let
  inherit (pkgs) lib system sources;

  cpu = builtins.head (lib.splitString "-" system);
  # Nothing is ever built for a Mac: what an expression for one asks of its packages is what can be tried here.
  isDarwin = lib.hasSuffix "-darwin" system;
  triplet = "${cpu}-linux-gnu";
  loader = { x86_64 = "ld-linux-x86-64.so.2"; aarch64 = "ld-linux-aarch64.so.1"; }.${cpu};

  # Stage one: a static busybox lays Debian's files out in one directory and a patchelf that runs through its own loader
  # makes them live there. Only builds see this path; nothing in an image may refer to it.
  tools = if isDarwin then "/no-tools-for-a-mac" else derivation {
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

  # nixpkgs' mkDerivation, as far as expressions around an image use it: phases, inputs on PATH, passthru, overrideAttrs.
  mkDerivation =
    fnOrAttrs:
    let
      attrs = if builtins.isFunction fnOrAttrs then lib.fix' fnOrAttrs else fnOrAttrs;
      name = attrs.name or "${attrs.pname}-${attrs.version}";
      # Inputs may name themselves twice; order decides who wins on PATH.
      inputs = (attrs.nativeBuildInputs or [ ]) ++ (attrs.buildInputs or [ ]);
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
          "name" "meta" "passthru" "nativeBuildInputs" "buildInputs" "propagatedBuildInputs"
        ]
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

  platform = {
    inherit system;
    config = if isDarwin then "${cpu}-apple-darwin" else "${cpu}-unknown-linux-gnu";
    isLinux = !isDarwin;
    inherit isDarwin;
    canExecute = other: other.system == system;
    isx86_64 = cpu == "x86_64";
    isAarch64 = cpu == "aarch64";
    parsed.cpu.name = cpu;
    # The names Go and the OCI specification use.
    go.GOARCH = { x86_64 = "amd64"; aarch64 = "arm64"; }.${cpu};
    linuxArch = { x86_64 = "x86_64"; aarch64 = "arm64"; }.${cpu};
  };
in
{
  labTools = tools;
  labTriplet = triplet;
  labLoader = loader;
  stdenv = {
    inherit mkDerivation system;
    hostPlatform = platform;
    buildPlatform = platform;
    targetPlatform = platform;
    isLinux = !isDarwin;
    inherit isDarwin;
    shell = "${tools}/bin/bash";
  };
  stdenvNoCC = pkgs.stdenv;
}
