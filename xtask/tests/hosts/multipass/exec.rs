//! `exec`.

use super::*;

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
