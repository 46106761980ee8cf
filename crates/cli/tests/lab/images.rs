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
        .err("plain string");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn run_passes_arguments_and_the_exit_status() {
    NIX_2_34.sh("nixoci run ./examples/cowsay#container -- cowsay moo").code(0).out("< moo >");
    NIX_2_26.sh("nixoci run -f examples/layered/default.nix -- bash -c 'exit 7'").code(7);
}

each!(run_takes_docker_s_flags_by_docker_s_letters: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn run_takes_docker_s_flags_by_docker_s_letters(host: Host) {
    host.sh("env=$(mktemp); echo B=from-a-file > $env
         echo from-stdin | nixoci run -f examples/layered/default.nix --verbose --timeout 60s -v /usr:/data:ro \\
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
    host.sh(
        "cd $(mktemp -d) && cp -r $OLDPWD/examples/hello $OLDPWD/examples/cowsay .
         nixoci build -q ./hello#container >/dev/null && nixoci build -q ./cowsay#container --no-link >/dev/null
         nixoci cache show && nixoci cache gc --all && nixoci cache show && docker load -q < result
         rm result; nixoci cache gc --all",
    )
    .code(0)
    .out("./result\n")
    .out("cowsay-hello-world:latest")
    .out("1 image kept by a link, or in use")
    .out("Loaded image: hello:latest")
    .out("1 image deleted");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn ci_gets_its_files() {
    for host in [NIX_2_26, NIX_2_34] {
        let run = host.sh(
            "cd $(mktemp -d) && cp -r $OLDPWD/examples/hello . && name=files:$RANDOM$RANDOM
             nixoci build ./hello#container -t $name --load --iidfile iid --digestfile digest --metadata-file meta >/dev/null || exit
             docker image inspect -f '{{.Id}}' $name; docker rmi $name >/dev/null
             cat iid; echo; cat digest; echo; ls -A; nixoci build ./hello#nope --no-link --iidfile other; ls other; cat meta",
        );
        let run = run.err("cannot access 'other'").out("digest\nhello\niid\nmeta\n");
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
    NIX_2_34.sh("cd $(mktemp -d) && cp -r $OLDPWD/examples/hello . && nixoci build ./hello#container --iidfile /proc/x")
        .fails(60, "nixoci::destination::unusable");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn tags_replace_the_name_or_only_the_tag() {
    NIX_2_34
        .sh("nixoci build ./examples/hello#container -t :dev --load; docker run --rm hello:dev")
        .code(0)
        .out("hello:dev");
    NIX_2_26.sh("nixoci build ./examples/hello#container -t a.example/b/c:1 -t d:2 --load && docker run --rm a.example/b/c:1 && docker run --rm d:2")
        .code(0)
        .out("a.example/b/c:1");
}

each!(files_in_both_formats_load_everywhere: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34), nix_2_26_docker_28(NIX_2_26_DOCKER_28), nix_2_34_docker_20(NIX_2_34_DOCKER_20));
fn files_in_both_formats_load_everywhere(host: Host) {
    host.sh(
        "cd $(mktemp -d) && cp -r $OLDPWD/examples/cowsay . 
         nixoci build ./cowsay#container -t $tag:1 -o archive:a.tar -o docker-archive:d.tar -o plain.tar || exit
         for file in a.tar d.tar plain.tar; do
           docker rmi -f $tag:1 >/dev/null 2>&1
           docker load -q -i $file && docker run --rm $tag:1 >/dev/null && nixoci validate $file || exit
         done; test ! -e result && nixoci inspect a.tar && ls",
    )
    .code(0)
    .out("a.tar: ok")
    .out("d.tar: ok")
    .out("linux/amd64")
    .out("cowsay");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn load_inspect_and_validate_take_what_nix_made() {
    NIX_2_34.sh(
        "path=$(nix --extra-experimental-features 'nix-command flakes' build --no-write-lock-file --no-link --print-out-paths path:$PWD/examples/cowsay#packages.x86_64-linux.container)
         docker rmi -f loaded:1 >/dev/null 2>&1
         nixoci validate $path && nixoci load $path -t loaded:1 && docker run --rm loaded:1 && nixoci build $path --no-link && nixoci inspect $path --format json",
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
fn two_at_once_share_one_cache() {
    let run = NIX_2_34.sh(
        "for n in 1 2 3; do nixoci build ./examples/cowsay#container --no-link -o archive:/tmp/two-$n.tar >/dev/null 2>&1 & done
         wait; sha256sum /tmp/two-*.tar | cut -c1-64 | sort -u | wc -l; ls $XDG_CACHE_HOME/nixoci/images | head -20; rm -f /tmp/two-*.tar",
    );
    assert!(run.code == 0 && run.out.starts_with("1\n"), "{run:#?}");
}

each!(a_streamed_image_is_built_loaded_and_run: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_streamed_image_is_built_loaded_and_run(host: Host) {
    host.sh(
        "cd $XDG_CACHE_HOME && nixoci build -f $OLDPWD/examples/stream/default.nix --load -o archive:stream.tar && docker run --rm hello-stream:latest
         nixoci validate stream.tar; nixoci build -f $OLDPWD/examples/stream/default.nix >/dev/null && nixoci inspect result | grep layers",
    )
    .code(0)
    .out("hello-stream:latest\n")
    .out("Hello, world!\n")
    .out("stream.tar: ok, linux/amd64");
}

each!(merged_images_are_built_loaded_and_run_under_all_their_names: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34), nix_2_26_docker_28(NIX_2_26_DOCKER_28), nix_2_34_docker_20(NIX_2_34_DOCKER_20));
fn merged_images_are_built_loaded_and_run_under_all_their_names(host: Host) {
    host.sh(
        "cd $XDG_CACHE_HOME; cat > default.nix <<'END'
{ system ? builtins.currentSystem, pkgs ? import <nixpkgs> { inherit system; } }:
let image = name: command: pkgs.dockerTools.buildLayeredImage { inherit name; tag = \"1\"; contents = [ pkgs.hello ]; config.Cmd = command; };
in { both = pkgs.dockerTools.mergeImages [ (image \"merged-one\" [ \"hello\" ]) (image \"merged-two\" [ \"hello\" \"-g\" \"merged\" ]) ]; }
END
         docker rmi -f merged-one:1 merged-two:1 >/dev/null 2>&1
         nixoci build -f default.nix -A both --load && docker run --rm merged-one:1 && docker run --rm merged-two:1
         nixoci build -f default.nix -A both >/dev/null && docker load -i result
         nixoci build -f default.nix -A both -o archive:both.tar -o oci:both >/dev/null && podman load -q -i both.tar && ls both",
    )
    .code(0)
    .out("merged-one:1\n")
    .out("merged-two:1\n")
    .out("Hello, world!\n")
    .out("Loaded image: merged-one:1")
    .out("merged-two:1\n");
}
