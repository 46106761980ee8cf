//! `exec`.

use std::io::Read;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::*;

const MIB: usize = 1 << 20;

each!(exec_keeps_words_apart: old(OLD), new(NEW));
fn exec_keeps_words_apart(with: &'static str) {
    let vm = Vm::launch(with);
    let odd = ["printf", "%s|", "a  b", "", "$HOME", "it's", "x\ny", "\\", "*", "ü"];
    assert_eq!(vm.exec(&odd).out, "a  b||$HOME|it's|x\ny|\\|*|ü|");
    // A word that looks like an assignment is one.
    assert_eq!(vm.exec(&["FOO=bar", "printenv", "FOO"]).out, "bar\n");
    assert_eq!(vm.run(&["exec", "-d", "/usr/share", &vm.name, "--", "pwd"]).out, "/usr/share\n");
    // With a directory, sudo's words are one text, and split anew.
    let resplit = vm.run(&["exec", "-d", "/", &vm.name, "--", "sudo", "echo", "a  b"]);
    assert_eq!(resplit.out, "a b\n");
}

each!(exec_passes_streams_and_codes_through: old(OLD), new(NEW));
fn exec_passes_streams_and_codes_through(with: &'static str) {
    let vm = Vm::launch(with);
    assert_eq!(vm.exec(&["exit", "33"]).code, 33);
    assert_eq!(vm.exec(&["sh", "-c", "kill -KILL $$"]).code, 255);
    // The parent is the guest's end of the connection. A line of input means that the client has begun to pass streams on.
    let lost = "read -r _; kill -KILL $PPID; exec sleep infinity";
    let lost = ["multipass", "exec", "-n", &vm.name, "--", "sh", "-c", lost];
    assert_eq!(run_with_input(&["--with", with], &lost, b"go\n").code, 255);
    let both = vm.exec(&["sh", "-c", "echo out; echo err >&2; tty"]);
    assert_eq!((&*both.out, &*both.err, both.code), ("out\nnot a tty\n", "err\n", 1));
    let cat = ["multipass", "exec", "-n", &vm.name, "--", "cat"];
    let echoed = run_with_input(&["--with", with], &cat, b"a\xfe\n");
    assert_eq!(echoed.code, 0);
    // A terminal there takes one on both sides here.
    let terminal = format!("multipass exec -n {} -- tty", vm.name);
    let there = run(&["--with", with], &["script", "-qec", &terminal, "/dev/null"]);
    assert!(there.out.contains("/dev/pts/"), "{there:?}");
}

each!(exec_without_a_route_has_a_code_that_others_have_too: old(OLD, 2), new(NEW, 255));
fn exec_without_a_route_has_a_code_that_others_have_too(with: &'static str, unreachable: i32) {
    let vm = Vm::launch(with);
    vm.fault("no-route", "on");
    let lost = vm.exec(&["true"]);
    assert_eq!(lost.err, "exec failed: ssh connection failed: 'Failed to connect: No route to host'\n");
    assert_eq!(lost.code, unreachable);
    assert_eq!(vm.state(), "Running");
    vm.fault("no-route", "off");
    assert_eq!(vm.exec(&["true"]).code, 0);
}

