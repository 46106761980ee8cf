//! `nixoci init`, and what it leaves behind is built.

use super::*;

each!(an_empty_directory_becomes_an_image_that_runs: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34), nix_2_26_docker_28(NIX_2_26_DOCKER_28), nix_2_34_docker_20(NIX_2_34_DOCKER_20));
fn an_empty_directory_becomes_an_image_that_runs(host: Host) {
    host.sh(
        "cd $(mktemp -d) && nixoci init >&2 && ls && image=$(nixoci build --load) && docker run --rm $image",
    )
    .code(0)
    .out("flake.nix\nnixoci.toml\n")
    .out("Hello, world!");
}

each!(in_a_new_repository_too: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn in_a_new_repository_too(host: Host) {
    host.sh("cd $(mktemp -d) && git init -q . && nixoci init >&2 && nixoci build --no-link >/dev/null && git status --porcelain")
        .code(0)
        .out(" A flake.nix\n A nixoci.toml\n");
}

each!(a_flake_that_git_does_not_know_is_named: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_flake_that_git_does_not_know_is_named(host: Host) {
    host.sh("cd $(mktemp -d) && git init -q . && cp $OLDPWD/examples/hello/flake.nix . && nixoci init")
        .fails(41, "nixoci::nix::untracked")
        .says("init_untracked_flake");
}

each!(the_second_articles_directory_needs_no_flag: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34), nix_2_26_docker_28(NIX_2_26_DOCKER_28), nix_2_34_docker_20(NIX_2_34_DOCKER_20));
fn the_second_articles_directory_needs_no_flag(host: Host) {
    host.sh("cd $(mktemp -d) && cp $OLDPWD/examples/layered/default.nix . && nixoci init >&2 && ls
         image=$(nixoci build --load) && docker run --rm $image")
        .code(0)
        .out("default.nix\nnixoci.toml\n")
        .out("Hello, world!");
}

const IMAGE: &str =
    "image = pkgs: name: pkgs.dockerTools.buildLayeredImage { inherit name; contents = [ pkgs.hello ]; }; in";

each!(images_of_a_flake_are_found_among_other_things: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn images_of_a_flake_are_found_among_other_things(host: Host) {
    host.sh(&format!(
        "cd $(mktemp -d); cat > flake.nix <<'END'
{{ outputs = {{ self, nixpkgs }}: let {IMAGE} {{
  packages.x86_64-linux = let pkgs = nixpkgs.legacyPackages.x86_64-linux; in {{
web = image pkgs \"web\"; container = image pkgs \"c\"; tool = pkgs.hello; bad = throw \"not today\"; }};
}}; }}
END
         mkdir below; git init -q .; git add flake.nix; (cd below; nixoci init) >/dev/null && cat nixoci.toml && nixoci build --no-link web"
    ))
    .code(0)
    .out("[image]\ninstallable = \".#container\"\n")
    .out("[images.web]    # nixoci build web\ninstallable = \".#web\"\n");
}

each!(an_image_of_a_file_is_found_among_other_things: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn an_image_of_a_file_is_found_among_other_things(host: Host) {
    host.sh(&format!(
        "cd $(mktemp -d); cat > default.nix <<'END'
{{ system ? builtins.currentSystem, pkgs ? import <nixpkgs> {{ inherit system; }} }}: let {IMAGE}
{{ web = image pkgs \"web\"; tool = pkgs.hello; bad = throw \"not today\"; f = x: x; }}
END
         nixoci init >/dev/null && cat nixoci.toml && nixoci build --no-link"
    ))
    .code(0)
    .out("file = \"default.nix\"\nattr = \"web\"\n");
}

const A_TOOL: &str = "{ outputs = { nixpkgs, ... }: { packages.x86_64-linux.tool = nixpkgs.legacyPackages.x86_64-linux.hello; }; }";
const NO_PACKAGES: &str = "{ outputs = { ... }: { x = 1; }; }";
const A_THROW: &str = "{ outputs = { ... }: throw \"not today\"; }";

each!(
    without_an_image_nothing_is_written:
    another_package_on_nix_2_26(NIX_2_26, A_TOOL, "init::no_image", "init_another_package"),
    another_package_on_nix_2_34(NIX_2_34, A_TOOL, "init::no_image", "init_another_package"),
    no_package_on_nix_2_26(NIX_2_26, NO_PACKAGES, "init::no_image", "init_no_package"),
    no_package_on_nix_2_34(NIX_2_34, NO_PACKAGES, "init::no_image", "init_no_package"),
    no_evaluation_on_nix_2_26(NIX_2_26, A_THROW, "nix::evaluation", "init_no_evaluation"),
    no_evaluation_on_nix_2_34(NIX_2_34, A_THROW, "nix::evaluation", "init_no_evaluation"),
);
fn without_an_image_nothing_is_written(host: Host, flake: &str, code: &str, message: &str) {
    let script = format!(
        "cd $(mktemp -d); echo '{flake}' > flake.nix; nixoci init; code=$?; ls | grep -v flake.lock; exit $code"
    );
    let run = host.sh(&script).fails(41, &format!("nixoci::{code}"));
    assert_eq!(run.out, "flake.nix\n");
    run.says(message);
}

/// `set PATH` makes a project whose only image is there.
const SETS: &str = r#"set_at() { cd $(mktemp -d); printf '%s' "{ outputs = { self, nixpkgs, ... }: let pkgs = nixpkgs.legacyPackages.x86_64-linux; in {
    $1 = pkgs.dockerTools.buildLayeredImage { name = \"t\"; tag = \"1\"; }; broken.x86_64-linux = throw \"no\"; }; }" > flake.nix; }
"#;

each!(an_image_is_found_wherever_projects_have_it: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn an_image_is_found_wherever_projects_have_it(host: Host) {
    let script = format!(
        r#"{SETS}for path in dockerImages.x86_64-linux.web legacyPackages.x86_64-linux.images.web packages.x86_64-linux.set.web 'packages.x86_64-linux."my.web"'; do
            set_at "$path"; nixoci init >/dev/null 2>&1 || echo $?; grep ^installable nixoci.toml; nixoci build --no-link >/dev/null 2>&1; echo $?
        done
        set_at packages.aarch64-linux.web; nixoci init >/dev/null 2>&1; grep -A1 ^installable nixoci.toml
        set_at lib.x; nixoci init 2>&1 | grep -c 'nixoci init .#SET'"#
    );
    let run = host.sh(&script).code(0);
    let wanted = r#"installable = ".#dockerImages.x86_64-linux.web"
0
installable = ".#images.web"
0
installable = ".#set.web"
0
installable = ".#\"my.web\""
0
installable = ".#web"
platforms = ["linux/arm64"]
1
"#;
    assert_eq!(run.out, wanted, "{run:#?}");
}
