//! Machines that nixoci has not made are left as they are.

use super::*;

const NOT_OURS: &str = "nixoci::multipass::not_ours";
/// A machine of somebody else's.
const THEIRS: &str = "multipass launch -n $vm -m 1G -d 6G >/dev/null 2>&1";

each!(somebody_elses_machine_is_not_built_in:
    running(":", "Running"), stopped("multipass stop $vm >/dev/null", "Stopped"));
fn somebody_elses_machine_is_not_built_in(how: &str, state: &str) {
    let script = format!("{THEIRS}; {how}; tiny; code=$?; state; exit $code");
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &script)).fails(20, NOT_OURS);
    run.out(&format!("{state}\n")).says("multipass_not_ours");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn somebody_elses_deleted_machine_is_not_built_in() {
    let run = NIX_2_34
        .with(RELEASE)
        .sh(&alone("", &format!("{THEIRS}; multipass delete $vm; tiny; code=$?; state; exit $code")));
    run.fails(20, "nixoci::multipass::deleted").out("Deleted\n").says("multipass_deleted");
}

each!(somebody_elses_machine_is_not_put_away: remove("--remove"), stop("--stop"));
fn somebody_elses_machine_is_not_put_away(how: &str) {
    let script = format!("{THEIRS}; provision {how}; code=$?; state; exit $code");
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &script)).code(0).out("Running\n");
    crate::harness::shows("multipass_none_made", &run.err);
}

each!(a_machine_that_took_the_name_of_ours_stays_as_it_was_found:
    running(":", "Running"),
    stopped("multipass stop $vm >/dev/null", "Stopped"),
    suspended("multipass suspend $vm >/dev/null", "Suspended"),
    deleted("multipass delete $vm", "Deleted"),
);
fn a_machine_that_took_the_name_of_ours_stays_as_it_was_found(how: &str, state: &str) {
    let script = format!(
        "provision >/dev/null 2>&1; multipass delete -p $vm; {THEIRS}; {how}
        provision --remove; code=$?; tiny >/dev/null 2>&1; echo built $?; state; exit $code"
    );
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &script)).fails(20, NOT_OURS);
    run.out(&format!("built 20\n{state}\n"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn another_nixocis_machine_of_the_same_name_is_neither_stopped_nor_removed_nor_enlarged() {
    let script = r#"provision >/dev/null 2>&1; multipass delete -p $vm; XDG_STATE_HOME=$(mktemp -d) provision >/dev/null 2>&1
        provision --stop 2>&1 | grep -o not_ours; provision --remove; code=$?; state
        sed -i 's/^memory.*/memory = "3G"/' nixoci.toml; provision 2>&1 | grep -o not_ours; multipass get local.$vm.memory
        sed -i 's/"id":"[^"]*"/"id":""/' $XDG_STATE_HOME/nixoci/multipass/$vm/receipt.json; provision --remove >/dev/null 2>&1; multipass list | grep $vm || echo removed; exit $code"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).fails(20, NOT_OURS);
    run.out("not_ours\nRunning\nnot_ours\n2.0GiB\nremoved\n").says("multipass_another_id");
}

each!(ones_own_machine_is_removed_when_it_is: stopped("stop"), deleted("delete"));
fn ones_own_machine_is_removed_when_it_is(how: &str) {
    let script = format!(
        "provision >/dev/null 2>&1; multipass {how} $vm >/dev/null; provision --remove; code=$?; multipass list | grep $vm; exit $code"
    );
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &script)).code(0);
    assert!(!run.out.contains("Stopped") && !run.out.contains("Deleted"), "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_launch_that_was_stopped_before_there_was_a_machine_leaves_nothing_to_take_anothers_for() {
    let script = format!(
        r#"gate $vm; set -m; shim '[ "$1" != launch ] || {{ echo >/lab/events/$vm.begun; read -r _ </lab/events/$vm.go; exit 1; }}'
        PATH=$shimmed nixoci provision --backend multipass -y >/dev/null 2>&1 & pid=$!; begun $vm $pid; kill -INT $pid; wait $pid; echo code $?
        ls $XDG_STATE_HOME/nixoci/multipass | sed "s/$vm/VM/"; {THEIRS}; provision --remove; state"#
    );
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &script)).code(0);
    assert_eq!(run.out, "code 130\nVM.lock\nRunning\n", "{run:#?}");
}
