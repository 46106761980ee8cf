//! `nixoci init`, and what it leaves behind is built.

use super::*;

each!(an_empty_directory_becomes_an_image_that_runs: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34), nix_2_26_docker_28(NIX_2_26_DOCKER_28), nix_2_34_docker_20(NIX_2_34_DOCKER_20));
fn an_empty_directory_becomes_an_image_that_runs(host: Host) {
    host.sh("cd $(mktemp -d) && nixoci init && image=$(nixoci build --load) && docker run --rm $image")
        .code(0)
        .out("wrote flake.nix\nwrote nixoci.toml\nnext: nixoci build --load\n")
        .out("Hello, world!");
}

each!(in_a_new_repository_too: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn in_a_new_repository_too(host: Host) {
    host.sh("cd $(mktemp -d) && git init -q . && nixoci init && nixoci build --no-link >/dev/null && git status --porcelain")
        .code(0)
        .out("git add --intent-to-add flake.nix nixoci.toml")
        .out(" A flake.nix\n A nixoci.toml\n");
    // A flake that is there and that Git does not know yet.
    host.sh("cd $(mktemp -d) && git init -q . && cp $OLDPWD/examples/hello/flake.nix . && nixoci init")
        .fails(41, "nixoci::nix::untracked")
        .err("add flake.nix");
}

each!(the_second_articles_directory_needs_no_flag: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34), nix_2_26_docker_28(NIX_2_26_DOCKER_28), nix_2_34_docker_20(NIX_2_34_DOCKER_20));
fn the_second_articles_directory_needs_no_flag(host: Host) {
    host.sh("cd $(mktemp -d) && cp $OLDPWD/examples/layered/default.nix . && nixoci init && ls
         image=$(nixoci build --load) && docker run --rm $image")
        .code(0)
        .out("wrote nixoci.toml\ndefault.nix is there already")
        .out("default.nix\nnixoci.toml\n")
        .out("Hello, world!");
}

each!(images_are_found_among_other_things: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn images_are_found_among_other_things(host: Host) {
    let image = r#"image = pkgs: name: pkgs.dockerTools.buildLayeredImage { inherit name; contents = [ pkgs.hello ]; }; in"#;
    host.sh(&format!(
        "cd $(mktemp -d); cat > flake.nix <<'END'
{{ outputs = {{ self, nixpkgs }}: let {image} {{
  packages.x86_64-linux = let pkgs = nixpkgs.legacyPackages.x86_64-linux; in {{
web = image pkgs \"web\"; container = image pkgs \"c\"; tool = pkgs.hello; bad = throw \"not today\"; }};
}}; }}
END
         mkdir below; git init -q .; git add flake.nix; (cd below; nixoci init) >/dev/null && cat nixoci.toml && nixoci build --no-link web"
    ))
    .code(0)
    .out("[image]\ninstallable = \".#container\"\n")
    .out("[images.web]    # nixoci build web\ninstallable = \".#web\"\n");
    host.sh(&format!(
        "cd $(mktemp -d); cat > default.nix <<'END'
{{ system ? builtins.currentSystem, pkgs ? import <nixpkgs> {{ inherit system; }} }}: let {image}
{{ web = image pkgs \"web\"; tool = pkgs.hello; bad = throw \"not today\"; f = x: x; }}
END
         nixoci init >/dev/null && cat nixoci.toml && nixoci build --no-link"
    ))
    .code(0)
    .out("file = \"default.nix\"\nattr = \"web\"\n");
}

each!(without_an_image_nothing_is_written: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn without_an_image_nothing_is_written(host: Host) {
    for (nix, why) in [
        (
            "{ outputs = { nixpkgs, ... }: { packages.x86_64-linux.tool = nixpkgs.legacyPackages.x86_64-linux.hello; }; }",
            "it has: tool",
        ),
        ("{ outputs = { ... }: { x = 1; }; }", "no packages for Linux"),
    ] {
        host.sh(&format!("cd $(mktemp -d); echo '{nix}' > flake.nix; nixoci init; code=$?; ls; exit $code"))
            .fails(41, "nixoci::init::no_image")
            .err(why)
            .out("flake.nix\n");
    }
    let run = host
        .sh("cd $(mktemp -d); echo '{ outputs = { ... }: throw \"not today\"; }' > flake.nix; nixoci init");
    let run = run.fails(41, "nixoci::nix::evaluation").err("not today");
    assert!(!run.err.contains('«'), "{run:#?}");
}
