//! Everything that goes wrong for people, produced for real: the exit code, the reason, the fix.

use super::*;

/// A project directory with this flake, as a Git repository.
const PROJECT: &str =
    "src=$PWD; cd $(mktemp -d); git init -q .; cp $src/examples/hello/flake.nix .; git add .; ";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_build_that_keeps_going_tells_every_failure_and_what_it_keeps() {
    for host in [NIX_2_26, NIX_2_34, NIX_2_26.with(&["--user", "alice"]), NIX_2_34.with(&["--user", "alice"])]
    {
        let run = host.sh(r#"cd $(mktemp -d); cat > default.nix <<END
{ system }: let pkgs = import <nixpkgs> { inherit system; };
  bad = name: pkgs.runCommand "\${name}-$RANDOM$RANDOM" { } "exit 3";
in pkgs.runCommand "top" { a = bad "first"; b = bad "second"; } "exit 1"
END
             nixoci build -f default.nix --no-link -j 1 --keep-going --keep-failed"#);
        let run = run.fails(40, "nixoci::nix::build_failed").err("failed, too");
        assert_eq!(run.err.matches("the directory of the failed build is kept: /").count(), 2, "{run:#?}");
        assert!(run.err.contains("building first-") && run.err.contains("building second-"), "{run:#?}");
    }
}

each!(not_a_flake: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn not_a_flake(host: Host) {
    host.sh("cd $(mktemp -d) && nixoci build").fails(41, "nixoci::").err("flake.nix");
    host.sh("cd $(mktemp -d) && echo '{}' > default.nix && nixoci build")
        .fails(41, "nixoci::")
        .err("-f default.nix");
    host.sh("nixoci build ./no/such/dir#x").code(41);
    host.sh("nixoci build -f no-such.nix").code(41);
}

each!(a_file_has_to_yield_one_thing: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_file_has_to_yield_one_thing(host: Host) {
    host.sh("nixoci build -f examples/hello/flake.nix")
        .fails(41, "nixoci::nix::not_a_derivation")
        .err("flake");
    host.sh(
        "cd $(mktemp -d); echo '{ pkgs ? import <nixpkgs> { } }: { inherit (pkgs) hello cowsay; }' > many.nix
         nixoci build -f many.nix",
    )
    .fails(41, "nixoci::nix::not_a_derivation")
    .err("2 things")
    .err("nixoci build -f many.nix ATTRIBUTE");
}

each!(a_missing_attribute_suggests_near_names: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_missing_attribute_suggests_near_names(host: Host) {
    host.sh("nixoci build ./examples/cowsay#contaner").fails(41, "nixoci::").err("container");
    host.sh("nixoci build -f examples/layered/default.nix nope").code(41).err("nope");
}

each!(a_flake_without_the_wanted_system_gets_the_line_to_add: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_flake_without_the_wanted_system_gets_the_line_to_add(host: Host) {
    host.with(&["--arm64"])
        .sh(&format!(
            "{PROJECT} sed -i 's/ \"aarch64-linux\"//' flake.nix; nixoci build --platform linux/arm64 .#container --no-link"
        ))
        .fails(41, "nixoci::")
        .err("x86_64-linux")
        .err("packages.aarch64-linux.container");
}

each!(an_untracked_file_is_named_with_the_command_that_adds_it: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn an_untracked_file_is_named_with_the_command_that_adds_it(host: Host) {
    host.sh(&format!(
        "{PROJECT} printf '{{ inputs.nixpkgs.url = \"nixpkgs\"; outputs = i: (import ./image.nix).outputs i; }}' > flake.nix
         cp $src/examples/hello/flake.nix image.nix; nixoci build .#container --no-link"
    ))
    .fails(41, "nixoci::")
    .err("git")
    .err("add")
    .err("image.nix");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_dirty_tree_is_no_error() {
    NIX_2_34.sh(&format!("{PROJECT} git -c user.email=a@b -c user.name=n commit -qm x; echo >> flake.nix; nixoci build .#container --no-link"))
        .code(0);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_package_is_no_image() {
    NIX_2_34
        .sh("nixoci build nixpkgs#legacyPackages.x86_64-linux.hello --no-link")
        .fails(42, "nixoci::image::")
        .err("not an image");
}

each!(a_failing_build_shows_its_log: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_failing_build_shows_its_log(host: Host) {
    let run = host.sh(
        "cd $(mktemp -d); echo '{ system }: (import <nixpkgs> { inherit system; }).runCommand \"broken\" { } \"echo before; echo the reason; exit 3\"' > default.nix
         nixoci build -f default.nix --no-link",
    );
    let run = run.fails(40, "nixoci::").err("the reason").err("broken").err("the whole log: ");
    let log = run.err.lines().find_map(|line| line.trim().strip_prefix("the whole log: ")).unwrap();
    host.sh(&format!("cat {log}")).code(0).out("the reason");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_broken_expression_says_where() {
    NIX_2_34
        .sh("cd $(mktemp -d); echo '{ system }: { a = ; }' > default.nix; nixoci build -f default.nix")
        .fails(41, "nixoci::")
        .err("syntax error")
        .err("default.nix:1");
}

each!(nix_is_missing_or_out_of_reach: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn nix_is_missing_or_out_of_reach(host: Host) {
    NIX_2_34
        .with(&["--without", "nix"])
        .sh("nixoci build ./examples/hello#container")
        .fails(20, "nixoci::backend::none")
        .err("Nix is not installed");
    host.with(&["--user", "mallory"])
        .sh("cd /tmp; nixoci build path:$OLDPWD/examples/hello#container --no-link")
        .fails(22, "nixoci::");
    host.with(&["--user", "alice", "--without", "nix-daemon"])
        .sh("cd /tmp; nixoci build path:$OLDPWD/examples/hello#container --no-link")
        .fails(22, "nixoci::")
        .err("daemon");
}

each!(flakes_need_not_be_enabled: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn flakes_need_not_be_enabled(host: Host) {
    // Nix reads `flake-registry` from nix.conf only where flakes are on: the input is named.
    host.with(&["--without", "flakes"])
        .sh("nixoci build ./examples/hello#container --no-link --override-input nixpkgs path:/lab/nixpkgs")
        .code(0);
}

each!(docker_is_asked_before_anything_is_built: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn docker_is_asked_before_anything_is_built(host: Host) {
    let run = host
        .with(&["--without", "docker-daemon"])
        .sh("nixoci build ./examples/hello#container --load=docker");
    let run = run.fails(60, "nixoci::").err("Docker");
    assert!(!run.err.contains("building hello"), "{run:#?}");
    host.with(&["--without", "docker"])
        .sh("nixoci build ./examples/hello#container --load=docker")
        .fails(21, "nixoci::")
        .err("docker");
    host.with(&["--user", "mallory"])
        .sh("cd /tmp; nixoci build path:$OLDPWD/examples/hello#container --load=docker")
        .code(22);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_full_disk_leaves_nothing_half_written() {
    NIX_2_34.sh("nixoci build ./examples/cowsay#container -o archive:/small/x.tar; echo code $?; ls -A /small | grep -c x.tar")
        .out("code 60\n0\n")
        .err("space");
    NIX_2_34.sh("XDG_CACHE_HOME=/small nixoci build ./examples/cowsay#container --no-link; echo code $?; find /small -type f -size +1M | wc -l; rm -rf /small/nixoci")
        .out("code 60\n0\n")
        .err("space");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn outputs_that_cannot_be_written_are_refused_before_the_build() {
    NIX_2_34
        .sh("nixoci build ./examples/hello#container -o archive:/no/such/dir/x.tar")
        .fails(60, "nixoci::");
    NIX_2_34.sh("nixoci build ./examples/hello#container -o archive:/tmp").fails(60, "nixoci::");
    NIX_2_34
        .with(&["--user", "alice"])
        .sh("cd /tmp; nixoci build path:$OLDPWD/examples/hello#container -o archive:/etc/x.tar")
        .fails(60, "nixoci::");
    NIX_2_34.sh("cd $(mktemp -d); echo mine > result; nixoci build path:$OLDPWD/examples/hello#container; echo code $?; cat result")
        .out("code 60\nmine\n");
    NIX_2_34.sh("nixoci build ./examples/hello#container -o nonsense:x").code(2);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn damaged_archives() {
    let make = "cd $(mktemp -d); nixoci build -q $OLDPWD/examples/cowsay#container -o docker-archive:ok.tar --no-link >/dev/null || exit 99; ";
    NIX_2_34
        .sh(&format!("{make} head -c 3000000 ok.tar > cut.tar; nixoci validate cut.tar"))
        .fails(42, "nixoci::image::");
    NIX_2_34
        .sh(&format!("{make} gzip -1 < ok.tar | head -c 2000000 > cut.tar.gz; nixoci validate cut.tar.gz"))
        .fails(42, "nixoci::image::");
    NIX_2_34.sh(&format!(
        "{make} printf 'X' | dd of=ok.tar bs=1 seek=700000 conv=notrunc status=none; nixoci validate ok.tar"
    ))
    .fails(42, "nixoci::image::");
    NIX_2_34.sh(&format!("{make} mkdir t; tar -C t -xf ok.tar; touch evil; tar -C t --transform 's,^x,../../x,' -cPf bad.tar . ../evil; nixoci load bad.tar"))
        .fails(42, "nixoci::image::");
    NIX_2_34.sh("cd $(mktemp -d); echo hello > x.tar; nixoci validate x.tar").fails(42, "nixoci::image::");
    NIX_2_34.sh("nixoci validate /no/such/file").code(42);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_private_input_without_network_is_said_as_such() {
    NIX_2_34.sh("nixoci build github:nobody/nothing#x").fails(41, "nixoci::").err("github");
}
