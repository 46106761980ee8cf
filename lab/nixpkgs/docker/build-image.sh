# Functions for `buildImage`: one layer with GNU tar, then the archive's older layout (VERSION, json, repositories).
tarLayer() { tar --hard-dereference --sort=name --numeric-owner --owner="$owner" --group="$group" --mtime=@1 "$@"; }

mkLayer() {
    mkdir -p root layer
    local item
    for item in $rootContents; do
        # Links inside the contents stay links into the store: the store paths come along.
        (cd "$item" && tar -cf - .) | (cd root && tar -xf - --no-overwrite-dir)
        chmod -R u+w root
    done
    [ -z "$extraCommands" ] || (cd root && eval "$extraCommands")
    # Directories are as a store would have them, whatever the umask was.
    find root -type d -exec chmod 0755 {} +
    tarLayer -C root -cf layer/layer.tar .
    if [ -n "$storePaths" ]; then
        python3 - "$graph" $exclude > paths <<'PY'
import json, sys
hidden = set(sys.argv[2:])
print("\n".join(info["path"] for info in json.load(open(sys.argv[1])) if info["path"] not in hidden))
PY
        if [ -s paths ]; then
            mkdir -p skeleton/nix/store && chmod 0555 skeleton/nix/store skeleton/nix
            tarLayer -C skeleton --no-recursion -rf layer/layer.tar ./nix ./nix/store
            chmod -R u+w skeleton
            sed 's|^/||' paths > names
            tarLayer -C / -rf layer/layer.tar --files-from=names
        fi
    fi
    printf 1.0 > layer/VERSION
    jq . "$baseJson" > layer/json
}

mkImage() {
    local config diff name base= layers= tag=$imageTag
    [ -n "$tag" ] || { tag=${out##*/} && tag=${tag%%-*}; }
    mkdir image
    if [ -n "$fromImage" ]; then
        mkdir base && tar -C base -xf "$fromImage" && chmod -R u+w base
        base=$(jq -r '.[0].Config' base/manifest.json)
        for name in $(jq -r '.[0].Layers[]' base/manifest.json); do
            mkdir -p "image/${name%/*}"
            cp -r "base/${name%/*}/." "image/${name%/*}/"
            layers="$layers $name"
        done
    fi
    local id; id=$(sha256sum layer/json layer/layer.tar | sha256sum | cut -d ' ' -f 1)
    mkdir "image/$id"
    cp layer/layer.tar layer/VERSION "image/$id/"
    jq --arg id "$id" '. + {id: $id}' layer/json > "image/$id/json"
    layers="$layers $id/layer.tar"
    diff=$(sha256sum layer/layer.tar | cut -d ' ' -f 1)

    # Only the environment comes from the base, as in nixpkgs.
    if [ -n "$base" ]; then
        jq -s --arg diff "sha256:$diff" --arg created "$(jq -r .created layer/json)" '
            .[0] as $own | .[1] as $base | $own
            | .config = ((.config // {}) | .Env = (($base.config.Env // []) + (.Env // [])))
            | .rootfs = {diff_ids: ($base.rootfs.diff_ids + [$diff]), type: "layers"}
            | .history = (($base.history // []) + [{created: $created}])' layer/json "base/$base" > config.json
    else
        jq --arg diff "sha256:$diff" '
            .config = ((.config // {}) | .Env = (.Env // []))
            | .rootfs = {diff_ids: [$diff], type: "layers"}
            | .history = [{created: .created}]' layer/json > config.json
    fi
    config=$(sha256sum config.json | cut -d ' ' -f 1)
    cp config.json "image/$config.json"
    jq -n --arg config "$config.json" --arg tag "$imageName:$tag" --arg layers "${layers# }" \
        '[{Config: $config, RepoTags: [$tag], Layers: ($layers | split(" "))}]' > image/manifest.json
    jq -n --arg name "$imageName" --arg tag "$tag" --arg id "$id" '{($name): {($tag): $id}}' > image/repositories
    find image -type f -exec chmod 0644 {} +
    find image -type d -exec chmod 0755 {} +
}
