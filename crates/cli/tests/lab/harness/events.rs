//! When something happens: tests wait for it, and are never right or wrong by how long something takes.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use super::host::{Host, Run};

/// Functions for scripts. `/lab/events` is seen by every machine of the lab, and by the builds of every Nix in it.
///
/// - `gate NAME` makes two named pipes. A build with the command of [`held`] says through one that it has begun, and reads from the other.
/// - `begun NAME PID` waits until that build has begun; fails if the process PID ends before.
/// - `go_on NAME` lets it go on.
/// - `line FILE PATTERN PID` waits for a line in a log that is being written by PID, which may not have made it yet; fails if that ends without.
/// - `gone COMMAND…` waits until the command prints nothing, and prints what it prints then: how soon something ends is the affair of a busy
///   machine, that it ends is ours. It looks again and again, since no event tells that a process has ended which is not a child. `GONE` in xtask/tests/hosts/main.rs does so, too.
/// - `ctr_run` is `ctr run --rm`, again where the container ended well and nothing of its output came. `ctr` loses all of it if the container
///   ends before `ctr` has opened the pipe ("fifo-opening state" in containerd's `task.Delete`).
/// - `strike` says to [`struck`] that the moment has come, and returns when the fault has been struck.
pub(crate) const EVENTS: &str = r#"events=/lab/events
gate() { mkfifo -m 666 $events/$1.begun $events/$1.go; }
begun() {
    { read -r _ <$events/$1.begun; } & local reader=$!
    kill -0 $2 2>/dev/null || { kill $reader; return 1; }
    wait -n $2 $reader; kill $reader 2>/dev/null && { wait $reader; return 1; }; return 0
}
go_on() { echo >$events/$1.go; }
line() { grep -m1 -qE -e "$2" < <(tail -n +1 -f --retry --pid=$3 "$1" 2>/dev/null); }
gone() { local n; for n in $(seq 600); do [ -z "$("$@" 2>/dev/null)" ] && break; sleep 0.1; done; echo left:; "$@"; echo end; }
ctr_run() {
    local out n; out=$(mktemp)
    for n in 1 2 3 4 5; do ctr run --rm "$@" >$out || return; [ -s $out ] && break; done
    cat $out
}
strike() { echo >$struck.moment; read -r _ <$struck.done; }
"#;

/// A name that no other test has, in this run of the lab or another one.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a script in which `strike` is called once, and does something to the world at that moment: the script stands still meanwhile.
///
/// If the script ends without having called it, nothing is struck, and the run tells why.
pub(crate) fn struck(host: Host, script: &str, fault: impl FnOnce()) -> Run {
    let pipe = format!("/lab/events/{}", unique("strike"));
    let made = NIX_OF_EVERYONE.sh(&format!("mkfifo -m 666 {pipe}.moment {pipe}.done"));
    assert_eq!(made.code, 0, "{made:#?}");
    let script = format!("struck={pipe}\n{script}");
    let mut waiting = start(&format!("read -r _ <{pipe}.moment"));
    let (ended, first) = mpsc::channel();
    let run = thread::scope(|scope| {
        let script_ended = ended.clone();
        let running = scope.spawn(move || {
            let run = host.sh(&script);
            let _ = script_ended.send(false);
            run
        });
        let waiter = waiting.id();
        scope.spawn(move || {
            let status = waiting.wait().expect("it can be waited for");
            let _ = ended.send(status.success());
        });
        if first.recv().expect("one of them ends") {
            // The script goes on also when the fault could not be struck: it would wait forever.
            let struck = catch_unwind(AssertUnwindSafe(fault));
            assert_eq!(NIX_OF_EVERYONE.sh(&format!("echo >{pipe}.done")).code, 0);
            struck.unwrap_or_else(|why| resume_unwind(why));
        } else {
            end(waiter);
        }
        running.join().expect("the script's thread")
    });
    NIX_OF_EVERYONE.sh(&format!("rm -f {pipe}.moment {pipe}.done"));
    run
}

/// Any host will do.
const NIX_OF_EVERYONE: Host = super::NIX_2_34;

fn start(script: &str) -> Child {
    NIX_OF_EVERYONE
        .command(script)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the lab's program starts")
}

/// Ends a process that we have started.
fn end(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
}

/// The command of a build that says that it has begun, and waits to be told to go on: `gate NAME` is for it.
pub(crate) fn held(name: &str) -> String {
    format!("echo >/lab/events/{name}.begun; read -r _ </lab/events/{name}.go; echo hi > $out")
}
