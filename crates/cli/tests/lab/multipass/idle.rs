//! A machine that nobody uses switches itself off.
//!
//! Time is the test's: in the guest, `sleep` of the program that looks whether it is idle waits for a tick.

use super::*;

/// `ticking` puts the clock into the guest, `tick` has the program look once more, `long_ago` makes the last use hours ago. A tick is
/// taken when the look before it is over. The answer to each tick keeps it apart from the next one: a pipe that is opened while its last user still
/// has it open loses a line, or ends its reader.
const CLOCK: &str = r##"ticking() {
    mkfifo -m 666 $events/$vm.tick $events/$vm.taken
    multipass exec -n $vm -- sudo sh -c 'cat >/usr/local/sbin/sleep; chmod 755 /usr/local/sbin/sleep; systemctl restart nixoci-idle.service' <<END
#!/bin/sh
grep -q nixoci/idle /proc/\$PPID/cmdline || exec /usr/bin/sleep "\$@"
read -r _ <$events/$vm.tick; echo >$events/$vm.taken
END
}
tick() { echo >$events/$vm.tick; read -r _ <$events/$vm.taken; }
long_ago() { guest 'sudo touch -d "3 hours ago" /run/nixoci/used'; }
running() { multipass info --no-runtime-information --format json $vm | grep '"Running"'; }
"##;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_idle_machine_switches_itself_off_and_a_build_starts_it() {
    // The look after the second tick may be late, and find what the one after the third is to find: then nothing takes the third.
    let script = format!(
        r#"{CLOCK} provision >/dev/null 2>&1; ticking; tick; tick; state
        long_ago; tick & gone running; kill $! 2>/dev/null; state
        tiny --progress-fd 3 3>$log; code=$?; jq -r 'select(.type == "started" and .kind == "provision") | .title' $log | sed "s/$vm/VM/"; exit $code"#
    );
    let run = NIX_2_34.with(RELEASE).sh(&alone("idle = '2h'", &script)).fails(42, NOT_AN_IMAGE);
    assert_eq!(run.out, "Running\nleft:\nend\nStopped\nstarting the virtual machine VM\n", "{run:#?}");
}

each!(a_machine_in_use_is_not_idle:
    shell("nixoci shell --backend multipass -- sh"),
    build("build_reads"),
);
fn a_machine_in_use_is_not_idle(how: &str) {
    // When the third tick is taken, two looks are over, each of which found that the last use was hours ago.
    let ticks = "for n in 1 2; do long_ago; tick; done; tick; state";
    let script = if how.starts_with("nixoci shell") {
        format!(
            r#"{CLOCK} provision >/dev/null 2>&1; ticking; gate $vm
            {how} -c "echo \$USER; echo >$events/$vm.begun; read -r _ <$events/$vm.go; echo still" & pid=$!
            begun $vm $pid; {ticks}; go_on $vm; wait $pid"#
        )
    } else {
        format!(
            r#"{CLOCK} provision >/dev/null 2>&1; ticking; gate $vm
            tiny --argstr cmd "$(held $vm)" >$log 2>&1 & pid=$!
            begun $vm $pid; {ticks}; go_on $vm; wait $pid; [ $? = 42 ] && echo ubuntu; grep -q not_an_image $log && echo still"#
        )
    };
    let run = NIX_2_34.with(RELEASE).sh(&alone("idle = '2h'", &script)).code(0);
    for word in ["ubuntu\n", "Running\n", "still\n"] {
        assert!(run.out.contains(word), "no `{word}` in {run:#?}");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_without_a_limit_runs_on_and_a_shell_ends_with_its_commands_code() {
    let script = "provision >/dev/null 2>&1; guest 'systemctl is-enabled nixoci-idle'; nixoci shell --backend multipass -- sh -c 'exit 7'";
    NIX_2_34.with(RELEASE).sh(&alone("idle = '0s'", script)).code(7).out("disabled\n");
}
