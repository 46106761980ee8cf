//! The lab keeps its promises: what `lab/README.md` says of `lab exec` and of the stand-in nixpkgs.
//!
//! An example of how tests use the lab, too. Run by `cargo xtask test`.

#![expect(clippy::expect_used, reason = "tests may, also in their helpers")]

mod builders;
#[path = "../../../lab/cases.rs"]
#[macro_use]
mod cases;
mod multipass;
mod runtimes;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const NIX: [&str; 2] = ["2.26", "2.34"];
const DOCKER: [&str; 2] = ["20.10", "28"];
const CONTAINERD: [&str; 2] = ["1.6", "2"];
/// A build without flakes' lock file, quiet unless it fails.
const BUILD: &str = "nix --extra-experimental-features nix-command build --no-write-lock-file --quiet";

/// A command on a host of the lab, in the checkout.
fn lab(flags: &[&str], command: &[&str]) -> Command {
    let program = std::env::var_os("NIXOCI_LAB").expect("NIXOCI_LAB is set by `cargo xtask test`");
    let mut lab = Command::new(program);
    lab.args(["lab", "exec"]).args(flags).arg("--").args(command).current_dir(checkout());
    lab
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn sh(flags: &[&str], script: &str) -> Output {
    lab(flags, &["sh", "-euc", script]).output().expect("the lab's program runs")
}

/// What a script printed, which has to succeed.
fn out(flags: &[&str], script: &str) -> String {
    let output = sh(flags, script);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{flags:?} {script}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// What a script said on stderr, which has to fail.
fn refusal(flags: &[&str], script: &str) -> String {
    let output = sh(flags, script);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{flags:?} {script}\n{said}");
    said
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn exec_passes_streams_status_and_directory_through() {
    assert_eq!(sh(&[], "exit 7").status.code(), Some(7));
    assert_eq!(sh(&[], "kill -TERM $$").status.code(), Some(128 + 15));
    let output = sh(&["--env", "GREETING=hello you"], "cat; echo \"$GREETING\"; pwd; echo wrong >&2");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("hello you\n{}\n", checkout().display()),
        "output() gives no input"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "wrong\n");
    assert_eq!(out(&["--cwd", "/small"], "pwd; stat -f -c %T ."), "/small\ntmpfs\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_command_ends_when_its_caller_is_killed() {
    let mut sleeper =
        lab(&[], &["sleep", "86399"]).stdin(Stdio::null()).spawn().expect("the lab's program runs");
    let running = || sh(&[], "pgrep -xf 'sleep 86399'").status.success();
    let wait = |wanted: bool| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while running() != wanted {
            assert!(Instant::now() < deadline, "sleep should be {}", if wanted { "running" } else { "gone" });
        }
    };
    wait(true);
    sleeper.kill().expect("it can be killed");
    sleeper.wait().expect("it can be waited for");
    wait(false);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn every_nix_goes_with_every_docker_and_is_sandboxed() {
    for nix in NIX {
        for docker in DOCKER {
            let flags = ["--nix", nix, "--docker", docker];
            let versions = out(
                &flags,
                "nix --version; docker version -f '{{.Client.Version}} {{.Server.Version}}'; nix config show sandbox \
                 --extra-experimental-features nix-command; nix config show sandbox-fallback --extra-experimental-features \
                 nix-command",
            );
            let lines: Vec<&str> = versions.lines().collect();
            assert!(lines[0].contains(&format!(" {nix}.")), "{versions}");
            let (client, server) = lines[1].split_once(' ').expect("two versions");
            assert!(client.starts_with(docker) && server.starts_with(docker), "{versions}");
            assert_eq!(lines[2..], ["true", "false"], "{versions}");
        }
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn sudo_is_real_and_alice_has_no_rule() {
    for flags in [["--as", "mac", "--user", "alice"], ["--as", "linux", "--user", "alice"]] {
        assert!(refusal(&flags, "sudo -n true").contains("a password is required"));
    }
    assert_eq!(out(&[], "sudo -n id -u 2>&1"), "0\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn examples_build_alike_and_run_everywhere() {
    let mut digests = Vec::new();
    for nix in NIX {
        let flags = ["--nix", nix];
        digests.push(out(
            &flags,
            &format!(
                "cd $(mktemp -d); for name in cowsay hello; do {BUILD} -o $name \
                 {0}/examples/$name#packages.x86_64-linux.container; done; \
                 nix-build -Q -o layered {0}/examples/layered >/dev/null 2>&1; sha256sum cowsay hello layered",
                checkout().display()
            ),
        ));
    }
    assert_eq!(digests[0], digests[1], "images do not depend on the version of Nix");
    for docker in DOCKER {
        let flags = ["--docker", docker];
        let said = out(
            &flags,
            &format!(
                "cd $(mktemp -d); {BUILD} -o cow {0}/examples/cowsay#packages.x86_64-linux.container; \
                 docker load < cow >&2; docker run --rm cowsay-hello-world:latest; {BUILD} -o hello \
                 {0}/examples/hello#packages.x86_64-linux.container; docker load < hello >&2; docker run --rm hello:latest",
                checkout().display()
            ),
        );
        assert!(
            said.contains("< hello world >") && said.contains("(oo)") && said.contains("Hello, world!"),
            "{said}"
        );
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn arm64_is_refused_or_emulated() {
    let script = format!(
        "cd $(mktemp -d); {BUILD} -o image {}/examples/hello#packages.aarch64-linux.container; docker load < image >&2; \
         docker run --rm --platform linux/arm64 hello:latest",
        checkout().display()
    );
    // Not the image: a host that has it already need not build it.
    let refused = sh(
        &["--nix", "2.26", "--docker", "20.10"],
        "nix-build --no-out-link -E \"(import <nixpkgs> { system = \\\"aarch64-linux\\\"; }).writeText \
         \\\"new-$(date +%s%N)\\\" \\\"\\\"\"",
    );
    assert!(!refused.status.success());
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("aarch64-linux") && text.contains("x86_64-linux"), "{text}");
    assert_eq!(out(&["--nix", "2.26", "--docker", "20.10", "--arm64"], &script), "Hello, world!\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn users_and_missing_parts_fail_as_in_life() {
    let fails = |flags: &[&str], script: &str, why: &str| {
        let output = sh(flags, script);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(why), "{flags:?} {script}: {text}");
    };
    let info = "nix --extra-experimental-features nix-command store info --json";
    assert!(out(&["--user", "alice"], info).contains("\"trusted\":"), "alice reaches the daemon");
    assert!(out(&["--user", "alice"], "cd; pwd; docker ps -q").starts_with("/home/alice\n"));
    fails(&["--user", "mallory"], info, "Permission denied");
    fails(&["--user", "mallory"], "docker ps", "permission denied");
    fails(&["--user", "alice", "--without", "nix-daemon"], info, "");
    fails(&["--without", "nix"], "nix --version", "not found");
    fails(&["--without", "docker"], "docker ps", "not found");
    fails(&["--without", "docker-daemon"], "docker ps", "Is the docker daemon running?");
    fails(&["--user", "alice"], "ctr images ls", "permission denied");
    fails(&["--without", "podman"], "podman ps", "not found");
    fails(&["--without", "containerd"], "ctr images ls", "not found");
    fails(&["--without", "containerd-daemon"], "ctr --timeout 2s images ls", "containerd.sock");
    fails(&["--without", "flakes"], &format!("{BUILD} ./examples/hello#x"), "'flakes' is disabled");
    fails(&[], "nix store info", "'nix-command' is disabled");
    fails(
        &[],
        "head -c 9000000 /dev/zero > /small/full || { rm /small/full; exit 1; }",
        "No space left on device",
    );
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn nixocis_own_flake_evaluates_for_every_system() {
    // The lab cannot redirect an unlocked `github:`; people's Nix fetches it.
    const INPUT: &str = "--no-write-lock-file --override-input nixpkgs path:/lab/nixpkgs";
    let nix = "nix --quiet --extra-experimental-features nix-command";
    for version in NIX {
        let mut script = format!("{nix} flake check {INPUT} --no-build --all-systems . >&2\n");
        for system in ["aarch64-darwin", "aarch64-linux", "x86_64-linux"] {
            for attr in ["packages", "devShells"] {
                script
                    .push_str(&format!("{nix} eval {INPUT} --raw .#{attr}.{system}.default.drvPath; echo\n"));
            }
            script.push_str(&format!("{nix} eval {INPUT} --raw .#apps.{system}.default.program; echo\n"));
        }
        script.push_str(&format!(
            "{nix} eval {INPUT} --impure --raw .#overlays.default --apply \
             'overlay: (import /lab/nixpkgs {{ overlays = [ overlay ]; }}).nixoci.meta.mainProgram'"
        ));
        let said = out(&["--nix", version], &script);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 10, "{said}");
        assert!(lines[..9].iter().all(|line| line.starts_with("/nix/store/")), "{said}");
        assert_eq!(lines[9], "nixoci");
    }
}
