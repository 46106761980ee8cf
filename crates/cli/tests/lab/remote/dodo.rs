//! `dodo`, the machine that faults befall: tests that use it run one after the other, since they count what happens on it.

use std::process::Command;

use super::{FLEET, Host, NIX_2_26, NIX_2_34, Run, UNTRUSTING, chain, with};
use crate::harness::{held, image_apart, struck, unique};
use crate::stopping::SLOW;

/// `dodo` says what is there of ours: connections, processes of build users, roots of its garbage collector.
const ON_DODO: &str = r#"export DOCKER_DEFAULT_PLATFORM=linux/amd64 XDG_CONFIG_HOME=$(mktemp -d); mkdir $XDG_CONFIG_HOME/nixoci
machines() { printf '[profile.default]\nbackend = ["remote"]\n[backend.remote]\nbuilders = [%s]\n' "$1" > $XDG_CONFIG_HOME/nixoci/config.toml; }
dodo() { ss -Htn state established '( sport = :32204 )'; pgrep -au $(seq -s, 36500 36507); ssh dodo 'ls .local/state/nixoci/roots 2>/dev/null; true' || echo dodo cannot be looked into; }
"#;

/// Has dodo killed what runs there.
fn fault(what: &str) {
    let lab = std::env::var_os("NIXOCI_LAB").unwrap();
    let output = Command::new(lab).args(["lab", "fault", "dodo", what]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

each!(a_machine_that_trusts_its_user_builds_on_instead: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_machine_that_trusts_its_user_builds_on_instead(host: Host) {
    let others = format!("{UNTRUSTING}, {{ host = 'dodo', speed = 0.1, features = ['big-parallel'] }}");
    host.with(FLEET)
        .sh(&chain(&others))
        .fails(42, "nixoci::image::not_an_image")
        .warns("remote_without_a_machine_that_does_not_trust");
}

each!(kill_9_leaves_nothing_on_a_machine_either: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn kill_9_leaves_nothing_on_a_machine_either(host: Host) {
    let script = format!(
        "{ON_DODO} machines '{{ host = \"dodo\" }}'; {SLOW} slow; in_the_middle; dodo | grep -q . && echo there
         kill -9 $pid; anywhere() {{ left; dodo; }}; gone anywhere"
    );
    host.with(FLEET).sh(&script).code(0).out("there\nleft:\nend\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kill_9_leaves_nothing_on_a_machine_that_nix_chose() {
    // Of several machines, Nix's scheduler chooses.
    let gate = unique("chosen");
    let script = format!(
        r#"{ON_DODO} machines '{{ host = "dodo", speed = 10.0 }}, {{ host = "ant" }}'; gate {gate}; rm nixoci.toml
           nixoci build -f t.nix --argstr n "$RANDOM" --argstr cmd '{}' >/dev/null 2>log & pid=$!
           begun {gate} $pid || {{ cat log; exit 99; }}; dodo | grep -q . && echo there
           kill -9 $pid; anywhere() {{ dodo; pgrep -af "^nix .*$XDG_CACHE_HOME"; }}; gone anywhere"#,
        held(&gate)
    );
    NIX_2_34.with(FLEET).sh(&with("", &script)).code(0).out("there\nleft:\nend\n");
}

/// A line to dodo, at `$port`, that lets 20 MB through and then holds the rest back until the gate `$tag` is opened. `whole` builds
/// the image over it; `read_into` names files in the making.
const LINE: &str = r#"cat > line.py <<'END'
import socket, sys, threading
held = threading.Event()
def pump(source, sink, comes):
    count = 0
    try:
        while data := source.recv(65536):
            count += len(data)
            sink.sendall(data)
            if comes and count > 20000000 and not held.is_set():
                held.set()
                with open(sys.argv[1] + ".begun", "w") as pipe: print("begun", file=pipe)
                with open(sys.argv[1] + ".go") as pipe: pipe.read()
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One end is gone: so is the line.
        for end in (source, sink):
            try: end.shutdown(socket.SHUT_RDWR)
            except OSError: pass
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    client, _ = server.accept()
    machine = socket.create_connection(("127.0.0.1", 32204))
    for way in ((client, machine, False), (machine, client, True)): threading.Thread(target=pump, args=way, daemon=True).start()
END
gate $tag; exec 3< <(exec python3 line.py $events/$tag); line=$!; trap 'kill $line; rm -rf $PWD $XDG_CACHE_HOME' EXIT; read -r port <&3 || exit 99
machines "{ host = \"builder@dodo:$port\" }"
build() { exec nixoci build -q -f image.nix -o archive:$PWD/out.tar; }
in_the_making() { compgen -G "$PWD/.*part"; compgen -G "$XDG_CACHE_HOME/nixoci/images/*part"; }
left() { in_the_making; ls -A $XDG_CACHE_HOME/nixoci/roots; ps -eo pid,args | grep -E "$PWD/out.tar|^ *${dog:-none} " | grep -v -e grep -e defunct; }
anywhere() { left; dodo; }
build >/dev/null 2>log & pid=$!; begun $tag $pid || { cat log; exit 99; }; in_the_making >/dev/null || exit 98
"#;

each!(kill_9_in_the_middle_of_a_transfer_leaves_nothing_and_the_next_run_succeeds: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn kill_9_in_the_middle_of_a_transfer_leaves_nothing_and_the_next_run_succeeds(host: Host) {
    let script = r#"dog=$(pgrep -P $pid -f __watchdog); test -n "$dog" || exit 97
        kill -9 $pid; go_on $tag; gone anywhere; test -e out.tar && echo half
        { (build) && nixoci validate -q out.tar; } >/dev/null && echo whole
        gone dodo"#;
    let run = host.with(FLEET).sh(&format!("{ON_DODO}{}{LINE}{script}", image_apart(60_000_000)));
    run.code(0).out("left:\nend\nwhole\nleft:\nend\n");
}

each!(
    a_machine_that_is_lost_in_the_middle_of_a_build_is_named:
    with_its_sessions("sessions"),
    with_its_daemon("daemon"),
);
fn a_machine_that_is_lost_in_the_middle_of_a_build_is_named(what: &str) {
    lost("{ host = 'dodo' }", what, "")
        .fails(50, "nixoci::nix::connection_lost")
        .says("remote_connection_lost_building");
}

each!(
    another_machine_builds_on_for_one_that_is_lost:
    with_its_sessions("sessions"),
    with_its_daemon("daemon"),
);
fn another_machine_builds_on_for_one_that_is_lost(what: &str) {
    lost("{ host = 'dodo', speed = 10.0 }, { host = 'bee' }", what, "begun $gate $pid && go_on $gate")
        .fails(42, "nixoci::image::not_an_image")
        .err("on ssh-ng://bee")
        .warns("remote_building_on_without_a_machine");
}

/// A build that has begun on dodo when the fault befalls it; and then this.
fn lost(builders: &str, what: &str, then: &str) -> Run {
    let gate = unique("lost");
    let script = format!(
        "gate={gate}; gate $gate; tiny --argstr cmd '{}' 2>err & pid=$!
         begun $gate $pid || {{ cat err; exit 99; }}; strike; {then}
         wait $pid; code=$?; cat err >&2; exit $code",
        held(&gate)
    );
    struck(NIX_2_34.with(FLEET), &with(builders, &script), || fault(what))
}

each!(an_image_is_read_once_more_from_a_machine_that_is_lost_in_the_middle: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn an_image_is_read_once_more_from_a_machine_that_is_lost_in_the_middle(host: Host) {
    // The process that held the image there was killed as well: its root goes after a day.
    let script = r#"strike; go_on $tag; wait $pid; echo code $?; cat log >&2
        ssh dodo 'rm -rf .local/state/nixoci/roots'; gone anywhere; nixoci validate -q out.tar >/dev/null && echo whole"#;
    let script = format!("{ON_DODO}{}{LINE}{script}", image_apart(60_000_000));
    struck(host.with(FLEET), &script, || fault("sessions"))
        .code(0)
        .out("code 0\nleft:\nend\nwhole\n")
        .warns("remote_image_read_once_more");
}
