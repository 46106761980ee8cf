//! Whether builders build, proven by building; and making them ready.

use crate::mac::ROSETTA;
use crate::{NEW, OLD};

const LINUX_BUILDER: &[&str] = &["--as", "mac", "--user", "alice", "--with", "linux-builder"];

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn doctor_proves_that_a_linux_host_builds() {
    for host in [OLD, NEW] {
        for user in ["root", "alice"] {
            let options: &'static [&'static str] = if user == "root" { &[] } else { &["--user", "alice"] };
            let run = host.with(options).sh(
                "nixoci doctor --build && nixoci doctor --build && ls $XDG_CACHE_HOME/nixoci/roots | wc -l",
            );
            // Built twice, because it is never there already, and nothing is kept.
            let run = run.code(0).out("ok    x86_64-linux: built and read back in ");
            assert!(run.out.ends_with("\n0\n"), "{run:#?}");
            assert_eq!(run.out.matches("x86_64-linux: built and read back").count(), 2, "{run:#?}");
            assert!(!run.out.contains("aarch64-linux: built"), "{run:#?}");
        }
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_emulated_cpu_is_proven_too() {
    for host in [OLD, NEW] {
        host.with(&["--arm64"])
            .sh("nixoci doctor --build")
            .code(0)
            .out("ok    x86_64-linux: built and read back in ")
            .out("ok    aarch64-linux: built and read back in ");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_s_builders_are_proven_for_each_of_their_cpus() {
    for host in [OLD, NEW] {
        let x86 = "ok    x86_64-linux: built and read back in ";
        host.with(LINUX_BUILDER).sh("nixoci doctor --build").code(0).out(x86);
        let both = "ok    aarch64-linux: built and read back in ";
        host.with(ROSETTA).sh("nixoci doctor --build").code(0).out(x86).out(both);
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_that_answers_and_cannot_be_used_is_found_out() {
    // ssh knows no key of this host, and without one in Nix's list nobody may connect: no look from outside tells.
    let options: &[&str] = &[
        "--as",
        "mac",
        "--user",
        "root",
        "--with",
        "linux-builder",
        "--env",
        "NIX_CONFIG=builders = ssh-ng://builder@linux-builder aarch64-linux /etc/nix/builder_ed25519",
    ];
    let run = NEW.with(options).sh("nixoci doctor; nixoci doctor --build");
    let failed = "bad   aarch64-linux: a tiny build for aarch64-linux failed: no build could be sent to builder@linux-builder";
    run.code(20).out("nixoci can build here.").out(failed).out("sudo ssh builder@linux-builder true");
}
