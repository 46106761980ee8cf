# `dockerTools`, with the file formats of the real one (see lab/README.md for what is the same byte for byte).
{ pkgs }:
let
  inherit (pkgs) lib stdenv labTools runCommand writeText;

  compressors = {
    # As nixpkgs runs it, but always two threads: the bytes must not depend on the machine.
    gz = { ext = ".gz"; command = "pigz -p2 -nTR"; };
    zstd = { ext = ".zst"; command = "zstd -T2"; };
    none = { ext = ""; command = "cat"; };
  };
  compressorFor = name: compressors.${name} or (throw "compressor ${name} is not one of gz, none, zstd");

  # The first part of a store path's name: nixpkgs uses it as the tag of an image that has none.
  hashOf = drv: builtins.head (lib.splitString "-" (baseNameOf drv.outPath));
  baseName = name: baseNameOf name;

  noFakeroot =
    command: lib.optionalString (command != "") (throw "the lab's dockerTools has no fakeroot, so fakeRootCommands cannot run");

  # Every path that the given paths need, with sizes and references, as Nix knows them.
  closure =
    name: roots:
    derivation {
      inherit name;
      inherit (pkgs) system;
      __structuredAttrs = true;
      # Nix gives the bare name of a builder as argv[0], by which Python cannot find its library.
      builder = "${labTools}/bin/sh";
      args = [ "-c" "exec ${labTools}/bin/python3 ${./closure.py}" ];
      exportReferencesGraph.graph = roots;
    };

  buildImage = lib.makeOverridable (
    {
      name,
      tag ? null,
      fromImage ? null,
      copyToRoot ? null,
      contents ? null,
      config ? null,
      architecture ? stdenv.hostPlatform.go.GOARCH,
      created ? "1970-01-01T00:00:01Z",
      extraCommands ? "",
      runAsRoot ? null,
      keepContentsDirlinks ? false,
      includeStorePaths ? true,
      compressor ? "gz",
      uid ? 0,
      gid ? 0,
      passthru ? { },
      meta ? { },
      ...
    }:
    let
      checked =
        if runAsRoot != null then throw "the lab's dockerTools has no virtual machine, so runAsRoot cannot run" else true;
      rootContents = lib.toList (if copyToRoot != null then copyToRoot else if contents != null then contents else [ ]);
      compress = compressorFor compressor;
      baseJson = writeText "${baseName name}-config.json" (
        builtins.toJSON {
          inherit created config architecture;
          preferLocalBuild = true;
          os = "linux";
        }
      );
      result = runCommand "docker-image-${baseName name}.tar${compress.ext}"
        {
          inherit fromImage baseJson extraCommands meta;
          imageName = lib.toLower name;
          imageTag = lib.optionalString (tag != null) tag;
          rootContents = map toString rootContents;
          graph = closure "${baseName name}-closure" ([ baseJson ] ++ rootContents);
          exclude = [ "${baseJson}" ];
          storePaths = if includeStorePaths then "1" else "";
          owner = toString uid;
          group = toString gid;
          passthru = passthru // {
            buildArgs = { inherit name tag config; };
          };
        }
        ''
          . ${./build-image.sh}
          mkLayer
          mkImage
          tar -C image --hard-dereference --sort=name --xform s:'^./':: --owner=0 --group=0 --numeric-owner --mtime=@1 -c . \
            | ${compress.command} > "$out"
        '';
    in
    assert checked;
    result
    // {
      imageName = lib.toLower name;
      imageTag = if tag != null then tag else hashOf result;
    }
  );

  streamLayeredImage = lib.makeOverridable (
    {
      name,
      tag ? null,
      fromImage ? null,
      contents ? [ ],
      config ? { },
      architecture ? stdenv.hostPlatform.go.GOARCH,
      created ? "1970-01-01T00:00:01Z",
      mtime ? "1970-01-01T00:00:01Z",
      uid ? 0,
      gid ? 0,
      uname ? "root",
      gname ? "root",
      maxLayers ? 100,
      extraCommands ? "",
      fakeRootCommands ? "",
      includeStorePaths ? true,
      passthru ? { },
      meta ? { },
      ...
    }:
    let
      base = baseName name;
      contentsList = lib.toList contents;
      baseJson = writeText "${base}-base.json" (
        builtins.toJSON {
          inherit config architecture;
          os = "linux";
        }
      );
      customisationLayer = pkgs.symlinkJoin {
        name = "${base}-customisation-layer";
        paths = contentsList;
        postBuild = ''
          mv "$out" old_out
          ${noFakeroot fakeRootCommands}
          (
            cd old_out
            ${extraCommands}
          )
          mkdir "$out"
          tar --sort name --exclude=./dev --exclude=./proc --exclude=./sys --exclude=./nix/store \
            --owner=${toString uid} --group=${toString gid} --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
            --hard-dereference -C old_out -cf "$out/layer.tar" .
          sha256sum "$out/layer.tar" | cut -f 1 -d ' ' > "$out/checksum"
        '';
      };
      conf = runCommand "${base}-conf.json"
        {
          inherit fromImage customisationLayer baseJson created mtime uname gname;
          imageName = lib.toLower name;
          imageTag = lib.optionalString (tag != null) tag;
          graph = closure "${base}-closure" [ baseJson customisationLayer ];
          exclude = [ "${baseJson}" "${customisationLayer}" ];
          storePaths = if includeStorePaths then "1" else "";
          layers = toString maxLayers;
          owner = toString uid;
          group = toString gid;
          passthru = {
            imageName = lib.toLower name;
            imageTag = if tag != null then tag else hashOf conf;
          };
        }
        ''python3 ${./conf.py} "$out"'';
      streamProgram = pkgs.writeScript "stream" ''
        #!${labTools}/bin/python3
        ${builtins.readFile ./stream.py}
      '';
      result = runCommand "stream-${base}"
        {
          inherit meta;
          passthru = passthru // {
            inherit (conf) imageName imageTag;
            inherit conf streamProgram;
          };
        }
        ''
          {
            echo "#!${pkgs.bash}/bin/bash -e"
            echo "exec \"${streamProgram}\" ${conf} \"\$@\""
          } > "$out"
          chmod 755 "$out"
        '';
    in
    result
  );

  buildLayeredImage = lib.makeOverridable (
    {
      name,
      compressor ? "gz",
      ...
    }@args:
    let
      stream = streamLayeredImage (builtins.removeAttrs args [ "compressor" ]);
      compress = compressorFor compressor;
    in
    runCommand "${baseName name}.tar${compress.ext}"
      {
        inherit (stream) imageName;
        passthru = {
          inherit (stream) imageTag;
          inherit stream;
        };
      }
      ''${stream} | ${compress.command} > "$out"''
  );
