//! A plugin that does not stop is stopped, and nothing of any is left.

use super::{ALICE, NIX_2_34, alone};
use crate::harness::{held, unique};

each!(
    a_plugin_that_does_not_stop_is_stopped:
    silent("silent"),
    spinning("spins"),
);
fn a_plugin_that_does_not_stop_is_stopped(fault: &str) {
    interrupted(fault, 130).warns("plugin_did_not_stop");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_answer_to_the_cancellation_is_read_like_any_other() {
    // It is `null`, and no artifact.
    interrupted("after-cancel", 70).fails(0, "nixoci::plugin::garbled");
}

/// A build by the mutant is interrupted once the fault has been reached.
fn interrupted(fault: &str, code: i32) -> crate::Run {
    let script = format!(
        r#"trust $plugins/libnixoci_backend_mutant.so; config '[backend.mutant]' "fault = '{fault}'"
        gate $tag; export NIXOCI_MUTANT_REACHED=$events/$tag.begun
        nixoci build --backend mutant --no-link -f fine.nix --argstr n $RANDOM >/dev/null & pid=$!
        begun $tag $pid || exit 98; kill -INT $pid; wait $pid; echo $?; gone hosts"#
    );
    let run = NIX_2_34.with(ALICE).sh(&alone(&script));
    assert_eq!(run.out, format!("{code}\nleft:\nend\n"), "{run:#?}");
    run
}

/// A build by a plugin that has begun; `host` is the plugin's process, and `there` names what is left of both.
fn building(then: &str) -> crate::Run {
    let gate = unique("plugin");
    let script = format!(
        r#"trust $plugins/libnixoci_backend_echo.so; gate {gate}
        echo '{{ system }}: derivation {{ name = "{gate}"; inherit system; builder = "/bin/sh"; args = [ "-c" "{}" ]; }}' >slow.nix
        nixoci build --backend echo --no-link -f slow.nix >/dev/null & pid=$!; begun {gate} $pid || exit 98
        there() {{ hosts; pgrep -aP $pid; pgrep -af "[n]ix build.*$XDG_CACHE_HOME"; pgrep -af '^/bin/sh -c .*{gate}'; }}
        host=$(pgrep -P $pid -f plugin-host)
        {then}; wait $pid 2>/dev/null; echo $?; gone there"#,
        held(&gate)
    );
    NIX_2_34.with(ALICE).sh(&alone(&script))
}

each!(
    a_plugin_that_is_killed_in_the_middle_of_a_build_is_named:
    by_a_fault("SEGV"),
    by_force("KILL"),
);
fn a_plugin_that_is_killed_in_the_middle_of_a_build_is_named(signal: &str) {
    let run = building(&format!("kill -{signal} $host"));
    assert_eq!(run.out, "70\nleft:\nend\n", "{run:#?}");
    run.says(&format!("plugin_killed_{}", signal.to_lowercase()));
}

each!(
    nothing_is_left_of_a_plugin_when_nixoci:
    is_interrupted_while_the_plugin_is_stopped("kill -STOP $host; kill -INT $pid", 130),
    is_interrupted("kill -INT $pid", 130),
    is_killed("kill -9 $pid", 137),
);
fn nothing_is_left_of_a_plugin_when_nixoci(then: &str, code: i32) {
    let run = building(then);
    assert_eq!(run.out, format!("{code}\nleft:\nend\n"), "{run:#?}");
    // A plugin that stops when it is asked is not said to have been ended.
    assert_eq!(run.err.contains("warning:"), then.contains("STOP"), "{run:#?}");
}
