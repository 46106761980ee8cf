//! Everything that goes wrong for people, produced for real: the exit code, the reason, the fix.

use super::*;

/// A project directory with this flake, as a Git repository.
const PROJECT: &str =
    "src=$PWD; cd $(mktemp -d); git init -q .; cp $src/examples/hello/flake.nix .; git add .; ";
const ALICE: &[&str] = &["--user", "alice"];
const MALLORY: &[&str] = &["--user", "mallory"];

each!(
    a_build_that_keeps_going_tells_every_failure_and_what_it_keeps:
    nix_2_26(NIX_2_26),
    nix_2_34(NIX_2_34),
    nix_2_26_as_a_user(NIX_2_26.with(ALICE)),
    nix_2_34_as_a_user(NIX_2_34.with(ALICE)),
);
fn a_build_that_keeps_going_tells_every_failure_and_what_it_keeps(host: Host) {
    let run = host.sh(r#"cd $(mktemp -d); cat > default.nix <<END
{ system }: let pkgs = import <nixpkgs> { inherit system; };
  bad = name: pkgs.runCommand "\${name}-$RANDOM$RANDOM" { } "exit 3";
in pkgs.runCommand "top" { a = bad "first"; b = bad "second"; } "exit 1"
END
         nixoci build -f default.nix --no-link -j 1 --keep-going --keep-failed"#);
    let run = run.fails(40, "nixoci::nix::build_failed");
    // Where they are kept is each Nix's own affair.
    assert_eq!(run.err.lines().filter(|line| line.contains(" is kept: /")).count(), 2, "{run:#?}");
    assert!(run.err.contains("building first-") && run.err.contains("building second-"), "{run:#?}");
    run.says("errors_keep_going");
}

each!(
    what_is_no_flake_is_refused:
    an_empty_directory_on_nix_2_26(NIX_2_26, "", "errors_no_flake"),
    an_empty_directory_on_nix_2_34(NIX_2_34, "", "errors_no_flake"),
    a_nix_file_on_nix_2_26(NIX_2_26, "echo '{}' > default.nix", "errors_no_flake_but_a_file"),
    a_nix_file_on_nix_2_34(NIX_2_34, "echo '{}' > default.nix", "errors_no_flake_but_a_file"),
);
fn what_is_no_flake_is_refused(host: Host, before: &str, message: &str) {
    let run = host.sh(&format!("cd $(mktemp -d); {before}\nnixoci build")).code(41);
    run.err("nixoci explain nixoci::").says(message);
}

each!(
    what_is_not_there_is_not_built:
    a_directory_on_nix_2_26(NIX_2_26, "./no/such/dir#x"),
    a_directory_on_nix_2_34(NIX_2_34, "./no/such/dir#x"),
    a_file_on_nix_2_26(NIX_2_26, "-f no-such.nix"),
    a_file_on_nix_2_34(NIX_2_34, "-f no-such.nix"),
);
fn what_is_not_there_is_not_built(host: Host, what: &str) {
    host.sh(&format!("nixoci build {what}")).code(41);
}

each!(
    a_file_has_to_yield_one_thing:
    a_flake_on_nix_2_26(NIX_2_26, "nixoci build -f examples/hello/flake.nix", "errors_file_is_a_flake"),
    a_flake_on_nix_2_34(NIX_2_34, "nixoci build -f examples/hello/flake.nix", "errors_file_is_a_flake"),
    two_packages_on_nix_2_26(NIX_2_26, TWO_PACKAGES, "errors_file_yields_two_things"),
    two_packages_on_nix_2_34(NIX_2_34, TWO_PACKAGES, "errors_file_yields_two_things"),
);
const TWO_PACKAGES: &str = "cd $(mktemp -d); echo '{ pkgs ? import <nixpkgs> { } }: { inherit (pkgs) hello cowsay; }' > many.nix; nixoci build -f many.nix";
fn a_file_has_to_yield_one_thing(host: Host, script: &str, message: &str) {
    host.sh(script).fails(41, "nixoci::nix::not_a_derivation").says(message);
}

each!(
    a_missing_attribute_suggests_near_names:
    of_a_flake_on_nix_2_26(NIX_2_26, "./examples/cowsay#contaner", "errors_missing_attribute_of_a_flake"),
    of_a_flake_on_nix_2_34(NIX_2_34, "./examples/cowsay#contaner", "errors_missing_attribute_of_a_flake"),
    of_a_file_on_nix_2_26(NIX_2_26, "-f examples/layered/default.nix nope", "errors_missing_attribute_of_a_file"),
    of_a_file_on_nix_2_34(NIX_2_34, "-f examples/layered/default.nix nope", "errors_missing_attribute_of_a_file"),
);
fn a_missing_attribute_suggests_near_names(host: Host, what: &str, message: &str) {
    host.sh(&format!("nixoci build {what}")).code(41).says(message);
}

each!(a_flake_without_the_wanted_system_gets_the_line_to_add: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_flake_without_the_wanted_system_gets_the_line_to_add(host: Host) {
    host.with(&["--arm64"])
        .sh(&format!(
            "{PROJECT} sed -i 's/ \"aarch64-linux\"//' flake.nix; nixoci build --platform linux/arm64 .#container --no-link"
        ))
        .code(41)
        .says("errors_flake_without_the_system");
}

each!(an_untracked_file_is_named_with_the_command_that_adds_it: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn an_untracked_file_is_named_with_the_command_that_adds_it(host: Host) {
    host.sh(&format!(
        "{PROJECT} printf '{{ inputs.nixpkgs.url = \"nixpkgs\"; outputs = i: (import ./image.nix).outputs i; }}' > flake.nix
         cp $src/examples/hello/flake.nix image.nix; nixoci build .#container --no-link"
    ))
    .fails(41, "nixoci::nix::untracked")
    .says("errors_untracked_file");
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
        .fails(42, "nixoci::image::not_an_image")
        .says("errors_package_is_no_image");
}

each!(a_failing_build_shows_its_log: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_failing_build_shows_its_log(host: Host) {
    let run = host.sh(
        "cd $(mktemp -d); echo '{ system }: (import <nixpkgs> { inherit system; }).runCommand \"broken\" { } \"echo before; echo the reason; exit 3\"' > default.nix
         nixoci build -f default.nix --no-link",
    );
    let run = run.fails(40, "nixoci::nix::build_failed").err("the reason").err("broken");
    // The path is a promise to people: it can be shown.
    let log = run.err.lines().find_map(|line| line.trim().strip_prefix("the whole log: ")).unwrap();
    host.sh(&format!("cat {log}")).code(0).out("the reason");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_broken_expression_says_where() {
    NIX_2_34
        .sh("cd $(mktemp -d); echo '{ system }: { a = ; }' > default.nix; nixoci build -f default.nix")
        .fails(41, "nixoci::nix::syntax")
        .err("default.nix:1")
        .says("errors_broken_expression");
}

const HELLO: &str = "cd /tmp; nixoci build path:$OLDPWD/examples/hello#container --no-link";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn nix_is_missing() {
    NIX_2_34
        .with(&["--without", "nix"])
        .sh("nixoci build ./examples/hello#container")
        .fails(20, "nixoci::backend::none")
        .says("errors_nix_is_missing");
}

each!(nix_is_forbidden: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn nix_is_forbidden(host: Host) {
    host.with(MALLORY).sh(HELLO).code(22).says("errors_nix_is_forbidden");
}

each!(nix_s_daemon_is_missing: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn nix_s_daemon_is_missing(host: Host) {
    host.with(&["--user", "alice", "--without", "nix-daemon"])
        .sh(HELLO)
        .code(22)
        .says("errors_nix_daemon_is_missing");
}

each!(flakes_need_not_be_enabled: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn flakes_need_not_be_enabled(host: Host) {
    // Nix reads `flake-registry` from nix.conf only where flakes are on: the input is named.
    host.with(&["--without", "flakes"])
        .sh("nixoci build ./examples/hello#container --no-link --override-input nixpkgs path:/lab/nixpkgs")
        .code(0);
}

const LOAD: &str = "cd /tmp; nixoci build path:$OLDPWD/examples/hello#container --load=docker";

each!(
    docker_is_asked_before_anything_is_built:
    no_daemon_on_nix_2_26(NIX_2_26.with(&["--without", "docker-daemon"]), 60, "errors_docker_is_down"),
    no_daemon_on_nix_2_34(NIX_2_34.with(&["--without", "docker-daemon"]), 60, "errors_docker_is_down"),
    no_command_on_nix_2_26(NIX_2_26.with(&["--without", "docker"]), 21, "errors_docker_is_missing"),
    no_command_on_nix_2_34(NIX_2_34.with(&["--without", "docker"]), 21, "errors_docker_is_missing"),
    no_permission_on_nix_2_26(NIX_2_26.with(MALLORY), 22, "errors_nothing_is_permitted"),
    no_permission_on_nix_2_34(NIX_2_34.with(MALLORY), 22, "errors_nothing_is_permitted"),
);
fn docker_is_asked_before_anything_is_built(host: Host, exit: i32, message: &str) {
    let run = host.sh(LOAD).code(exit);
    assert!(!run.err.contains("building hello"), "{run:#?}");
    run.says(message);
}

/// A disk of 2 MB that no other test sees: what a command mounts only it sees.
const SMALL: &str = "small=$(mktemp -d); mount -t tmpfs -o size=2m none $small || exit 99; ";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_full_disk_leaves_no_file_half_written() {
    let run = NIX_2_34.sh(&format!("{SMALL} nixoci build ./examples/cowsay#container -o archive:$small/x.tar; echo code $?; ls -A $small | wc -l"));
    run.out("code 60\n0\n").fails(0, "nixoci::disk_full").says("errors_disk_full");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_full_disk_leaves_no_cache_half_written() {
    let run = NIX_2_34.sh(&format!("{SMALL} XDG_CACHE_HOME=$small nixoci build ./examples/cowsay#container --no-link; echo code $?; find $small -type f -size +1M | wc -l"));
    run.out("code 60\n0\n").fails(0, "nixoci::disk_full").says("errors_disk_full_for_the_cache");
}

each!(
    an_output_that_cannot_be_written_is_refused_before_the_build:
    in_no_directory(NIX_2_34, "archive:/no/such/dir/x.tar", 60, "unusable"),
    a_directory(NIX_2_34, "archive:/tmp", 60, "unusable"),
    in_another_s_directory(NIX_2_34.with(ALICE), "archive:/etc/x.tar", 60, "unusable"),
    in_no_form(NIX_2_34, "nonsense:x", 2, "unknown"),
);
fn an_output_that_cannot_be_written_is_refused_before_the_build(
    host: Host,
    output: &str,
    exit: i32,
    code: &str,
) {
    let run = host
        .sh(&format!("cd /tmp; nixoci build path:$OLDPWD/examples/hello#container -o {output}"))
        .fails(exit, &format!("nixoci::destination::{code}"));
    assert!(!run.err.contains("building hello"), "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_file_that_is_no_link_is_not_replaced_by_one() {
    NIX_2_34.sh("cd $(mktemp -d); echo mine > result; nixoci build path:$OLDPWD/examples/hello#container; echo code $?; cat result")
        .out("code 60\nmine\n");
}

/// `ok.tar`, a whole archive.
const WHOLE: &str = "here=$PWD; cd $(mktemp -d); nixoci build -q $here/examples/cowsay#container -o docker-archive:ok.tar --no-link >/dev/null || exit 99; ";

each!(
    a_damaged_archive_is_refused:
    cut_off("head -c 3000000 ok.tar > cut.tar; nixoci validate cut.tar"),
    cut_off_and_compressed("gzip -1 < ok.tar | head -c 2000000 > cut.tar.gz; nixoci validate cut.tar.gz"),
    with_another_byte("printf 'X' | dd of=ok.tar bs=1 seek=700000 conv=notrunc status=none; nixoci validate ok.tar"),
    with_a_path_that_leads_out("mkdir t; tar -C t -xf ok.tar; touch evil; tar -C t --transform 's,^x,../../x,' -cPf bad.tar . ../evil; nixoci load bad.tar"),
    a_text("echo hello > x.tar; nixoci validate x.tar"),
);
fn a_damaged_archive_is_refused(script: &str) {
    NIX_2_34.sh(&format!("{WHOLE} {script}")).code(42).err("nixoci explain nixoci::image::");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_archive_that_is_not_there_is_refused() {
    NIX_2_34.sh("nixoci validate /no/such/file").code(42);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_private_input_without_network_is_said_as_such() {
    NIX_2_34.sh("nixoci build github:nobody/nothing#x").code(41).says("errors_input_without_network");
}
