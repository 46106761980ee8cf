//! The lab keeps its promises: what `lab/README.md` says of `lab exec` and of the stand-in nixpkgs.
//!
//! An example of how tests use the lab, too. Run by `cargo xtask test`.

#![expect(clippy::expect_used, reason = "tests may, also in their helpers")]

#[path = "../../../lab/cases.rs"]
#[macro_use]
mod cases;
mod builders;
mod multipass;
mod runtimes;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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

/// A function for scripts: `gone COMMAND…` waits until the command prints nothing, and fails if it goes on printing for a minute.
const GONE: &str = "gone() { for n in $(seq 600); do [ -n \"$(\"$@\" 2>/dev/null)\" ] || return 0; sleep 0.1; done; \"$@\" >&2; return 1; }; ";

/// The standard output of a script that has to succeed.
fn out(flags: &[&str], script: &str) -> String {
    let output = sh(flags, script);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{flags:?} {script}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The standard error of a script that has to fail.
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
    // It says when it runs, and then waits for a pipe that has no writer.
    let mark = format!("caller-{}", std::process::id());
    let script = format!("mkfifo /tmp/{mark}; echo runs; read -r line </tmp/{mark}");
    let mut caller = lab(&[], &["sh", "-euc", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the lab's program runs");
    let mut line = String::new();
    let mut lines = BufReader::new(caller.stdout.take().expect("a pipe"));
    lines.read_line(&mut line).expect("it can be read");
    assert_eq!(line, "runs\n");
    let running = format!("running() {{ pgrep -f 'mkfifo [/]tmp/{mark}'; }}");
    out(&[], &format!("{running}; test -n \"$(running)\""));
    caller.kill().expect("it can be killed");
    caller.wait().expect("it can be waited for");
    out(&[], &format!("{GONE} {running}; gone running; rm /tmp/{mark}"));
}

each!(
    a_nix_goes_with_a_docker_and_is_sandboxed:
    nix_2_26_docker_20("2.26", "20.10"),
    nix_2_26_docker_28("2.26", "28"),
    nix_2_34_docker_20("2.34", "20.10"),
    nix_2_34_docker_28("2.34", "28"),
);
fn a_nix_goes_with_a_docker_and_is_sandboxed(nix: &str, docker: &str) {
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

each!(alice_has_no_rule_of_sudo: on_a_mac("mac"), on_linux("linux"));
fn alice_has_no_rule_of_sudo(machine: &str) {
    let flags = ["--as", machine, "--user", "alice"];
    assert!(refusal(&flags, "sudo -n true").contains("a password is required"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn root_may_use_sudo() {
    assert_eq!(out(&[], "sudo -n id -u 2>&1"), "0\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn images_do_not_depend_on_the_version_of_nix() {
    let digests = ["2.26", "2.34"].map(|nix| {
        out(
            &["--nix", nix],
            &format!(
                "cd $(mktemp -d); for name in cowsay hello; do {BUILD} -o $name \
                 {0}/examples/$name#packages.x86_64-linux.container; done; \
                 nix-build -Q -o layered {0}/examples/layered >/dev/null 2>&1; sha256sum cowsay hello layered",
                checkout().display()
            ),
        )
    });
    assert_eq!(digests[0], digests[1]);
}

each!(
    an_example_runs:
    cowsay_on_docker_20("20.10", "cowsay", "cowsay-hello-world", "< hello world >"),
    cowsay_on_docker_28("28", "cowsay", "cowsay-hello-world", "< hello world >"),
    hello_on_docker_20("20.10", "hello", "hello", "Hello, world!"),
    hello_on_docker_28("28", "hello", "hello", "Hello, world!"),
);
fn an_example_runs(docker: &str, example: &str, image: &str, said: &str) {
    let script = format!(
        "cd $(mktemp -d); {BUILD} -o image {0}/examples/{example}#packages.x86_64-linux.container; \
         docker load < image >&2; docker run --rm {image}:latest",
        checkout().display()
    );
    let printed = out(&["--docker", docker], &script);
    assert!(printed.contains(said), "{printed}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn arm64_is_refused_without_the_flag() {
    // Not an image: a host that has it already need not build it.
    let text = refusal(
        &["--nix", "2.26", "--docker", "20.10"],
        "nix-build --no-out-link -E \"(import <nixpkgs> { system = \\\"aarch64-linux\\\"; }).writeText \
         \\\"new-$(date +%s%N)\\\" \\\"\\\"\"",
    );
    assert!(text.contains("aarch64-linux") && text.contains("x86_64-linux"), "{text}");
}

// By its id: other tests load images of the same name.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn arm64_is_emulated_with_the_flag() {
    let script = format!(
        "cd $(mktemp -d); {BUILD} -o image {}/examples/hello#packages.aarch64-linux.container; \
         id=$(tar -xOf image manifest.json | jq -r '.[0].Config' | cut -d. -f1); tag=arm64-$$; \
         docker load -q < image >&2; docker tag $id $tag; docker run --rm --platform linux/arm64 $tag; docker rmi $tag >&2",
        checkout().display()
    );
    assert_eq!(out(&["--nix", "2.26", "--docker", "20.10", "--arm64"], &script), "Hello, world!\n");
}

const INFO: &str = "nix --extra-experimental-features nix-command store info --json";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn alice_reaches_nix_and_docker() {
    assert!(out(&["--user", "alice"], INFO).contains("\"trusted\":"), "alice reaches the daemon");
    assert!(out(&["--user", "alice"], "cd; pwd; docker ps -q").starts_with("/home/alice\n"));
}

each!(
    a_user_who_may_not_and_a_missing_part_fail_as_in_life:
    nix_for_mallory(&["--user", "mallory"], INFO, "Permission denied"),
    docker_for_mallory(&["--user", "mallory"], "docker ps", "permission denied"),
    no_nix_daemon(&["--user", "alice", "--without", "nix-daemon"], INFO, ""),
    no_nix(&["--without", "nix"], "nix --version", "not found"),
    no_docker(&["--without", "docker"], "docker ps", "not found"),
    no_docker_daemon(&["--without", "docker-daemon"], "docker ps", "Is the docker daemon running?"),
    containerd_for_alice(&["--user", "alice"], "ctr images ls", "permission denied"),
    no_podman(&["--without", "podman"], "podman ps", "not found"),
    no_containerd(&["--without", "containerd"], "ctr images ls", "not found"),
    no_containerd_daemon(&["--without", "containerd-daemon"], "ctr --timeout 2s images ls", "containerd.sock"),
    no_flakes(&["--without", "flakes"], FLAKE, "'flakes' is disabled"),
    no_nix_command(&[], "nix store info", "'nix-command' is disabled"),
    a_full_disk(&[], "head -c 9000000 /dev/zero > /small/full || { rm /small/full; exit 1; }", "No space left on device"),
);
const FLAKE: &str =
    "nix --extra-experimental-features nix-command build --no-write-lock-file --quiet ./examples/hello#x";
fn a_user_who_may_not_and_a_missing_part_fail_as_in_life(flags: &[&str], script: &str, why: &str) {
    let said = refusal(flags, script);
    assert!(said.contains(why), "{flags:?} {script}: {said}");
}

each!(nixocis_own_flake_evaluates_for_every_system: nix_2_26("2.26"), nix_2_34("2.34"));
fn nixocis_own_flake_evaluates_for_every_system(version: &str) {
    // The lab cannot redirect an unlocked `github:`; people's Nix fetches it.
    const INPUT: &str = "--no-write-lock-file --override-input nixpkgs path:/lab/nixpkgs";
    let nix = "nix --quiet --extra-experimental-features nix-command";
    let mut script = format!("{nix} flake check {INPUT} --no-build --all-systems . >&2\n");
    for system in ["aarch64-darwin", "aarch64-linux", "x86_64-linux"] {
        for attr in ["packages", "devShells"] {
            script.push_str(&format!("{nix} eval {INPUT} --raw .#{attr}.{system}.default.drvPath; echo\n"));
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
