//! What nixoci says about the machine it is on.

use super::*;

each!(
    doctor_is_content_with_a_healthy_host:
    nix_2_26(NIX_2_26, "classic store"),
    nix_2_34(NIX_2_34, "containerd store"),
);
fn doctor_is_content_with_a_healthy_host(host: Host, store: &str) {
    let run = host.sh("nixoci doctor --format json; nixoci doctor >&2").code(0);
    let report: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(report["ready"], true);
    assert!(run.out.contains(&format!("Nix {}", host.nix)) && run.out.contains("x86_64-linux"), "{report}");
    // Which store Docker has decides what it takes.
    assert!(run.out.contains(store), "{report}");
}

each!(
    doctor_finds_what_is_missing:
    nix(&["--without", "nix"], 20, "bad"),
    a_daemon_of_docker(&["--without", "docker-daemon"], 0, "warning"),
    permission(&["--user", "mallory"], 20, "bad"),
);
fn doctor_finds_what_is_missing(flags: &'static [&'static str], exit: i32, verdict: &str) {
    let run = NIX_2_34.with(flags).sh("nixoci doctor --format json").code(exit);
    let report: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(report["ready"], exit == 0);
    assert!(run.out.contains(&format!("\"verdict\": \"{verdict}\"")), "{report}");
}

each!(backends_says_what_is_built_here: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn backends_says_what_is_built_here(host: Host) {
    let script = "nixoci backends --format json | jq -r '.backends[] | select(.name == \"local\").offers[] | select(.system | test(\"^(x86_64|aarch64)\")) | \"\\(.system) \\(.readiness.state)\"'";
    let run = host.sh(script).code(0);
    assert_eq!(run.out, "x86_64-linux ready\naarch64-linux no\n", "{run:#?}");
}

each!(a_plan_changes_nothing: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_plan_changes_nothing(host: Host) {
    let run = host.sh(
        "cd $(mktemp -d); echo \"{ system }: (import <nixpkgs> { inherit system; }).runCommand \\\"planned-$tag\\\" { } \\\"echo > \\$out\\\"\" > default.nix
         for n in 1 2; do nixoci plan -f default.nix --format json | jq -c '.platforms[] | [.backend, (.forecast.willBuild | length), (.forecast.willBuild[0] | contains(\"planned-\"))]'; done; ls",
    );
    assert_eq!(run.code(0).out, "[\"local\",1,true]\n[\"local\",1,true]\ndefault.nix\n");
}

each!(a_shell_opens_where_things_are_built: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_shell_opens_where_things_are_built(host: Host) {
    host.sh("nixoci shell -- sh -c 'nix --version; exit 7'").code(7).out(host.nix);
}

each!(a_shell_is_the_user_s_own: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_shell_is_the_user_s_own(host: Host) {
    host.sh("echo 'echo in $0; exit 3' | SHELL=/bin/sh nixoci shell --backend local")
        .code(3)
        .out("in /bin/sh");
}

each!(
    a_shell_that_cannot_be_opened_is_refused:
    for_another_platform("--platform linux/arm64 -- true", 20, "nixoci::backend::none"),
    without_its_program("-- no-such-program", 21, "nixoci::tool_missing"),
);
fn a_shell_that_cannot_be_opened_is_refused(args: &str, exit: i32, code: &str) {
    NIX_2_34.sh(&format!("nixoci shell {args}")).fails(exit, code);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_shell_s_output_has_no_format() {
    NIX_2_34.sh("nixoci shell --format json -- true").code(2).err("\"nixoci::usage\"");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_event_stream_has_a_beginning_and_one_result() {
    let run = NIX_2_34.sh("nixoci build ./examples/hello#container --no-link --format jsonl").code(0);
    let lines: Vec<serde_json::Value> =
        run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["type"], "hello");
    assert_eq!(lines.iter().filter(|line| line["type"] == "result").count(), 1);
    assert_eq!(lines.last().unwrap()["type"], "result");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_event_stream_ends_with_the_error() {
    let failed = NIX_2_34.sh("nixoci build ./examples/hello#nope --no-link --format jsonl").code(41);
    let last: serde_json::Value = serde_json::from_str(failed.out.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["exitCode"]), (&"error".into(), &41.into()));
}
