# The compiler, as the derivations that nixpkgs has for it: when it crosses, nothing of it is in a binary cache unless somebody put
# it there, and whatever is compiled waits for it. Debian's compilers do the work.
{ pkgs }:
let
  inherit (pkgs) lib hostPlatform labMachineTools labMachineLoader;
  tools = pkgs.labToolSources;
  inherit (hostPlatform) config;
  cpu = hostPlatform.parsed.cpu.name;

  # Where Debian has what, for a compiler that is one for another CPU and one for its own.
  debian = {
    aarch64 = {
      triplet = "aarch64-linux-gnu";
      tools = "aarch64-linux-gnu";
      gcc = "gcc-cross";
      libraries = [ "libgcc-14-dev-arm64-cross" "libgcc-s1-arm64-cross" ];
      libc = [ "libc6-arm64-cross" "libc6-dev-arm64-cross" "linux-libc-dev-arm64-cross" ];
    };
    x86_64 = {
      triplet = "x86_64-linux-gnu";
      tools = "x86-64-linux-gnu";
      gcc = "gcc";
      libraries = [ "libgcc-14-dev" "libgcc-s1" ];
      libc = [ "libc6" "libc6-dev" "linux-libc-dev" ];
    };
  }.${cpu};

  part =
    {
      name,
      debs ? [ ],
      inputs ? [ ],
      command,
    }:
    pkgs.stdenvNoCC.mkDerivation (
    {
      inherit name inputs;
      debs = map (deb: "${tools.${deb}}") debs;
      inherit (debian) triplet;
      gccDir = debian.gcc;
      loader = labMachineLoader;
      buildTools = "${labMachineTools}";
      buildCommand = ''
        . ${./toolchain.sh}
        ${command}
      '';
    }
    # Who sets it has a compiler that nobody has built yet.
    // lib.optionalAttrs (pkgs.config ? labNonce) { labNonce = pkgs.config.labNonce; }
  );

  libraries = [ "libjansson4" "libsframe1" ];
  binutils = part {
    name = "${config}-binutils-2.44";
    debs = [ "binutils-${debian.tools}" ] ++ libraries ++ lib.optionals (cpu == "x86_64") [ "libbinutils" "libctf0" "libctf-nobfd0" ];
    command = "programs";
  };
  gccFiles = [ "gcc-14-${debian.tools}" "cpp-14-${debian.tools}" "libisl23" "libmpfr6" "libmpc3" ] ++ debian.libraries;
  stageGcc = part {
    name = "${config}-stage-static-gcc-14.2.0";
    debs = gccFiles;
    inputs = [ binutils ];
    command = "programs";
  };
  headers = part {
    name = "linux-headers-static-${config}-6.12";
    debs = lib.filter (lib.hasPrefix "linux-libc-dev") debian.libc;
    command = "development";
  };
  dev = part {
    name = "glibc-${config}-2.41-dev";
    debs = debian.libc;
    inputs = [ stageGcc headers ];
    command = "development";
  };
  musl = part {
    name = "musl-${config}-1.2.5";
    inputs = [ stageGcc ];
    command = ''
      mkdir -p "$out"
      cp -r ${pkgs.sources.musl-dev}/usr/include/${cpu}-linux-musl "$out/include"
      cp -r ${pkgs.sources.musl-dev}/usr/lib/${cpu}-linux-musl "$out/lib"
      chmod -R u+w "$out"
    '';
  };
  gcc = part {
    name = "${config}-gcc-14.2.0";
    inputs = [ stageGcc (if hostPlatform.isMusl then musl else dev) ];
    command = ''cp -rs ${stageGcc} "$out"'';
  };
  wrapper = part {
    name = "${config}-gcc-wrapper-14.2.0";
    inputs = [ gcc binutils ];
    command =
      if hostPlatform.isMusl then
        ''wrap ${config} ${stageGcc} ${binutils}; muslCompiler ${musl}''
      else
        ''wrap ${config} ${stageGcc} ${binutils}; glibcCompiler ${dev} ${pkgs.glibc}/lib/${pkgs.labLoader} ${pkgs.glibc}/lib'';
  };
in
{
  labStageGcc = stageGcc;
  labCompiler = wrapper // {
    cc = "${config}-gcc";
  };
}
