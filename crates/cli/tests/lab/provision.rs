//! Whether builders build, proven by building; and making them ready.

use crate::conforms::conforms;
use crate::mac::{NONE, ROSETTA};
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
    let failed = "bad   linux-builder: aarch64-linux: linux-builder: the machine's host key is not known";
    run.code(20)
        .out("nixoci can build here.")
        .out(failed)
        .out("ssh -i /etc/nix/builder_ed25519 builder@linux-builder");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_without_a_builder_is_told_the_steps_whatever_is_agreed_to() {
    for host in [OLD, NEW] {
        for flags in ["", "--yes --allow-root", "--platform linux/arm64"] {
            let script =
                format!("nixoci provision --backend darwin-builder {flags} && echo it says it did it");
            let run = host.with(NONE).sh(&script).fails(75, "nixoci::darwin_builder::none");
            assert!(run.out.is_empty(), "{run:#?}");
            run.err("nix run nixpkgs#darwin.linux-builder").err("| sudo tee -a /etc/nix/machines");
        }
        let never = "nixoci build --no-provision -y --allow-root ./examples/cowsay#container --no-link";
        host.with(NONE)
            .sh(never)
            .fails(75, "nixoci::backend::pending")
            .err("--no-provision forbids it")
            .err("| sudo tee -a /etc/nix/machines");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn where_a_backend_is_ready_there_is_nothing_to_do() {
    let ready = "nixoci provision; nixoci provision --stop; nixoci provision --remove; nixoci provision --format json";
    for host in [OLD, NEW] {
        let run =
            host.sh(ready).code(0).out("local: nothing to do, it is ready\n").err("this machine itself");
        let document = run.out.lines().skip(1).collect::<Vec<_>>().join("\n");
        conforms("provision", &serde_json::from_str(&document).unwrap());
        let run = host.with(ROSETTA).sh(
            "nixoci provision --platform linux/amd64,linux/arm64; nixoci provision --stop --backend linux-builder",
        );
        run.code(0)
            .out("darwin-builder: nothing to do, it is ready\n")
            .err("the builder is the machine's own");
    }
    NEW.sh("nixoci provision --platform linux/arm64").fails(20, "nixoci::backend::none");
    NEW.with(&["--without", "nix"]).sh("nixoci provision").fails(20, "nixoci::backend::none");
}
