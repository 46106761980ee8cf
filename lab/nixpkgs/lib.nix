# The bits of nixpkgs' `lib` that flakes in the wild reach for, with the same names and meanings.
let
  lib = builtins // rec {
    inherit (builtins) foldl' mapAttrs genList;

    id = x: x;
    const = x: _: x;
    flip =
      f: a: b:
      f b a;
    fix' = f: let x = f x; in x;
    fix = fix';
    pipe = value: foldl' (x: f: f x) value;

    nameValuePair = name: value: { inherit name value; };
    genAttrs = names: f: builtins.listToAttrs (map (name: nameValuePair name (f name)) names);
    mapAttrs' = f: set: builtins.listToAttrs (map (name: f name set.${name}) (builtins.attrNames set));
    mapAttrsToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);
    attrsToList = mapAttrsToList nameValuePair;
    filterAttrs =
      keep: set:
      builtins.removeAttrs set (builtins.filter (name: !(keep name set.${name})) (builtins.attrNames set));
    optionalAttrs = cond: set: if cond then set else { };
    attrByPath =
      path: default: set:
      if path == [ ] then
        set
      else if builtins.isAttrs set && set ? ${builtins.head path} then
        attrByPath (builtins.tail path) default set.${builtins.head path}
      else
        default;
    recursiveUpdate =
      a: b:
      a
      // mapAttrs (
        name: value:
        if builtins.isAttrs value && builtins.isAttrs (a.${name} or null) && !(isDerivation value) then
          recursiveUpdate a.${name} value
        else
          value
      ) b;
    isDerivation = value: (value.type or null) == "derivation";

    optional = cond: value: if cond then [ value ] else [ ];
    optionals = cond: values: if cond then values else [ ];
    toList = value: if builtins.isList value then value else [ value ];
    flatten = value: if builtins.isList value then builtins.concatMap flatten value else [ value ];
    unique = foldl' (acc: value: if builtins.elem value acc then acc else acc ++ [ value ]) [ ];
    last = list: builtins.elemAt list (builtins.length list - 1);
    range = first: end: if first > end then [ ] else builtins.genList (n: first + n) (end - first + 1);

    optionalString = cond: text: if cond then text else "";
    concatStringsSep = builtins.concatStringsSep;
    concatStrings = concatStringsSep "";
    concatMapStrings = f: list: concatStrings (map f list);
    concatMapStringsSep =
      sep: f: list:
      concatStringsSep sep (map f list);
    concatLines = concatMapStrings (line: line + "\n");
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    hasSuffix =
      suffix: text:
      let
        n = builtins.stringLength suffix;
        all = builtins.stringLength text;
      in
      all >= n && builtins.substring (all - n) n text == suffix;
    removePrefix =
      prefix: text:
      if hasPrefix prefix text then builtins.substring (builtins.stringLength prefix) (-1) text else text;
    removeSuffix =
      suffix: text:
      if hasSuffix suffix text then
        builtins.substring 0 (builtins.stringLength text - builtins.stringLength suffix) text
      else
        text;
    splitString =
      sep: text: builtins.filter builtins.isString (builtins.split (escapeRegex sep) text);
    escapeRegex = builtins.replaceStrings
      (map (c: c) [ "\\" "." "*" "+" "?" "(" ")" "[" "]" "{" "}" "^" "$" "|" ])
      (map (c: "\\" + c) [ "\\" "." "*" "+" "?" "(" ")" "[" "]" "{" "}" "^" "$" "|" ]);
    escapeShellArg =
      value: "'" + builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString value) + "'";
    escapeShellArgs = concatMapStringsSep " " escapeShellArg;
    toLower = builtins.replaceStrings upper lower;
    upper = [ "A" "B" "C" "D" "E" "F" "G" "H" "I" "J" "K" "L" "M" "N" "O" "P" "Q" "R" "S" "T" "U" "V" "W" "X" "Y" "Z" ];
    lower = [ "a" "b" "c" "d" "e" "f" "g" "h" "i" "j" "k" "l" "m" "n" "o" "p" "q" "r" "s" "t" "u" "v" "w" "x" "y" "z" ];

    importJSON = path: builtins.fromJSON (builtins.readFile path);
    importTOML = path: builtins.fromTOML (builtins.readFile path);
    cleanSourceFilter =
      path: type:
      let
        base = baseNameOf (toString path);
      in
      !(
        (type == "directory" && builtins.elem base [ ".git" ".svn" ".hg" "CVS" ])
        || hasSuffix "~" base
        || builtins.match "^\\.sw[a-z]$" base != null
        || hasSuffix ".o" base
        || hasSuffix ".so" base
        || (type == "symlink" && hasPrefix "result" base)
        || type == "unknown"
      );
    cleanSource = src: builtins.path { path = src; filter = cleanSourceFilter; name = "source"; };

    # File sets are lists of paths here: a file is in one if it is named, or lies below a directory that is.
    fileset = {
      unions = flatten;
      union = a: b: flatten [ a b ];
      maybeMissing = path: optional (builtins.pathExists path) path;
      toSource =
        { root, fileset }:
        let
          named = map (
            path: if builtins.pathExists path then toString path else throw "lib.fileset: ${toString path} does not exist"
          ) (flatten fileset);
        in
        {
          outPath = builtins.path {
            path = root;
            name = "source";
            filter =
              path: _: builtins.any (name: path == name || hasPrefix "${name}/" path || hasPrefix "${path}/" name) named;
          };
        };
    };

    makeBinPath = paths: concatMapStringsSep ":" (path: "${path}/bin") paths;
    makeLibraryPath = paths: concatMapStringsSep ":" (path: "${path}/lib") paths;
    getName = drv: drv.pname or (builtins.parseDrvName (drv.name or drv)).name;
    getVersion = drv: drv.version or (builtins.parseDrvName (drv.name or drv)).version;
    getExe = drv: "${drv}/bin/${drv.meta.mainProgram or (getName drv)}";
    getExe' = drv: name: "${drv}/bin/${name}";

    # `f { … }` with an `override` that calls it again with other arguments.
    makeOverridable =
      f: args:
      let
        result = f args;
        override = new: makeOverridable f (args // (if builtins.isFunction new then new args else new));
      in
      if builtins.isAttrs result then result // { inherit override; } else result;
    callPackageWith =
      set: fn: args:
      let
        f = if builtins.isFunction fn then fn else import fn;
      in
      makeOverridable f (builtins.intersectAttrs (builtins.functionArgs f) set // args);

    systems.flakeExposed = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
    licenses = {
      asl20.spdxId = "Apache-2.0";
      mit.spdxId = "MIT";
    };
    platforms.darwin = [ "x86_64-darwin" "aarch64-darwin" ];
    platforms.unix = platforms.linux ++ platforms.darwin;
    platforms.linux = [ "x86_64-linux" "aarch64-linux" ];
    platforms.all = systems.flakeExposed;
    fakeHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  };
in
lib
