//! Machines that are reached by ssh, from a Mac whose user is trusted nowhere: one, several, and what goes wrong with them.

mod cat;
mod dodo;
mod trouble;

use super::*;
use crate::harness::shows;

const FLEET: &[&str] = &["--as", "mac", "--user", "alice", "--with", "fleet"];
const TROUBLE: &[&str] = &["--as", "mac", "--user", "alice", "--with", "trouble"];
/// A Linux machine that does not build for arm64 itself.
const LINUX: &[&str] = &["--user", "alice", "--with", "fleet"];

/// A derivation of its own for every run, so that no machine has built it before.
const EXPRESSION: &str = r#"{ system, n, cmd ? "echo hi > $out", features ? [ ] }: derivation {
  name = "t-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" cmd ]; requiredSystemFeatures = features;
}"#;

/// A script in an empty directory, with these machines in nixoci.toml: `tiny` builds EXPRESSION, `image` a small image.
fn with(builders: &str, script: &str) -> String {
    format!(
        r#"here=$PWD; cd $(mktemp -d); printf '%s' "[backend.remote]
builders = [{builders}]" > nixoci.toml
printf '%s' '{EXPRESSION}' > t.nix
build() {{ nixoci build --backend remote --platform linux/amd64 --no-link "$@"; }}
tiny() {{ build -f t.nix --argstr n "$RANDOM$RANDOM" "$@"; }}
image() {{ build "$here/examples/hello#container" "$@"; }}
{script}"#
    )
}

