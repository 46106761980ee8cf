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

  # Functions in shell for archives that are compressed in whatever way.
  open = ''
    codec() {
      case $(od -A n -N 4 -t x1 "$1" | tr -d " ") in
        1f8b*) echo gz ;;
        28b52ffd) echo zstd ;;
        *) echo none ;;
      esac
    }
    open() {
      case $(codec "$1") in
        gz) pigz -dc "$1" ;;
        zstd) zstd -dc "$1" ;;
        none) cat "$1" ;;
      esac
    }
    shut() {
      case $1 in
        ${lib.concatStringsSep "\n    " (lib.mapAttrsToList (name: value: "${name}) ${value.command} ;;") compressors)}
      esac
    }
  '';

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
      inherit (pkgs.buildPlatform) system;
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
      pureJson = writeText "${baseName name}-config.json" (
        builtins.toJSON {
          inherit created config architecture;
          preferLocalBuild = true;
          os = "linux";
        }
      );
      # Any other text is what the image says, as in nixpkgs.
      baseJson =
        if created != "now" then
          pureJson
        else
          runCommand "${baseName name}-config.json" { } ''jq ".created = \"$(TZ=utc date --iso-8601=seconds)\"" ${pureJson} > "$out"'';
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
        # As nixpkgs does: whatever date(1) reads is a date.
        ''
          [ "$created" = now ] || created=$(date -Iseconds -d "$created")
          [ "$mtime" = now ] || mtime=$(date -Iseconds -d "$mtime")
          python3 ${./conf.py} "$out"
        '';
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
            echo "#!${pkgs.labShell} -e"
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

  # Several archives in one, compressed like the last of them.
  mergeImages = images: runCommand "merge-docker-images" { inherit images; } ''
    ${open}
    mkdir image inputs
    manifests= repositories= last=
    number=0
    for image in $images; do
      number=$((number + 1))
      last=$(codec "$image")
      mkdir "inputs/$number"
      open "$image" | tar -C "inputs/$number" -x
      chmod -R u+w "inputs/$number"
      manifests="$manifests inputs/$number/manifest.json"
      [ ! -e "inputs/$number/repositories" ] || repositories="$repositories inputs/$number/repositories"
    done
    # Layers that several have are the same file; what is not is made below.
    for input in inputs/*; do cp -R --update=none "$input/." image/; done
    jq -s add $manifests > manifest.json
    mv manifest.json image/
    [ -z "$repositories" ] || { jq -s add $repositories > merged; mv merged image/repositories; }
    tar -C image --hard-dereference --sort=name --xform s:'^./':: --owner=0 --group=0 --mtime=@1 -c . | shut "$last" > "$out"
  '';

  # The root file system alone: no image any more. Without a virtual machine, so nothing is mounted, and files that a
  # layer takes away are not known.
  exportImage =
    {
      fromImage,
      name ? fromImage.name,
      ...
    }:
    runCommand name { inherit fromImage; } ''
      ${open}
      mkdir image root
      open "$fromImage" | tar -C image -x
      for layer in $(jq -r '.[0].Layers[]' image/manifest.json); do
        tar -C root --delay-directory-restore -xf "image/$layer"
        chmod -R u+w root
      done
      tar -C root --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1 -c . > "$out"
    '';

  binSh = runCommand "bin-sh" { } ''mkdir -p "$out/bin"; ln -s ${pkgs.bash}/bin/bash "$out/bin/sh"'';
  usrBinEnv = runCommand "usr-bin-env" { } ''mkdir -p "$out/usr/bin"; ln -s ${pkgs.coreutils}/bin/env "$out/usr/bin"'';
  caCertificates = runCommand "ca-certificates" { } ''
    mkdir -p "$out/etc/ssl/certs" "$out/etc/pki/tls/certs"
    ln -s ${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt "$out/etc/ssl/certs/ca-bundle.crt"
    ln -s ${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt "$out/etc/ssl/certs/ca-certificates.crt"
    ln -s ${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt "$out/etc/pki/tls/certs/ca-bundle.crt"
  '';
  fakeNss = lib.makeOverridable (
    { extraPasswdLines ? [ ], extraGroupLines ? [ ] }:
    let
      write = lines: lib.concatStringsSep "\\n" (lines ++ [ "" ]);
      passwd = [ "root:x:0:0:root user:/var/empty:/bin/sh" ] ++ extraPasswdLines ++ [ "nobody:x:65534:65534:nobody:/var/empty:/bin/sh" ];
      group = [ "root:x:0:" ] ++ extraGroupLines ++ [ "nobody:x:65534:" ];
    in
    runCommand "fake-nss" { } ''
      mkdir -p "$out/etc" "$out/var/empty"
      printf '${write passwd}' > "$out/etc/passwd"
      printf '${write group}' > "$out/etc/group"
      echo 'hosts: files dns' > "$out/etc/nsswitch.conf"
    ''
  ) { };
}
