//! Nothing keeps running and nothing half written stays, however nixoci ends.

use crate::{NEW, OLD};

/// A build that says when it has begun, and then takes longer than any test. `$mark` names it among processes.
const SLOW: &str = "cd $(mktemp -d); mark=$RANDOM$RANDOM; cat > default.nix <<END
{ system }: (import <nixpkgs> { inherit system; }).runCommand \"slow-$mark\" { } \"echo begun; while true; do sleep 0.$mark; done\"
END
nixoci build -L -f default.nix -o archive:$PWD/out.tar >/dev/null 2>log & pid=$!
for n in $(seq 100); do grep -q begun log && break; sleep 0.1; done; grep -q begun log || { cat log; exit 99; }
dog=$(pgrep -P $(pgrep -nf \"^nixoci build .*$PWD/out.tar\") -f __watchdog); test -n \"$dog\" || exit 98
left() { ps -eo pid,args | grep -E \"slow-$mark|sleep 0.$mark|$PWD/out.tar|^ *$dog \" | grep -v grep; ls -A | grep -vE '^(default.nix|log)$'; }
";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kill_9_in_the_middle_of_a_build_leaves_nothing() {
    for host in [OLD, NEW, OLD.with(&["--user", "alice"]), NEW.with(&["--user", "alice"])] {
        let run = host.sh(&format!("{SLOW} kill -9 $pid; sleep 2; echo left:; left; echo end"));
        run.code(0).out("left:\nend\n");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn signals_stop_gracefully_with_their_exit_codes() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 143)] {
        for host in [OLD, NEW] {
            // A background job of a script ignores SIGINT from its birth; `kill` from outside is what a terminal does.
            let slow = SLOW
                .replace("\nnixoci build", "\nsetsid -w env --default-signal=INT nixoci build")
                .replace("pid=$!", "sleep 1; pid=$(pgrep -nf \"^nixoci build .*$PWD/out.tar\")");
            let run = host.sh(&format!(
                "{slow} kill -{signal} $pid; wait %1; echo code $?; echo left:; left; echo end"
            ));
            run.code(0).out(&format!("code {code}\n")).out("left:\nend\n");
        }
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_time_limit_stops_the_build() {
    let slow = SLOW.replace("-L -f", "--timeout 3s -L -f");
    NEW.sh(&format!("{slow} wait $pid; echo code $?; echo left:; left; echo end"))
        .code(0)
        .out("code 124\n")
        .out("left:\nend\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_reader_that_goes_away_is_no_error() {
    NEW.sh("nixoci explain | head -1; echo ${PIPESTATUS[0]}").code(0).out("0\n");
}