each!(exec_starts_what_is_stopped_and_its_spinner_is_in_the_way: old(OLD), new(NEW));
fn exec_starts_what_is_stopped_and_its_spinner_is_in_the_way(with: &'static str) {
    let vm = Vm::launch(with);
    assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    let started = vm.exec(&["echo", "hello"]);
    let text = &started.out;
    assert!(started.code == 0 && text.contains("Starting ") && text.ends_with("hello\n"), "{started:?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_4_is_the_code_4_for_the_new_one() {
    assert_eq!(Vm::launch(NEW).exec(&["exit", "4"]).code, 4);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_4_is_tried_again_forever_by_the_old_one() {
    let old = Vm::launch(OLD);
    let count = "echo x >> /tmp/count; test $(wc -l < /tmp/count) -ge 3 || exit 4; exit 5";
    assert_eq!(old.exec(&["sh", "-c", count]).code, 5);
    assert_eq!(old.sh("wc -l < /tmp/count"), "3\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_remote_command_outlives_its_client() {
    let vm = Vm::launch(OLD);
    let (begun, go, done) = (Pipe::new(&vm, "begun"), Pipe::new(&vm, "go"), Pipe::new(&vm, "done"));
    let script = format!("echo > {}; read -r _ < {}; echo > {}", begun.0, go.0, done.0);
    let mut client = mac(&["--with", OLD], &["multipass", "exec", "-n", &vm.name, "--", "sh", "-c", &script])
        .stdin(Stdio::null())
        .spawn()
        .expect("the lab's program runs");
    begun.wait();
    client.kill().expect("it can be killed");
    client.wait().expect("it can be waited for");
    // No terminal, no hangup: it reads, and goes on.
    go.write();
    done.wait();
}

each!(exec_carries_small_streams_whole: old(OLD), new(NEW));
fn exec_carries_small_streams_whole(with: &'static str) {
    let vm = Vm::launch(with);
    let count = ["multipass", "exec", "-n", &vm.name, "--", "wc", "-c"];
    for size in [0, 1, 4096, 4097, MIB] {
        let said = run_with_input(&["--with", with], &count, &vec![b'x'; size]);
        assert_eq!((said.code, said.out), (0, format!("{size}\n")));
    }
    assert_eq!(vm.exec(&["wc", "-c"]).out, "0\n", "/dev/null ends at once");
}

/// libssh takes a window of zero bytes for the end of input. A guest that reads fast enough may never let the window get there: then this
/// tries again.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn exec_cuts_input_beyond_the_window_and_exits_with_0() {
    let vm = Vm::launch(OLD);
    let count = ["multipass", "exec", "-n", &vm.name, "--", "wc", "-c"];
    let input = vec![b'x'; 16 * MIB];
    let arrived = loop {
        let said = run_with_input(&["--with", OLD], &count, &input);
        assert_eq!((said.code, &*said.err), (0, ""));
        let arrived: usize = said.out.trim().parse().expect("a number");
        if arrived < input.len() {
            break arrived;
        }
    };
    assert!(arrived >= 2 * MIB, "{arrived}");
}

/// libssh 0.11.0 to 0.11.3 writes one piece of what is buffered, and forgets the rest until more comes. Nothing more comes when the window
/// is used up. As this test cannot see the window it may begin to read too early: then it tries again.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn exec_gets_stuck_when_its_output_is_not_read_for_a_moment() {
    let vm = Vm::launch(OLD);
    while !gets_stuck(&vm) {}
}

/// Whether a command that writes 16 MiB is still there, has written no more, and nothing of it comes.
fn gets_stuck(vm: &Vm) -> bool {
    let size = 16 * MIB;
    let begun = Pipe::new(vm, "begun");
    let script = format!("echo $$ > /tmp/pid; echo > {}; exec head -c {size} /dev/zero", begun.0);
    let command = ["multipass", "exec", "-n", &vm.name, "--", "sh", "-c", &script];
    let mut client = mac(&["--with", OLD], &command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the lab's program runs");
    begun.wait();
    // How many bytes it has written, if it is still there.
    let written = || {
        let io = vm.exec(&["sh", "-c", "cat /proc/$(cat /tmp/pid)/io"]).out;
        io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok())
    };
    // Without a reader it writes until the window is used up.
    let mut before = None;
    let full = loop {
        let now = written();
        if now == before && now > Some(0) {
            break now;
        }
        before = now;
    };
    let mut from = client.stdout.take().expect("a way out");
    let (tell, pieces) = channel();
    thread::spawn(move || {
        let mut piece = vec![0; MIB];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let _ = tell.send(length);
        }
    });
    // If it is stuck, nothing comes however long this waits.
    let mut arrived = 0;
    while let Ok(length) = pieces.recv_timeout(Duration::from_secs(2)) {
        arrived += length;
    }
    let runs = client.try_wait().expect("it can be asked").is_none();
    let stuck = runs && arrived < size && written() == full;
    let _ = client.kill();
    client.wait().expect("it ends");
    stuck
}
