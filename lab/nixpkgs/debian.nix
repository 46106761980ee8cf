# The packages: Debian's binaries, moved into store paths and made to live there.
{ pkgs }:
let
  inherit (pkgs) lib stdenv sources labTriplet labLoader;

  # One package out of one or more .debs. Programs get glibc's loader and a search path of store paths, so that what they
  # refer to is what Nix sees, and an image holds all of it.
  fromDebian =
    {
      pname,
      debs ? [ pname ],
      inputs ? [ ],
      # A shell fragment that runs after the files are in $out and before programs are patched.
      install ? "",
      libc ? pkgs.glibc,
      # What a compiler is made with cannot wait for it.
      labNoCompiler ? false,
      nativeBuildInputs ? [ ],
      meta ? { },
      passthru ? { },
    }:
    stdenv.mkDerivation {
      inherit pname passthru labNoCompiler nativeBuildInputs;
      inherit (sources.${builtins.head debs}) version;
      meta = {
        mainProgram = pname;
      }
      // meta;
      debs = map (name: "${sources.${name}}") debs;
      triplet = labTriplet;
      loader = labLoader;
      libc = if libc == null then "" else "${libc}";
      libraries = lib.makeLibraryPath inputs;
      buildCommand = ''
        . ${./from-debian.sh}
        gather
        ${install}
        if [ -n "$libc" ]; then livePrograms; fi
      '';
    };
