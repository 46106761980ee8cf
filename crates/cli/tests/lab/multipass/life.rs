//! From nothing to a container, off and on again, and gone.

use super::*;
use crate::harness::shows;

each!(from_nothing_to_a_container_and_then_nothing_is_moved: release(RELEASE), next(NEXT));
fn from_nothing_to_a_container_and_then_nothing_is_moved(options: &'static [&'static str]) {
    let script = r#"cp $here/examples/layered/default.nix .
        steps() { nixoci plan --backend multipass -f default.nix --format json | jq -r '.. | .provision? // empty | .steps[].state.state'; }
        echo before; steps
        build -f default.nix --load=docker --progress-fd 3 3>$log.events 2>$log || { cat $log; exit 1; }
        jq -r 'select(.kind == "provision") | .title' $log.events | sed "s/$vm/VM/"
        echo after; steps
        build -f default.nix --load=docker --format json --progress-fd 3 3>$log.events 2>$log >$log.json || { cat $log; exit 1; }
        echo again; jq -c 'select(.kind == "provision" or .kind == "build" or (.text // "" | startswith("sent")))' $log.events
        jq -c '.. | .fetchedBytes? // empty' $log.json; docker run --rm $(jq -r '[.. | .reference? // empty][0]' $log.json)
        provision --stop 2>/dev/null; state
        build -q -f default.nix --no-link && guest 'echo awake again'
        provision --remove 2>/dev/null; multipass list | grep $vm || echo removed"#;
    let run = NIX_2_34.with(options).sh(&on_plain_image("", script)).code(0);
    let (plans, rest) = run.out.split_once("again\n").unwrap();
    let titles = "launching the virtual machine VM\nsetting the virtual machine up\n";
    assert!(plans.contains(titles), "{run:#?}");
    let (before, after) = plans.split_once(titles).unwrap();
    assert_eq!(before.matches("pending").count(), 2, "{run:#?}");
    assert!(after.ends_with("after\nsatisfied\nsatisfied\n"), "{run:#?}");
    assert!(rest.starts_with("0\nHello, world!\n"), "{run:#?}");
    run.out("Stopped\n").out("awake again").out("removed\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn plans_before_and_after() {
    let script = r#"plan() { nixoci plan --backend multipass -f t.nix --argstr n 1 2>/dev/null | sed "s/$vm/VM/g; s,$PWD,DIR,"; }
        plan; provision >/dev/null 2>&1; echo; echo made:; plan; provision --stop 2>/dev/null; echo; echo stopped:; plan; multipass list | grep $vm | sed "s/$vm/VM/" | tr -s ' '"#;
    let run = NIX_2_34.with(RELEASE).sh(&on_plain_image("", script)).code(0);
    shows("multipass_plans", &run.out);
}

each!(a_machine_in_this_state_is_made_to_build:
    suspended(RELEASE, "multipass suspend $vm >/dev/null"),
    suspended_1_17(NEXT, "multipass suspend $vm >/dev/null"),
    stopped(RELEASE, "multipass stop $vm >/dev/null"),
    stopped_1_17(NEXT, "multipass stop $vm >/dev/null"),
    deleted(RELEASE, "multipass delete $vm"),
    deleted_1_17(NEXT, "multipass delete $vm"),
);
fn a_machine_in_this_state_is_made_to_build(options: &'static [&'static str], how: &str) {
    let script = format!(
        r#"provision >/dev/null 2>&1; {how}; state
        nixoci plan --backend multipass -f t.nix --argstr n 1 --format json | jq -r '.. | .commands? // empty | .[]' | grep -o recover
        tiny --progress-fd 3 3>$log; code=$?; jq -r 'select(.type == "started" and .kind == "provision") | .title' $log | sed "s/$vm/VM/"; state; exit $code"#
    );
    let run = NIX_2_34.with(options).sh(&alone("", &script)).fails(42, NOT_AN_IMAGE);
    assert_eq!(run.out.contains("recover"), how.contains("delete"), "{run:#?}");
    run.out("starting the virtual machine VM\nRunning\n");
}

each!(a_machine_in_an_unknown_state_is_switched_off_and_on: release(ROOTS), next(ROOTS_NEXT));
fn a_machine_in_an_unknown_state_is_switched_off_and_on(options: &'static [&'static str]) {
    let script = "provision >/dev/null 2>&1; strike; tiny";
    let run = struck(NIX_2_34.with(options), "", script, "unknown-state").fails(42, NOT_AN_IMAGE);
    run.warns("multipass_switched_off_and_on").err("starting the virtual machine");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn two_at_once_make_one_machine() {
    // The first one launches when the second one waits for it.
    let script = r#"gate $vm; shim "[ \$1 != launch ] || { echo >$events/$vm.begun; read -r _ <$events/$vm.go; }"
        PATH=$shimmed tiny --progress-fd 3 3>$log.events >$log 2>&1 & first=$!; begun $vm $first || exit 1
        tiny --progress-fd 3 3>$log.events2 >$log.2 2>&1 & second=$!; line $log.2 '^waiting for another nixoci' $second; go_on $vm
        wait; cat $log $log.2 | grep -c 'nixoci explain nixoci::image::not_an_image'
        cat $log.events $log.events2 | jq -r 'select(.type == "started" and .kind == "provision") | .title' | sed "s/$vm/VM/""#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).code(0);
    assert_eq!(run.out, "2\nlaunching the virtual machine VM\nsetting the virtual machine up\n", "{run:#?}");
}

each!(stopping_a_machine_that_cannot_be_looked_into_stops_it:
    unknown_state("unknown-state"), no_route("no-route"));
fn stopping_a_machine_that_cannot_be_looked_into_stops_it(knob: &str) {
    let script = "provision >/dev/null 2>&1; strike; provision --stop; code=$?; state; exit $code";
    struck(NIX_2_34.with(ROOTS), "", script, knob).code(0).out("Stopped\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn smaller_settings_are_reported_once_and_change_nothing() {
    let script = r#"provision >/dev/null 2>&1; sed -i 's/^memory.*/memory = "1G"/' nixoci.toml; provision; multipass get local.$vm.memory"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).code(0).out("2.0GiB\n");
    run.warns("multipass_smaller_settings");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn stopping_what_is_deleted_or_not_there_is_no_failure() {
    let script = "provision >/dev/null 2>&1; multipass delete $vm; provision --stop; multipass delete -p $vm; provision --stop";
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).code(0);
    shows("multipass_stop_of_nothing", &run.err);
}
