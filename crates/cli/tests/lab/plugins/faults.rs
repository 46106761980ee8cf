//! Faults of plugins: nixoci ends in order, and reports that the plugin is at fault.

use super::{ALICE, NIX_2_34, alone};

/// The mutant, with this fault in this method.
fn mutant(fault: &str, at: &str, script: &str) -> String {
    alone(&format!(
        r#"trust $plugins/libnixoci_backend_mutant.so; fault() {{ config '[backend.mutant]' "fault = '$1'" "at = '$2'"; }}
        fault {fault} {at}
        {script}"#
    ))
}

each!(
    whatever_a_plugin_does_nixoci_says_whose_fault_it_is:
    segv("segv", "build", 70),
    null("null", "build", 70),
    abort("abort", "build", 70),
    exit("exit", "build", 70),
    leaks_a_child("leaks-a-child", "build", 70),
    flood_log("flood-log", "build", 40),
    flood_stdout("flood-stdout", "build", 40),
    twice("twice", "build", 40),
    silent("silent", "offers", 70),
    loops_in_start("loops-in-start", "offers", 70),
    does_not_begin("does-not-begin", "build", 70),
    garbage("garbage", "build", 70),
    other_type("other-type", "build", 70),
    other_status("other-status", "build", 70),
    cancelled("cancelled", "build", 70),
    poses("poses", "build", 70),
    long_event("long-event", "build", 70),
    garbage_event("garbage-event", "build", 70),
    new_event("new-event", "build", 42),
    no_bytes("no-bytes", "build", 70),
    huge("huge", "build", 70),
    closes_all("closes-all", "build", 70),
    short_nar("short-nar", "fetch", 50),
    refuses("refuses", "none", 22),
    refuses_silently("refuses-silently", "none", 70),
);
fn whatever_a_plugin_does_nixoci_says_whose_fault_it_is(fault: &str, at: &str, exit: i32) {
    let script = mutant(
        fault,
        at,
        "nixoci build --backend mutant --no-link -f fine.nix --argstr n $RANDOM; code=$?; gone hosts; exit $code",
    );
    let run = NIX_2_34.with(ALICE).sh(&script).code(exit).out("left:\nend\n");
    assert!(!run.err.contains("panicked"), "{run:#?}");
    run.says(&format!("plugin_{}", fault.replace('-', "_")));
}

each!(
    what_a_plugin_says_moves_no_terminal:
    of_a_terminal(r#"script -qec "nixoci provision --backend mutant --color always </dev/null" /dev/null"#),
    of_a_file("nixoci plan --backend mutant -f fine.nix 2>&1"),
);
fn what_a_plugin_says_moves_no_terminal(command: &str) {
    let script = format!(
        r#"{command} >said; grep -c -e $'\[8m' -e $'\[1A' -e $'\[2K' -e $'Â' said; grep -c 'rm -rf /true' said"#
    );
    NIX_2_34.with(ALICE).sh(&mutant("escapes", "plan", &script)).code(0).out("0\n1\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_step_in_a_state_that_is_not_known_is_a_newer_nixoci_s() {
    let script =
        "nixoci plan --backend mutant -f fine.nix 2>/dev/null | grep -m1 -A1 'later' | grep -v '^nix '";
    let run = NIX_2_34.with(ALICE).sh(&mutant("escapes", "plan", script)).code(0);
    crate::harness::shows("plugin_step_of_a_newer_nixoci", &run.out);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_build_s_failure_is_told_when_the_plugin_that_could_amend_it_dies() {
    let script = r#"echo '{ system, n }: derivation { name = "bad-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo hopeless; exit 1" ]; }' >bad.nix
        nixoci build --backend mutant --no-link -f bad.nix --argstr n $RANDOM"#;
    let run = NIX_2_34.with(ALICE).sh(&mutant("segv", "amend", script));
    run.fails(40, "c-example::build").err("hopeless").warns("plugin_that_dies_when_asked_to_amend");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_flood_of_events_fills_no_memory_and_can_be_stopped() {
    let script = r#"nixoci build --backend mutant --no-link -f fine.nix >/dev/null 2>err & pid=$!
        line err 'remark 0*20000$' $pid || exit 98
        grep VmHWM /proc/$pid/status | awk '{ print ($2 < 150000 ? "small" : $0) }'; kill -INT $pid; wait $pid; echo $?; gone hosts"#;
    let run = NIX_2_34.with(ALICE).sh(&mutant("flood-events", "build", script));
    assert_eq!(run.out, "small\n130\nleft:\nend\n", "{run:#?}");
}