in
{
  glibc = fromDebian {
    pname = "glibc";
    debs = [ "libc6" ];
    libc = null;
    labNoCompiler = true;
    nativeBuildInputs = lib.optional pkgs.labIsCross pkgs.labStageGcc;
    install = ''rm -rf "$out/etc" "$out/share"'';
  };
  libgcc = fromDebian { pname = "libgcc"; debs = [ "libgcc-s1" ]; };
  ncurses = fromDebian { pname = "ncurses"; debs = [ "libtinfo6" ]; };
  acl = fromDebian { pname = "acl"; debs = [ "libacl1" ]; inputs = [ pkgs.attr ]; };
  attr = fromDebian { pname = "attr"; debs = [ "libattr1" ]; };
  gmp = fromDebian { pname = "gmp"; debs = [ "libgmp10" ]; };
  pcre2 = fromDebian { pname = "pcre2"; debs = [ "libpcre2-8-0" ]; };
  libselinux = fromDebian { pname = "libselinux"; debs = [ "libselinux1" ]; inputs = [ pkgs.pcre2 ]; };
  libcap = fromDebian { pname = "libcap"; debs = [ "libcap2" ]; };
  libxcrypt = fromDebian { pname = "libxcrypt"; debs = [ "libcrypt1" ]; };
  zlib = fromDebian { pname = "zlib"; debs = [ "zlib1g" ]; };
  zstd = fromDebian { pname = "zstd"; debs = [ "zstd" "libzstd1" "liblz4-1" "libxxhash0" ]; inputs = [ pkgs.zlib pkgs.xz pkgs.libgcc ]; };
  xz = fromDebian { pname = "xz"; debs = [ "xz-utils" "liblzma5" ]; };
  libsystemd = fromDebian { pname = "libsystemd"; debs = [ "libsystemd0" ]; inputs = [ pkgs.libcap ]; };
  openssl = fromDebian {
    pname = "openssl";
    debs = [ "libssl3t64" ];
    inputs = [ pkgs.zlib pkgs.zstd ];
    install = ''rm -rf "$out"/lib/engines-3'';
  };

  bash = fromDebian {
    pname = "bash";
    inputs = [ pkgs.ncurses ];
    install = ''ln -s bash "$out/bin/sh"; rm -rf "$out/share"'';
    passthru.shellPath = "/bin/bash";
  };
  bashInteractive = pkgs.bash;
  bashNonInteractive = pkgs.bash;
  coreutils = fromDebian {
    pname = "coreutils";
    inputs = [ pkgs.acl pkgs.attr pkgs.gmp pkgs.libcap pkgs.libselinux pkgs.libsystemd pkgs.openssl ];
    meta.mainProgram = "ls";
  };
  gnugrep = fromDebian { pname = "gnugrep"; debs = [ "grep" ]; inputs = [ pkgs.pcre2 ]; meta.mainProgram = "grep"; };
  gnused = fromDebian { pname = "gnused"; debs = [ "sed" ]; inputs = [ pkgs.acl pkgs.libselinux ]; meta.mainProgram = "sed"; };
  gnutar = fromDebian { pname = "gnutar"; debs = [ "tar" ]; inputs = [ pkgs.acl pkgs.libselinux ]; meta.mainProgram = "tar"; };
  gzip = fromDebian { pname = "gzip"; };
  findutils = fromDebian { pname = "findutils"; inputs = [ pkgs.libselinux ]; meta.mainProgram = "find"; };
  jq = fromDebian { pname = "jq"; debs = [ "jq" "libjq1" "libonig5" ]; };
  hello = fromDebian { pname = "hello"; };

  perl = fromDebian {
    pname = "perl";
    debs = [ "perl-base" "perl-modules-5.40" ];
    inputs = [ pkgs.libxcrypt ];
    # Debian's perl knows its modules by absolute path; whoever runs it names them (see cowsay). Of the many modules in
    # pure Perl, those that scripts use.
    install = ''
      mv "$out/lib/perl-base" "$out/lib/perl5"
      for modules in File Getopt Term Text Tie Time; do
        cp -r "$out"/share/perl/5.*.*/"$modules" "$out/lib/perl5/"
      done
      rm -rf "$out/share" "$out/lib/perl" "$out/lib/mime" "$out/bin/perl5"*
    '';
    passthru.libPrefix = "lib/perl5";
  };
  perlPackages.TextCharWidth = fromDebian {
    pname = "perl-Text-CharWidth";
    debs = [ "libtext-charwidth-perl" ];
    install = ''mv "$out/lib/perl5/"5.* "$out/lib/modules"; rmdir "$out/lib/perl5"; mv "$out/lib/modules" "$out/lib/perl5"'';
  };
  # As in nixpkgs: the program is a wrapper in shell around a Perl script, both with store paths in their first lines.
  cowsay = fromDebian {
    pname = "cowsay";
    install = ''
      mv "$out/bin/cowsay" "$out/bin/.cowsay-wrapped"
      sed -i "1s|.*|#!${pkgs.perl}/bin/perl|" "$out/bin/.cowsay-wrapped"
      {
        echo "#! ${pkgs.bash}/bin/bash -e"
        echo "export COWPATH=\''${COWPATH-$out/share/cowsay/cows}"
        echo "export PERL5LIB=${pkgs.perl}/lib/perl5:${pkgs.perlPackages.TextCharWidth}/lib/perl5\''${PERL5LIB:+:\$PERL5LIB}"
        echo "exec -a \"\$0\" \"$out/bin/.cowsay-wrapped\"  \"\$@\""
      } > "$out/bin/cowsay"
      chmod 755 "$out/bin/cowsay" "$out/bin/.cowsay-wrapped"
      ln -sf cowsay "$out/bin/cowthink"
    '';
  };

  busybox = fromDebian {
    pname = "busybox";
    debs = [ "busybox-static" ];
    libc = null;
    install = ''
      for applet in $(${if pkgs.labIsCross then "${pkgs.labBuildSources.busybox-static}/usr" else "$out"}/bin/busybox --list); do
        [ -e "$out/bin/$applet" ] || ln -s busybox "$out/bin/$applet"
      done
      rm -rf "$out/share"
    '';
  };

  cacert = stdenv.mkDerivation {
    pname = "nss-cacert";
    inherit (sources.ca-certificates) version;
    buildCommand = ''
      mkdir -p "$out/etc/ssl/certs"
      cat ${sources.ca-certificates}/usr/share/ca-certificates/mozilla/*.crt > "$out/etc/ssl/certs/ca-bundle.crt"
    '';
  };

  pkgsStatic = {
    inherit (pkgs) busybox;
    # Debian has no static hello: this one is written out byte by byte, a few hundred of them.
    hello = stdenv.mkDerivation {
      pname = if pkgs.labIsCross then "hello-static" else "hello-static-${stdenv.hostPlatform.config}";
      inherit (sources.hello) version;
      meta.mainProgram = "hello";
      buildCommand = ''
        mkdir -p "$out/bin"
        python3 ${./static-hello.py} ${stdenv.hostPlatform.parsed.cpu.name} "$out/bin/hello"
        chmod 755 "$out/bin/hello"
        ${lib.optionalString (!pkgs.labIsCross) ''"$out/bin/hello"''}
      '';
    };
  };
}