each!(
    one_machine_builds_in_its_own_store_and_the_container_runs:
    ant_from_nix_2_26(NIX_2_26, "ant"),
    ant_from_nix_2_34(NIX_2_34, "ant"),
    bee_from_nix_2_26(NIX_2_26, "bee"),
    bee_from_nix_2_34(NIX_2_34, "bee"),
);
fn one_machine_builds_in_its_own_store_and_the_container_runs(host: Host, machine: &str) {
    let script = with(
        &format!("{{ host = '{machine}' }}"),
        "nixoci plan -q --backend remote --platform linux/amd64 $here/examples/hello#container --format json \
             | jq -r '.platforms[].provision.steps[].title'
         image -t $tag --load >/dev/null && docker run --rm $tag; docker rmi $tag >/dev/null",
    );
    let run = host.with(FLEET).sh(&script).code(0).out("Hello, world!");
    shows("remote_provision", &run.out.lines().next().unwrap().replace(machine, "[MACHINE]"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_shell_is_opened_where_a_build_would_run() {
    // Not on the first of the list, which does not build for this system. Each has a port of its own.
    let script = with(
        "{ host = 'ant', systems = ['aarch64-linux'] }, { host = 'bee', systems = ['x86_64-linux'] }",
        "for platform in linux/amd64 linux/arm64; do
            nixoci shell --backend remote --platform $platform -- sh -c 'echo $USER ${SSH_CONNECTION##* }'
        done",
    );
    NIX_2_34.with(FLEET).sh(&script).code(0).out("builder 32202\nbuilder 32201\n");
}

each!(a_linux_machine_builds_elsewhere_what_it_cannot_build_itself: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_linux_machine_builds_elsewhere_what_it_cannot_build_itself(host: Host) {
    let builders = "{ host = 'bee', systems = ['x86_64-linux', 'aarch64-linux'], jobs = 2 }";
    let script = with(
        builders,
        "nixoci build --platform linux/arm64 $here/examples/hello#container -o archive:a.tar --format json \
         | jq -c '[.images[].platforms[] | .platform, .backend]' && nixoci inspect a.tar --format json | jq -r '.images[].platforms[].platform'",
    );
    host.with(LINUX).sh(&script).code(0).out("[\"linux/arm64\",\"remote\"]\nlinux/arm64\n");
}

const ANT_AND_BEE: &str = "{ host = 'ant' }, { host = 'bee', features = ['kvm'] }";

each!(the_machine_that_has_the_feature_builds: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn the_machine_that_has_the_feature_builds(host: Host) {
    // Only bee has it.
    let script = with(ANT_AND_BEE, "tiny --arg features '[ \"kvm\" ]'");
    host.with(FLEET).sh(&script).fails(42, "nixoci::image::not_an_image").err("on ssh-ng://bee");
}

each!(a_feature_that_no_machine_has_is_named: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_feature_that_no_machine_has_is_named(host: Host) {
    host.with(FLEET)
        .sh(&with(ANT_AND_BEE, "tiny --arg features '[ \"warp\" ]'"))
        .fails(20, "nixoci::nix::system_features")
        .says("remote_no_machine_has_the_feature");
}

each!(what_machines_built_is_kept_until_it_is_collected: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn what_machines_built_is_kept_until_it_is_collected(host: Host) {
    let script =
        "image >/dev/null 2>&1 || exit 99; show() { nixoci cache show --format json | jq '.storeSize > 0'; }
        show; nixoci cache gc --all --format json | jq '.storeFreedBytes > 0'; show";
    host.with(FLEET).sh(&with(ANT_AND_BEE, script)).code(0).out("true\ntrue\nfalse\n");
}

/// `dep` can only be built by a machine that has kvm, and what needs it only by one that has big-parallel.
const CHAIN: &str = r#"{ system, n }: let d = f: name: cmd: derivation { inherit name system; builder = "/bin/sh"; args = [ "-c" cmd ]; requiredSystemFeatures = f; };
  a = d [ "kvm" ] "dep-${n}" "echo dep > $out"; in d [ "big-parallel" ] "img-${n}" "read x < ${a}; echo $x > $out""#;
/// ant does not trust its user.
const UNTRUSTING: &str =
    "{ host = 'ant', features = ['big-parallel'] }, { host = 'bee', features = ['kvm'] }";

/// A script that builds [`CHAIN`].
fn chain(builders: &str) -> String {
    with(builders, &format!("printf '%s' '{CHAIN}' > c.nix; build -f c.nix --argstr n $RANDOM"))
}

each!(a_machine_that_does_not_trust_its_user_takes_nothing_that_was_built_elsewhere: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_machine_that_does_not_trust_its_user_takes_nothing_that_was_built_elsewhere(host: Host) {
    host.with(FLEET)
        .sh(&chain(UNTRUSTING))
        .fails(20, "nixoci::nix::system_features")
        .says("remote_machine_does_not_trust")
        .warns("remote_without_a_machine_that_does_not_trust");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_that_cannot_be_used_is_left_out_and_named() {
    let builders = "{ host = 'refused', systems = ['x86_64-linux'] }, { host = 'ant' }, { host = 'bee' }";
    // One of three is a warning, not an obstacle. (`doctor` says so, too: see `doctor::a_machine_of_two`.)
    NIX_2_34.with(TROUBLE).sh(&with(builders, "image")).code(0).warns("remote_without_a_machine");
}

/// A derivation for a CPU that ant does not have.
const FOR_ARM: &str =
    "nixoci build --backend remote --platform linux/arm64 --no-link -f t.nix --argstr n $RANDOM";

each!(
    what_a_machine_cannot_do_has_its_own_code:
    // It says of itself that it does.
    another_system_than_it_says("{ host = 'ant', systems = ['aarch64-linux'] }", FOR_ARM, 20, "nixoci::nix::platform"),
    another_system("{ host = 'ant' }", FOR_ARM, 20, "nixoci::remote::system"),
    a_feature("{ host = 'ant' }", "tiny --arg features '[ \"kvm\" ]'", 20, "nixoci::nix::system_features"),
    // As when a kernel that is out of memory kills a compiler.
    killed("{ host = 'ant' }", "tiny --argstr cmd '/bin/sh -c \"kill -9 \\$\\$\"; exit $?'", 40, "nixoci::nix::build_killed"),
);
fn what_a_machine_cannot_do_has_its_own_code(builders: &str, script: &str, exit: i32, code: &str) {
    let name = format!("remote_{}", code.trim_start_matches("nixoci::").replace("::", "_"));
    NIX_2_34.with(FLEET).sh(&with(builders, script)).fails(exit, code).says(&name);
}
