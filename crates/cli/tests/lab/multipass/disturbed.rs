//! Machines that die, and nixocis that are killed or stopped, in the middle of what they do.

use super::*;
use crate::harness::{image, shows};

each!(a_machine_that_dies_in_the_middle_of_a_build: release(ROOTS), next(ROOTS_NEXT));
fn a_machine_that_dies_in_the_middle_of_a_build(options: &'static [&'static str]) {
    let script = r#"provision >/dev/null 2>&1; gate $vm
        tiny --argstr cmd "$(held $vm)" 2>$log & pid=$!; begun $vm $pid && strike; wait $pid; echo code $?; grep -o 'nixoci explain .*' $log
        echo then >&2; cat $log >&2; tiny 2>/dev/null; echo code $?"#;
    let run = struck(NIX_2_34.with(options), "", script, "die");
    let run = run.code(0).out("code 50\nnixoci explain nixoci::multipass::lost\ncode 42\n");
    // How ssh ends is not ours.
    let start = run.err.find("error: ").unwrap();
    shows("multipass_lost", &without("  because: ", &run.err[start..]));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_that_dies_in_the_middle_of_a_transfer_is_started_and_read_once_more() {
    // The image stops on its way, once, behind its first 300 kB.
    let script = r#"provision >/dev/null 2>&1; build -q -f image.nix -o archive:$log.first && rm -r $XDG_CACHE_HOME/nixoci/images
        gate $vm; export HELD=$log.held
        shim 'case "$*" in *--dump*) echo read >>$HELD.reads; [ -e $HELD ] || { : >$HELD; ssh "$@" | { head -c 300000; echo >/lab/events/$vm.begun; read -r _ </lab/events/$vm.go; cat; }; exit ${PIPESTATUS[0]}; };; esac' ssh
        PATH=$shimmed build -f image.nix -o archive:$log.out 2>$log & pid=$!
        begun $vm $pid && strike; go_on $vm; wait $pid; echo code $?; cat $log >&2; wc -l <$HELD.reads; gone left
        cmp $log.first $log.out && echo whole; rm $log.first $log.out"#;
    let script = image(2_000_000, "arm64") + script;
    let run = struck(NIX_2_34.with(ROOTS), "", &script, "die");
    run.code(0).out("code 0\n2\nleft:\nend\nwhole\n");
}

each!(kill_9_at_any_event_of_a_provisioning_leaves_nothing: release(RELEASE), next(NEXT));
fn kill_9_at_any_event_of_a_provisioning_leaves_nothing(options: &'static [&'static str]) {
    let script =
        "n=1; while signaled KILL $n nixoci provision --backend multipass -y; do n=$((n+n/3+1)); done
        provision >$log 2>&1 || { cat $log; exit 1; }; gone left; tiny";
    let run = NIX_2_34.with(options).sh(&on_plain_image("", script)).fails(42, NOT_AN_IMAGE);
    assert!(run.out.starts_with("code 137\ncode 137\ncode 137\n"), "{run:#?}");
    run.out("left:\nend\n");
}

