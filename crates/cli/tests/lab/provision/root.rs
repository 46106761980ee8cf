//! Steps that only root can take.

use super::{Host, NIX_2_26, NIX_2_34, Run};

const NO_ROSETTA: &[&str] =
    &["--as", "mac", "--with", "rosetta-builder", "--without", "rosetta", "--env", "LAB_MAC_LOG=/dev/null"];
const NO_ROSETTA_ALICE: &[&str] =
    &["--as", "mac", "--with", "rosetta-builder", "--without", "rosetta", "--user", "alice"];
const PROVISION: &str = "nixoci provision --backend rosetta --platform linux/amd64";

each!(
    rosetta_is_not_installed_without_agreement_to_root:
    nothing_on_nix_2_26(NIX_2_26, ""),
    nothing_on_nix_2_34(NIX_2_34, ""),
    something_else_on_nix_2_26(NIX_2_26, "--yes"),
    something_else_on_nix_2_34(NIX_2_34, "--yes"),
);
fn rosetta_is_not_installed_without_agreement_to_root(host: Host, flag: &str) {
    let script =
        format!("{PROVISION} {flag}; code=$?; ls /Library/Apple/usr/libexec/oah 2>/dev/null; exit $code");
    let run = host.with(NO_ROSETTA).sh(&script).code(75);
    assert_eq!(run.out, "", "{run:#?}");
    run.says(if flag.is_empty() { "provision_rosetta" } else { "provision_rosetta_needs_root" });
}

each!(rosetta_is_installed_by_root_when_that_is_agreed_to: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn rosetta_is_installed_by_root_when_that_is_agreed_to(host: Host) {
    let script = format!(
        "{PROVISION} --allow-root --format json | jq -c '.backends[] | [.changed, (.proof | length)]'; ls /Library/Apple/usr/libexec/oah
         {PROVISION} --format json | jq -c '.backends[] | [.changed, ([.plan.steps[].state.state] | unique)]'"
    );
    let run = host.with(NO_ROSETTA).sh(&script).code(0);
    assert_eq!(run.out, "[true,1]\nlibRosettaRuntime\n[false,[\"satisfied\"]]\n", "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_password_is_not_asked_for_without_a_terminal() {
    NIX_2_34
        .with(NO_ROSETTA_ALICE)
        .sh(&format!("{PROVISION} --allow-root"))
        .fails(22, "nixoci::sudo::password")
        .says("provision_password");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn sudo_itself_asks_for_a_password_on_a_terminal() {
    // Each answer is typed when the question is there: as a line, since what is looked for in a file that is being written is lines.
    let script = format!(
        "cd $XDG_CACHE_HOME; mkfifo keys; export NO_COLOR=1 SUDO_PROMPT=$'the password\\n'
         script -qec '{PROVISION} --allow-root; echo ended $?' /dev/null <keys >log & pid=$!; exec 5>keys
         for n in 1 2 3; do [ \"$(grep -m$n -c '^the password' < <(tail -n +1 -f --retry --pid=$pid log 2>/dev/null))\" = $n ] || break; echo wrong >&5; done
         wait $pid; tr -d '\\r' <log >&2; echo $n; grep -o 'ended [0-9]*' log"
    );
    let run = NIX_2_34.with(NO_ROSETTA_ALICE).sh(&script).code(0).out("3\nended 30\n");
    // Nothing is drawn over it.
    assert_eq!(run.err.matches("\nthe password\n").count(), 3, "{run:#?}");
    let said = run.err.rsplit_once("ended ").map(|(said, _)| said.to_owned()).unwrap();
    Run { err: said, ..run }.says("provision_root_fails");
}
