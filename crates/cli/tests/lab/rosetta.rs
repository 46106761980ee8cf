//! A builder on an Apple-silicon Mac that runs both CPUs' programs, and may sleep until somebody connects.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;
use crate::mac::ROSETTA;

const ON_DEMAND: &[&str] = &["--as", "mac", "--user", "alice", "--with", "rosetta-on-demand"];
const NO_ROSETTA: &[&str] =
    &["--as", "mac", "--user", "alice", "--with", "rosetta-builder", "--without", "rosetta"];
const INTEL: &[&str] = &["--as", "mac", "--user", "alice", "--intel", "--with", "linux-builder"];
const NOBODY: &[&str] = &["--as", "mac", "--user", "alice"];

/// Every Mac of the lab has the same one.
fn sleeper() -> MutexGuard<'static, ()> {
    static SLEEPER: Mutex<()> = Mutex::new(());
    SLEEPER.lock().unwrap_or_else(PoisonError::into_inner)
}

each!(both_cpus_are_built_and_each_runs: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn both_cpus_are_built_and_each_runs(host: Host) {
    let tag = format!("rosetta-cow{}", host.nix.replace('.', ""));
    let script = format!(
        "nixoci build --backend rosetta --platform linux/amd64,linux/arm64 ./examples/cowsay#container --no-link \
         -t {tag}:1 -o archive:$XDG_CACHE_HOME/both.tar && nixoci validate $XDG_CACHE_HOME/both.tar &&
         for cpu in amd64 arm64; do
           nixoci build --backend rosetta --platform linux/$cpu ./examples/cowsay#container --no-link -t {tag}-$cpu:1 --load &&
           docker run --rm --platform linux/$cpu {tag}-$cpu:1 && nixoci inspect docker-archive:<(docker save {tag}-$cpu:1) | grep -o linux/$cpu | head -1
         done"
    );
    let run = host.with(ROSETTA).sh(&script).code(0).err("is built by the backend rosetta");
    assert_eq!(run.out.matches("< hello world >").count(), 2, "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn only_a_build_wakes_it_up() {
    let _alone = sleeper();
    let boots = "boots() { echo boots: $(cat /lab/mac/rosetta-on-demand/log 2>/dev/null | wc -l); }";
    let host = NIX_2_34.with(ON_DEMAND);
    // It falls asleep five seconds after whoever was here before.
    let asleep = "for n in $(seq 100); do test -e /lab/mac/rosetta-on-demand/awake || break; sleep 0.2; done";
    let script = format!(
        "{boots}; {asleep}; before=$(boots); nixoci backends && nixoci doctor && \
         nixoci plan --backend rosetta --platform linux/arm64 ./examples/hello#container; \
         test \"$before\" = \"$(boots)\" && echo still asleep; \
         nixoci build --backend rosetta --platform linux/arm64 ./examples/hello#container -o archive:$XDG_CACHE_HOME/a.tar \
         && test \"$before\" != \"$(boots)\" && echo awake; nixoci doctor --build"
    );
    host.sh(&script)
        .code(0)
        .out("still asleep\n")
        .out("awake\n")
        .out("asleep, wakes by itself, native, on rosetta-builder")
        .out("(not asked: that would start it)")
        .out("ok    aarch64-linux: built and read back")
        .err("waking up rosetta-builder");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn without_rosetta_only_the_own_cpu_is_built() {
    let host = NIX_2_34.with(NO_ROSETTA);
    let build = |cpu: &str| {
        format!(
            "nixoci build --backend rosetta --platform linux/{cpu} ./examples/hello#container -o archive:$XDG_CACHE_HOME/a.tar"
        )
    };
    host.sh(&build("amd64")).code(75).err("sudo softwareupdate --install-rosetta --agree-to-license");
    host.sh(&build("arm64")).code(0);
    host.sh("nixoci doctor").out("warn  Rosetta: not installed");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_intel_mac_is_told_what_to_use() {
    let host = NIX_2_34.with(INTEL);
    host.sh("nixoci build --backend rosetta --platform linux/arm64 ./examples/hello#container --no-link")
        .fails(20, "nixoci::rosetta::intel")
        .err("nixoci build --backend darwin-builder --platform linux/amd64");
    host.sh("nixoci build ./examples/hello#container -o archive:$XDG_CACHE_HOME/a.tar")
        .code(0)
        .err("x86_64-linux is built by the backend darwin-builder");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_without_such_a_builder_is_told_the_steps() {
    NIX_2_34
        .with(NOBODY)
        .sh("nixoci build --backend rosetta --platform linux/amd64 ./examples/hello#container --no-link")
        .fails(75, "nixoci::rosetta::none")
        .err("nixpkgs#darwin.linux-builder-vz");
}
