//! A builder on an Apple-silicon Mac that runs both CPUs' programs, and may sleep until a connection comes.

use super::*;
use crate::harness::shows;
use crate::mac::ROSETTA;

const ON_DEMAND: &[&str] = &["--as", "mac", "--user", "alice", "--with", "rosetta-on-demand"];
const NO_ROSETTA: &[&str] =
    &["--as", "mac", "--user", "alice", "--with", "rosetta-builder", "--without", "rosetta"];
const INTEL: &[&str] = &["--as", "mac", "--user", "alice", "--intel", "--with", "linux-builder"];
const NOBODY: &[&str] = &["--as", "mac", "--user", "alice"];

each!(both_cpus_are_built_into_one_archive: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn both_cpus_are_built_into_one_archive(host: Host) {
    let script = "cd $XDG_CACHE_HOME; nixoci build --backend rosetta --platform linux/amd64,linux/arm64 $OLDPWD/examples/cowsay#container --no-link \
         -t $tag -o archive:both.tar --format json | jq -r '.images[].platforms[] | \"\\(.platform) \\(.backend)\"' && nixoci validate -q both.tar >/dev/null";
    let run = host.with(ROSETTA).sh(script).code(0);
    assert_eq!(run.out, "linux/amd64 rosetta\nlinux/arm64 rosetta\n", "{run:#?}");
}

each!(
    each_cpu_is_built_and_runs:
    amd64_from_nix_2_26(NIX_2_26, "amd64"),
    amd64_from_nix_2_34(NIX_2_34, "amd64"),
    arm64_from_nix_2_26(NIX_2_26, "arm64"),
    arm64_from_nix_2_34(NIX_2_34, "arm64"),
);
fn each_cpu_is_built_and_runs(host: Host, cpu: &str) {
    let script = format!(
        "nixoci build --backend rosetta --platform linux/{cpu} ./examples/cowsay#container --no-link -t $tag --load >&2 &&
         docker run --rm --platform linux/{cpu} $tag && nixoci inspect docker-archive:<(docker save $tag) --format json | jq -r '.images[].platforms[].platform'
         code=$?; docker rmi $tag >&2; exit $code"
    );
    host.with(ROSETTA).sh(&script).code(0).out("< hello world >").out(&format!("\nlinux/{cpu}\n"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn only_a_build_wakes_it_up() {
    // It falls asleep when it is told to and nobody is connected.
    let script = "cd $XDG_CACHE_HOME; boots() { cat /lab/mac/rosetta-on-demand/log 2>/dev/null | wc -l; }
         awake() { ls /lab/mac/rosetta-on-demand/awake; }; touch $events/rosetta-sleeps; gone awake >&2; before=$(boots)
         nixoci backends --format json | jq -r '.backends[] | select(.name == \"rosetta\").offers[] | \"\\(.system) \\(.readiness.state) \\(.builder)\"'
         nixoci doctor >doctor; grep 'not asked' doctor >&2
         nixoci plan --backend rosetta --platform linux/arm64 $OLDPWD/examples/hello#container >/dev/null
         echo $(($(boots) - before)) boots
         nixoci build -q --backend rosetta --platform linux/arm64 $OLDPWD/examples/hello#container -o archive:a.tar >/dev/null
         echo $(($(boots) - before)) boots
         nixoci doctor --build --format json | jq -r '.backends.rosetta[] | select(.title == \"aarch64-linux\").verdict'";
    let run = NIX_2_34.with(ON_DEMAND).sh(script).code(0);
    let (asleep, awake) = run.out.split_once("0 boots\n").unwrap_or_else(|| panic!("{run:#?}"));
    assert!(asleep.contains("aarch64-linux ") && awake == "1 boots\ngood\n", "{run:#?}");
    let line = run.err.lines().find(|line| line.contains("not asked")).unwrap_or_default();
    shows("rosetta_is_not_asked", &format!("{asleep}{line}"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn without_rosetta_the_other_cpu_is_not_built() {
    let build = "nixoci build --backend rosetta --platform linux/amd64 ./examples/hello#container -o archive:$XDG_CACHE_HOME/a.tar";
    NIX_2_34.with(NO_ROSETTA).sh(build).code(75).says("rosetta_is_not_installed");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn without_rosetta_the_own_cpu_is_built() {
    let build = "nixoci build --backend rosetta --platform linux/arm64 ./examples/hello#container -o archive:$XDG_CACHE_HOME/a.tar";
    NIX_2_34.with(NO_ROSETTA).sh(build).code(0);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_intel_mac_has_no_rosetta_and_is_told_what_to_use() {
    let build = "nixoci build --backend rosetta --platform linux/arm64 ./examples/hello#container --no-link";
    NIX_2_34.with(INTEL).sh(build).fails(20, "nixoci::rosetta::intel").says("rosetta_intel");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_intel_mac_builds_for_its_own_cpu_by_itself() {
    let build = "nixoci build ./examples/hello#container -o archive:$XDG_CACHE_HOME/a.tar --format json \
         | jq -c '.images[].platforms[] | [.platform, .backend]'";
    NIX_2_34.with(INTEL).sh(build).code(0).out("[\"linux/amd64\",\"darwin-builder\"]\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_without_such_a_builder_is_told_the_steps() {
    NIX_2_34
        .with(NOBODY)
        .sh("nixoci build --backend rosetta --platform linux/amd64 ./examples/hello#container --no-link")
        .fails(75, "nixoci::rosetta::none")
        .says("rosetta_none");
}
