//! What nixoci says about the machine it is on.

use super::*;

each!(doctor_is_content_with_a_healthy_host: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn doctor_is_content_with_a_healthy_host(host: Host) {
    host.sh("nixoci doctor")
        .code(0)
        .out(&format!("Nix {}", host.nix))
        .out("nixoci can build here.")
        .out("x86_64-linux")
        .out(if host.docker == "28" { "containerd store" } else { "classic store" });
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn doctor_finds_what_is_missing() {
    NIX_2_34.with(&["--without", "nix"]).sh("nixoci doctor").code(20).out("bad ").out("install");
    NIX_2_34
        .with(&["--without", "docker-daemon"])
        .sh("nixoci doctor")
        .code(0)
        .out("warn")
        .out("Cannot connect to the Docker daemon");
    NIX_2_34
        .with(&["--user", "mallory"])
        .sh("nixoci doctor")
        .code(20)
        .out("bad ")
        .out("cannot build here yet");
}

each!(backends_and_plan_change_nothing: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn backends_and_plan_change_nothing(host: Host) {
    host.sh("nixoci backends").code(0).out("linux/amd64").out("ready").out("no   linux/arm64");
    let run = host.sh(
        "cd $(mktemp -d); echo \"{ system, n ? \\\"$RANDOM$RANDOM\\\" }: (import <nixpkgs> { inherit system; }).runCommand \\\"planned-$RANDOM\\\" { } \\\"echo > \\$out\\\"\" > default.nix
         nixoci plan -f default.nix; nixoci plan -f default.nix --format json; ls",
    );
    let run = run.code(0).out("backend   local").out("build 1 derivation").out("planned-");
    assert!(run.out.ends_with("default.nix\n"), "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_shell_opens_where_things_are_built() {
    for host in [NIX_2_26, NIX_2_34] {
        host.sh("nixoci shell -- sh -c 'nix --version; exit 7'").code(7).out(host.nix);
        host.sh("echo 'echo in $0; exit 3' | SHELL=/bin/sh nixoci shell --backend local")
            .code(3)
            .out("in /bin/sh");
    }
    NIX_2_34.sh("nixoci shell --platform linux/arm64 -- true").fails(20, "nixoci::backend::none");
    NIX_2_34.sh("nixoci shell -- no-such-program").fails(21, "nixoci::tool_missing");
    NIX_2_34.sh("nixoci shell --format json -- true").code(2).err("belongs to the shell");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_event_stream_has_a_beginning_and_one_end() {
    let run = NIX_2_34.sh("nixoci build ./examples/hello#container --no-link --format jsonl").code(0);
    let lines: Vec<serde_json::Value> =
        run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["type"], "hello");
    assert_eq!(lines.iter().filter(|line| line["type"] == "result").count(), 1);
    assert_eq!(lines.last().unwrap()["type"], "result");
    let failed = NIX_2_34.sh("nixoci build ./examples/hello#nope --no-link --format jsonl").code(41);
    let last: serde_json::Value = serde_json::from_str(failed.out.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["exitCode"]), (&"error".into(), &41.into()));
}
