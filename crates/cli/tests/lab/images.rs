//! The main job: build, check, load, run.

use super::*;

each!(the_cow_says_hello: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34), nix_2_26_docker_28(NIX_2_26_DOCKER_28), nix_2_34_docker_20(NIX_2_34_DOCKER_20));
fn the_cow_says_hello(host: Host) {
    let run = host.sh("cd $(mktemp -d) && cp -r $OLDPWD/examples/cowsay .
         nixoci build ./cowsay#container --format json >doc.json || exit
         docker load < result && docker run --rm cowsay-hello-world:latest && cat doc.json");
    let run = run.code(0).out("< hello world >").out("Loaded image: cowsay-hello-world:latest");
    let start = run.out.find("\n{").unwrap_or_else(|| panic!("{}: {run:#?}", host.name()));
    let doc: serde_json::Value = serde_json::from_str(&run.out[start..]).unwrap();
    let image = &doc["images"][0];
    assert_eq!(doc["version"], 1);
    assert_eq!(image["name"], "cowsay-hello-world:latest");
    assert_eq!(image["platforms"][0]["platform"], "linux/amd64");
    assert_eq!(image["platforms"][0]["backend"], "local");
    assert_eq!(image["outputs"][0]["dest"], "./result");
    assert!(image["platforms"][0]["layers"].as_array().unwrap().len() > 3);
    assert!(run.out.contains("/nix/store/"), "layers name their store paths");
}

each!(the_second_articles_file_builds_loads_and_runs: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34), nix_2_26_docker_28(NIX_2_26_DOCKER_28), nix_2_34_docker_20(NIX_2_34_DOCKER_20));
fn the_second_articles_file_builds_loads_and_runs(host: Host) {
    host.sh("image=$(nixoci build -f examples/layered/default.nix --load) || exit
         echo $image; docker run --rm $image; docker run --rm $image bash -c 'ls /bin | head -2'")
        .code(0)
        .out("Hello, world!\n")
        .out("hello-layered:")
        .warns("images_plain_string");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn run_passes_arguments() {
    NIX_2_34.sh("nixoci run ./examples/cowsay#container -- cowsay moo").code(0).out("< moo >");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn run_ends_with_the_container_s_exit_code() {
    NIX_2_26.sh("nixoci run -f examples/layered/default.nix -- bash -c 'exit 7'").code(7);
}

each!(run_takes_docker_s_flags_by_docker_s_letters: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn run_takes_docker_s_flags_by_docker_s_letters(host: Host) {
    host.sh("env=$(mktemp); echo B=from-a-file > $env
         echo from-stdin | nixoci run -f examples/layered/default.nix --verbose --timeout 1h -v /usr:/data:ro \\
             -e A=from-a-flag --env-file $env -i -p 127.0.0.1::80 --network bridge --entrypoint bash -- \\
             -c 'echo $A $B; ls -d /data/bin; cat -'")
        .code(0)
        .out("from-a-flag from-a-file")
        .out("/data/bin")
        .out("from-stdin");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_unchanged_image_comes_from_the_cache() {
    let run = NIX_2_34
        .sh("nixoci build ./examples/cowsay#container --no-link --format json >/dev/null || exit
         nixoci build ./examples/cowsay#container --no-link --format json");
    let doc: serde_json::Value = serde_json::from_str(&run.code(0).out).unwrap();
    assert!(doc["transfer"]["reusedBytes"].as_u64().unwrap() > 1_000_000, "{doc}");
}

each!(the_cache_says_what_keeps_an_image_and_lets_go_of_the_rest: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn the_cache_says_what_keeps_an_image_and_lets_go_of_the_rest(host: Host) {
    let run = host
        .sh("cd $(mktemp -d) && cp -r $OLDPWD/examples/hello $OLDPWD/examples/cowsay .
         show() { nixoci cache show --format json | jq -c '[.images[] | [.names, (.links // [] | length)]] | sort'; }
         nixoci build -q ./hello#container >/dev/null && nixoci build -q ./cowsay#container --no-link >/dev/null
         show; nixoci cache gc --all --format json | jq -c '[.removed, .held]'; show; docker load -q < result | grep Loaded
         rm result; nixoci cache gc --all --format json | jq -c '[.removed, .held]'; show")
        .code(0);
    let hello = "[[[\"hello:latest\"],1]]\n";
    assert_eq!(
        run.out,
        format!(
            "[[[\"cowsay-hello-world:latest\"],0],{}[1,1]\n{hello}Loaded image: hello:latest\n[1,0]\n[]\n",
            &hello[1..]
        ),
        "{run:#?}"
    );
}

each!(ci_gets_its_files: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn ci_gets_its_files(host: Host) {
    let run = host.sh("cd $(mktemp -d) && cp -r $OLDPWD/examples/hello .
         nixoci build ./hello#container -t $tag --load --iidfile iid --digestfile digest --metadata-file meta >/dev/null || exit
         docker image inspect -f '{{.Id}}' $tag; docker rmi $tag >/dev/null
         cat iid; echo; cat digest; echo; ls -A; cat meta");
    let run = run.code(0).out("digest\nhello\niid\nmeta\n");
    let lines: Vec<&str> = run.out.lines().collect();
    // Docker's classic store calls the configuration the image's id, the containerd store its manifest.
    let (id, iid, digest) = (lines[0], lines[1], lines[2]);
    assert!(id.contains(if host.docker == "28" { digest } else { iid }), "{run:#?}");
    let meta = &run.out[run.out.find("\n{").unwrap_or_default()..];
    let meta: serde_json::Value = serde_json::from_str(meta).unwrap();
    assert_eq!(
        (&meta["containerimage.config.digest"], &meta["containerimage.digest"]),
        (&iid.into(), &digest.into())
    );
    assert_eq!(meta["image.name"], meta["images"][0]["name"]);
}

each!(ci_gets_no_file_of_a_build_that_fails: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn ci_gets_no_file_of_a_build_that_fails(host: Host) {
    let run = host.sh("cd $(mktemp -d) && cp -r $OLDPWD/examples/hello . && nixoci build ./hello#nope --no-link --iidfile other; code=$?; ls; exit $code");
    assert_eq!(run.code(41).out, "hello\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_file_for_ci_that_cannot_be_written_is_refused() {
    NIX_2_34.sh("cd $(mktemp -d) && cp -r $OLDPWD/examples/hello . && nixoci build ./hello#container --iidfile /proc/x")
        .fails(60, "nixoci::destination::unusable");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_tag_replaces_only_the_tag() {
    NIX_2_34
        .sh("nixoci build ./examples/hello#container -t :$tag --load; docker run --rm hello:$tag; docker rmi hello:$tag >&2")
        .code(0)
        .out("Hello, world!");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn names_replace_the_name() {
    let script = "nixoci build ./examples/hello#container -t a.example/b/$tag:1 -t $tag:2 --load && docker run --rm a.example/b/$tag:1 && docker run --rm $tag:2
        code=$?; docker rmi a.example/b/$tag:1 $tag:2 >&2; exit $code";
    let run = NIX_2_26.sh(script).code(0);
    assert_eq!(run.out.matches("Hello, world!").count(), 2, "{run:#?}");
}

each!(files_in_both_formats_load_everywhere: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34), nix_2_26_docker_28(NIX_2_26_DOCKER_28), nix_2_34_docker_20(NIX_2_34_DOCKER_20));
fn files_in_both_formats_load_everywhere(host: Host) {
    host.sh(
        "cd $(mktemp -d) && cp -r $OLDPWD/examples/cowsay .
         nixoci build ./cowsay#container -t $tag:1 -o archive:a.tar -o docker-archive:d.tar -o plain.tar || exit
         for file in a.tar d.tar plain.tar; do
           docker rmi -f $tag:1 >/dev/null 2>&1
           docker load -q -i $file && docker run --rm $tag:1 >/dev/null && nixoci validate $file || exit
         done; test ! -e result && nixoci inspect a.tar --format json | jq -r '.images[].platforms[].platform'; docker rmi $tag:1 >/dev/null",
    )
    .code(0)
    .out("\nlinux/amd64\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn load_inspect_and_validate_take_what_nix_made() {
    NIX_2_34.sh(
        "path=$(nix --extra-experimental-features 'nix-command flakes' build --no-write-lock-file --no-link --print-out-paths path:$PWD/examples/cowsay#packages.x86_64-linux.container)
         nixoci validate $path && nixoci load $path -t $tag:1 && docker run --rm $tag:1 && docker rmi $tag:1 >&2 && nixoci build $path --no-link && nixoci inspect $path --format json",
    )
    .code(0)
    .out("< hello world >")
    .out("\"imageId\"");
}

each!(installables_in_every_spelling: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn installables_in_every_spelling(host: Host) {
    host.sh(
        "src=$PWD; cd $(mktemp -d); mkdir p; cp $src/examples/hello/flake.nix p/; cd p; git init -q .; git add .
         b() { echo \"$@\"; nixoci build -q --no-link \"$@\" || exit; }
         b .#container; b .#packages.x86_64-linux.container; b path:$PWD#container; b git+file://$PWD#container; b ../p#container
         cd ..; b ./p#container; git init -q outer; cp -r p outer/sub; rm -rf outer/sub/.git; (cd outer; git add .)
         b ./outer/sub#container; b \"git+file://$PWD/outer?dir=sub#container\"
         ln -s p link; b ./link#container; ln -s $(nixoci build ./p#container --no-link) store; b ./store
         cp -r p 'h#a?s h'; (cd 'h#a?s h'; b .#container) || exit
         mkdir '#'; cp p/flake.nix '#'; (cd '#'; b .#container) || exit
         b -f $src/examples/layered/default.nix --argstr system x86_64-linux
         b -f $src/examples/layered --arg pkgs 'import <nixpkgs> { system = \"x86_64-linux\"; }'
         printf 'p: { a.b = import %s p; }' $src/examples/layered/default.nix > f.nix
         printf '{ system }: { a.b = import %s { inherit system; }; }' $src/examples/layered/default.nix > g.nix
         b -f g.nix a.b; b -f g.nix -A a.b; echo all",
    )
    .code(0)
    .out("all\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_flake_in_a_submodule_or_with_submodules_builds() {
    NIX_2_34.sh(
        "src=$PWD; cd $(mktemp -d); export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=protocol.file.allow GIT_CONFIG_VALUE_0=always
         export GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=a@b GIT_CONFIG_KEY_2=user.name GIT_CONFIG_VALUE_2=n
         printf '[protocol \"file\"]\\n allow = always\\n' > gitconfig; export GIT_CONFIG_GLOBAL=$PWD/gitconfig
         git init -q lib; cp $src/examples/hello/flake.nix lib/image.nix; (cd lib; git add .; git commit -qm lib)
         git init -q app; cd app; git submodule --quiet add ../lib lib
         printf '{ inputs.nixpkgs.url = \"nixpkgs\"; outputs = i: (import ./lib/image.nix).outputs i; }' > flake.nix
         git add .; git commit -qm app
         nixoci build -q --no-link \"git+file://$PWD?submodules=1#container\" && echo with; nixoci build .#container --no-link && echo without",
    )
    .out("with\n");
}

each!(an_ordinary_user_needs_no_rights: nix_2_26(NIX_2_26.with(&["--user", "alice"])), nix_2_34(NIX_2_34.with(&["--user", "alice"])));
fn an_ordinary_user_needs_no_rights(host: Host) {
    host.sh("cd $(mktemp -d) && nixoci run path:$OLDPWD/examples/cowsay#container")
        .code(0)
        .out("< hello world >");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn several_at_once_share_one_cache() {
    let run = NIX_2_34.sh(
        "here=$PWD; cd $(mktemp -d); for n in 1 2 3; do nixoci build $here/examples/cowsay#container --no-link -o archive:$n.tar >/dev/null 2>&1 & done
         for job in $(jobs -p); do wait $job || exit 99; done; sha256sum *.tar | cut -c1-64 | sort -u | wc -l; ls $XDG_CACHE_HOME/nixoci/images | grep -c '\\.tar$'",
    );
    assert_eq!(run.code(0).out, "1\n1\n");
}

each!(a_streamed_image_is_built_loaded_and_run: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_streamed_image_is_built_loaded_and_run(host: Host) {
    host.sh(
        "cd $XDG_CACHE_HOME && nixoci build -f $OLDPWD/examples/stream/default.nix --load -o archive:stream.tar && docker run --rm hello-stream:latest
         nixoci validate -q stream.tar >/dev/null || exit; nixoci build -f $OLDPWD/examples/stream/default.nix >/dev/null && nixoci inspect result --format json | jq '.images[].platforms[].layers | length > 0'",
    )
    .code(0)
    .out("hello-stream:latest\n")
    .out("Hello, world!\n")
    .out("true\n");
}

each!(merged_images_are_built_loaded_and_run_under_all_their_names: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34), nix_2_26_docker_28(NIX_2_26_DOCKER_28), nix_2_34_docker_20(NIX_2_34_DOCKER_20));
fn merged_images_are_built_loaded_and_run_under_all_their_names(host: Host) {
    host.sh(
        "cd $XDG_CACHE_HOME; cat > default.nix <<END
{ system ? builtins.currentSystem, pkgs ? import <nixpkgs> { inherit system; } }:
let image = name: command: pkgs.dockerTools.buildLayeredImage { inherit name; tag = \"1\"; contents = [ pkgs.hello ]; config.Cmd = command; };
in { both = pkgs.dockerTools.mergeImages [ (image \"$tag-one\" [ \"hello\" ]) (image \"$tag-two\" [ \"hello\" \"-g\" \"merged\" ]) ]; }
END
         nixoci build -f default.nix -A both --load && docker run --rm $tag-one:1 && docker run --rm $tag-two:1
         nixoci build -f default.nix -A both >/dev/null && docker load -i result
         nixoci build -f default.nix -A both -o archive:both.tar -o oci:both >/dev/null && podman load -q -i both.tar && ls both; docker rmi $tag-one:1 $tag-two:1 >/dev/null",
    )
    .code(0)
    .out("-one:1\n")
    .out("-two:1\n")
    .out("Hello, world!\n")
    .out("-one:1\nLoaded image: ");
}

/// A flake with an image that is cross-compiled in this machine's own set.
const CROSSED: &str = r#"cd $(mktemp -d); cat > flake.nix <<'END'
{ outputs = { self, nixpkgs, ... }: let pkgs = nixpkgs.legacyPackages.aarch64-linux; in {
    packages.x86_64-linux.arm = pkgs.dockerTools.buildLayeredImage { name = "crossed"; tag = "1"; config.Cmd = [ "${pkgs.hello}/bin/hello" ]; }; }; }
END
b() { nixoci build --no-link --format json "$@" 2>log | jq -r '.images[].platforms[].platform'; echo ${PIPESTATUS[0]}; grep -oE 'not for linux/amd64|linux/amd64 was asked for' log | head -1; }
"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_platform_that_was_not_asked_for_follows_the_image() {
    let full = ".#packages.x86_64-linux.arm";
    let script = format!(
        "{CROSSED}b .#arm; b {full}; b {full} --platform linux/arm64; b {full} --platform linux/amd64; b .#arm --platform linux/amd64
         printf '[profile.default]\\nplatforms = [\"linux/amd64\"]\\n' > nixoci.toml; b .#arm"
    );
    let run = NIX_2_34.with(&["--arm64"]).sh(&script).code(0);
    let (followed, asked) = ("linux/arm64\n0\nnot for linux/amd64\n", "linux/arm64\n0\n");
    let refused = "42\nlinux/amd64 was asked for\n";
    assert_eq!(run.out, format!("{followed}{followed}{asked}{refused}{refused}{refused}"), "{run:#?}");
}