each!(kill_9_at_any_event_of_a_build_leaves_nothing: release(RELEASE), next(NEXT));
fn kill_9_at_any_event_of_a_build_leaves_nothing(options: &'static [&'static str]) {
    // None of the builds ends by itself, and each has something to send. Each has pipes of its own, as one that was killed may be about to write to them.
    let script = r#"provision >/dev/null 2>&1
        for n in 1 2 3 4 5 6 7; do gate $vm-$n; : >new-$n; signaled KILL $n nixoci build --backend multipass --no-link -f t.nix --argstr n $RANDOM$RANDOM --argstr cmd "$(held $vm-$n)"; done
        gate $vm; nixoci build --backend multipass --no-link -f t.nix --argstr n $RANDOM$RANDOM --argstr cmd "$(held $vm)" >$log 2>&1 & pid=$!
        begun $vm $pid; kill -9 $pid; wait $pid 2>/dev/null; echo code $?
        there() { left; guest 'ls -A /var/lib/nixoci/sources | grep new'; }; gone there; tiny"#;
    let run = NIX_2_34.with(options).sh(&alone("", script)).fails(42, NOT_AN_IMAGE);
    let killed = "code 137\n".repeat(8);
    run.out(&format!("{killed}left:\nend\n"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn ctrl_c_ends_a_build_in_the_guest() {
    let script = r#"provision >/dev/null 2>&1; gate $vm; set -m
        nixoci build --backend multipass --no-link -f t.nix --argstr n $RANDOM --argstr cmd "$(held $vm)" >$log 2>&1 & pid=$!
        begun $vm $pid; kill -INT $pid; wait $pid; echo code $?; gone left"#;
    NIX_2_34.with(RELEASE).sh(&alone("", script)).out("code 130\nleft:\nend\n");
}

each!(ctrl_c_at_any_event_of_a_provisioning_leaves_nothing: release(RELEASE), next(NEXT));
fn ctrl_c_at_any_event_of_a_provisioning_leaves_nothing(options: &'static [&'static str]) {
    let script =
        "set -m; n=1; while signaled INT $n nixoci provision --backend multipass -y; do n=$((n+n/3+1)); done
        provision >$log 2>&1 || cat $log; gone left; tiny";
    let run = NIX_2_34.with(options).sh(&alone("", script)).fails(42, NOT_AN_IMAGE);
    let (codes, rest) = run.out.split_once("left:\n").unwrap();
    assert!(codes.starts_with("code 130\n"), "{run:#?}");
    assert!(codes.lines().all(|code| ["code 130", "code 0"].contains(&code)), "{run:#?}");
    assert_eq!(rest, "end\n", "{run:#?}");
}

/// A hook that waits, once: at the end of the first boot of the guest, or before `apt-get` installs a package.
const FIRST_BOOT: &str = r#"[ "$1" != launch ] || { { cat; echo 'runcmd:'; echo "- echo >/lab/events/$vm.begun; read -r _ </lab/events/$vm.go"; } | multipass "$@"; exit; }"#;
const INSTALLATION: &str = r#"[ "$1" != launch ] || { { cat; echo 'bootcmd:'; echo "- echo 'DPkg::Pre-Invoke { \"[ -e /var/tmp/held ] || { touch /var/tmp/held; echo >/lab/events/$vm.begun; read -r _ </lab/events/$vm.go; }\"; };' >/etc/apt/apt.conf.d/99held"; } | multipass "$@"; exit; }"#;

each!(ctrl_c_in_the_middle_of: the_first_boot(FIRST_BOOT), the_installation_of_nix(INSTALLATION));
fn ctrl_c_in_the_middle_of(held: &str) {
    let script = format!(
        r#"gate $vm; set -m; shim "$(cat <<'END'
{held}
END
)"
        PATH=$shimmed nixoci provision --backend multipass -y >$log 2>&1 & pid=$!
        begun $vm $pid || {{ cat $log; exit 1; }}; kill -INT $pid; wait $pid; echo code $?
        echo >$events/$vm.go & provision >$log 2>&1 || cat $log; kill %% 2>/dev/null; gone left; tiny"#
    );
    let run = NIX_2_34.with(NEXT).sh(&on_plain_image("", &script)).fails(42, NOT_AN_IMAGE);
    run.out("code 130\nleft:\nend\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_that_another_nixoci_launched_first_is_used() {
    // Between the look for a machine and the launch of one, another user of Multipass makes it.
    let script = r#"shim '[ "$1" != launch ] || XDG_STATE_HOME=$(mktemp -d) nixoci provision --trust-project --backend multipass --yes >/dev/null 2>&1 </dev/null'
        PATH=$shimmed tiny"#;
    NIX_2_34.with(RELEASE).sh(&alone("", script)).fails(42, NOT_AN_IMAGE);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn nixocis_that_share_no_lock_wait_for_each_others_first_boot() {
    // Two users of one Multipass: the one that comes later finds a machine that is being set up.
    let script = format!(
        r#"gate $vm; shim "$(cat <<'END'
{FIRST_BOOT}
END
)"
        XDG_STATE_HOME=$(mktemp -d) PATH=$shimmed tiny >$log 2>&1 & first=$!; begun $vm $first || {{ cat $log; exit 1; }}
        tiny >$log.2 2>&1 & second=$!; line $log.2 '^setting the virtual machine up' $second; go_on $vm; wait
        cat $log $log.2 | grep -c 'nixoci explain nixoci::image::not_an_image' || cat $log $log.2"#
    );
    NIX_2_34.with(RELEASE).sh(&alone("", &script)).code(0).out("2\n");
}

/// While an instance is prepared, Multipass lists none, and refuses to launch another.
const PREPARED: &str = r#"[ "$1" != launch ] || [ -e $PREPARED ] || { n=$(cat $PREPARED.n 2>/dev/null || echo 0); echo $((n+1)) >$PREPARED.n; [ $n -lt 3 ] || : >$PREPARED; cat >/dev/null; echo "launch failed: instance \"$4\" is being prepared" >&2; exit 2; }"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_launch_waits_while_another_one_prepares_the_machine() {
    let script = format!(
        "export PREPARED=$(mktemp -u); shim '{PREPARED}'; PATH=$shimmed tiny; code=$?; cat $PREPARED.n; exit $code"
    );
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &script)).fails(42, NOT_AN_IMAGE).out("4\n");
    run.err("waiting for another launch");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_that_is_prepared_for_longer_than_its_timeout_has_its_own_code() {
    let script = r#"shim '[ "$1" != launch ] || { cat >/dev/null; echo "launch failed: instance \"$4\" is being prepared" >&2; exit 2; }'; PATH=$shimmed tiny"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("timeout = 1", script));
    run.fails(30, "nixoci::multipass::preparing").says("multipass_preparing");
}