in
{
  inherit buildImage buildLayeredImage streamLayeredImage;

  binSh = runCommand "bin-sh" { } ''mkdir -p "$out/bin"; ln -s ${pkgs.bash}/bin/bash "$out/bin/sh"'';
  usrBinEnv = runCommand "usr-bin-env" { } ''mkdir -p "$out/usr/bin"; ln -s ${pkgs.coreutils}/bin/env "$out/usr/bin"'';
  caCertificates = runCommand "ca-certificates" { } ''
    mkdir -p "$out/etc/ssl/certs" "$out/etc/pki/tls/certs"
    ln -s ${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt "$out/etc/ssl/certs/ca-bundle.crt"
    ln -s ${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt "$out/etc/ssl/certs/ca-certificates.crt"
    ln -s ${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt "$out/etc/pki/tls/certs/ca-bundle.crt"
  '';
  fakeNss = runCommand "fake-nss" { } ''
    mkdir -p "$out/etc" "$out/var/empty"
    printf 'root:x:0:0:root user:/var/empty:/bin/sh\nnobody:x:65534:65534:nobody:/var/empty:/bin/sh\n' > "$out/etc/passwd"
    printf 'root:x:0:\nnobody:x:65534:\n' > "$out/etc/group"
    echo 'hosts: files dns' > "$out/etc/nsswitch.conf"
  '';
}
