# The trivial builders: text, scripts, environments.
{ pkgs }:
let
  inherit (pkgs) lib stdenv;

  runCommand =
    name: env: buildCommand:
    pkgs.stdenvNoCC.mkDerivation (
      env
      // {
        inherit name buildCommand;
        passAsFile = [ "buildCommand" ] ++ (env.passAsFile or [ ]);
      }
    );

  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      checkPhase ? "",
      meta ? { },
      passthru ? { },
      derivationArgs ? { },
    }:
    runCommand name
      (
        {
          inherit text meta passthru checkPhase;
          passAsFile = [ "text" ];
          target = destination;
          executable = if executable then "1" else "";
        }
        // derivationArgs
      )
      ''
        target=$out$target
        mkdir -p "$(dirname "$target")"
        cp "$textPath" "$target"
        chmod 644 "$target"
        [ -z "$executable" ] || chmod 755 "$target"
        eval "$checkPhase"
      '';

  # One directory of links to what several packages hold: directories are made anew, files are links.
  linkTree = ''
    linkTree() {
      local from=$1 to=$2 entry name
      for entry in "$from"/* "$from"/.[!.]*; do
        [ -e "$entry" ] || [ -L "$entry" ] || continue
        name=''${entry##*/}
        if [ -d "$entry" ] && { [ -d "$to/$name" ] || [ ! -e "$to/$name" ]; }; then
          if [ -L "$to/$name" ]; then
            # Two packages hold this directory: the first one's link becomes a directory of links.
            local first; first=$(readlink -f "$to/$name"); rm "$to/$name"; mkdir "$to/$name"; linkTree "$first" "$to/$name"
          fi
          if [ -d "$to/$name" ]; then linkTree "$entry" "$to/$name"; else ln -s "$entry" "$to/$name"; fi
        elif [ ! -e "$to/$name" ]; then
          ln -s "$entry" "$to/$name"
        fi
      done
    }
  '';
in
{
  inherit runCommand writeTextFile;
  runCommandLocal = runCommand;
  runtimeShell = "${pkgs.bash}/bin/bash";

  writeText = name: text: writeTextFile { inherit name text; };
  writeTextDir = path: text: writeTextFile { name = baseNameOf path; inherit text; destination = "/${path}"; };
  writeScript = name: text: writeTextFile { inherit name text; executable = true; };
  writeScriptBin =
    name: text: writeTextFile { inherit name text; executable = true; destination = "/bin/${name}"; meta.mainProgram = name; };
  writeShellScript =
    name: text: writeTextFile { inherit name; executable = true; text = "#!${pkgs.runtimeShell}\n${text}\n"; };
  writeShellScriptBin =
    name: text:
    writeTextFile {
      inherit name;
      executable = true;
      destination = "/bin/${name}";
      text = "#!${pkgs.runtimeShell}\n${text}\n";
      meta.mainProgram = name;
    };
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      ...
    }:
    writeTextFile {
      inherit name;
      executable = true;
      destination = "/bin/${name}";
      meta.mainProgram = name;
      text = ''
        #!${pkgs.runtimeShell}
        set -o errexit
        set -o nounset
        set -o pipefail

        ${lib.optionalString (runtimeInputs != [ ]) ''export PATH="${lib.makeBinPath runtimeInputs}:$PATH"''}
        ${text}
      '';
    };

  buildEnv =
    {
      name,
      paths,
      pathsToLink ? [ "/" ],
      extraPrefix ? "",
      postBuild ? "",
      passthru ? { },
      meta ? { },
      ...
    }:
    runCommand name
      {
        inherit passthru meta postBuild;
        paths = map toString paths;
        links = pathsToLink;
        inherit extraPrefix;
      }
      ''
        ${linkTree}
        mkdir -p "$out$extraPrefix"
        for path in $paths; do
          for link in $links; do
            [ -d "$path$link" ] || continue
            mkdir -p "$out$extraPrefix$link"
            linkTree "$path''${link%/}" "$out$extraPrefix''${link%/}"
          done
        done
        eval "$postBuild"
      '';

  # Like nixpkgs' (lndir): every directory is real, every file is a link.
  symlinkJoin =
    args@{
      name,
      paths,
      postBuild ? "",
      passthru ? { },
      meta ? { },
      ...
    }:
    runCommand name
      (
        builtins.removeAttrs args [ "name" ]
        // {
          paths = map toString paths;
        }
      )
      ''
        mkdir -p "$out"
        for path in $paths; do
          [ -d "$path" ] || continue
          (cd "$path" && find . -type d -print0) | (cd "$out" && xargs -0 mkdir -p)
          (cd "$path" && find . ! -type d -print) | while IFS= read -r entry; do
            [ -e "$out/$entry" ] || [ -L "$out/$entry" ] || ln -s "$path/''${entry#./}" "$out/$entry"
          done
        done
        eval "$postBuild"
      '';
}
