//! Faults that `lab fault multipass` strikes.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::*;

fn address(vm: &Vm) -> Value {
    vm.info(&[])["ipv4"][0].clone()
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_address_stays_unless_it_is_to_change_at_a_start() {
    let vm = Vm::launch(OLD);
    let before = address(&vm);
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(address(&vm), before);
    vm.fault("ip-change-on-start", "on");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    let second = address(&vm);
    assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    assert_eq!(vm.exec(&["true"]).code, 0);
    let third = address(&vm);
    assert!(before != second && second != third && third != before, "{before} {second} {third}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn no_route_is_every_programs_and_not_the_daemons() {
    let vm = Vm::named(OLD);
    let keys = Keys::new();
    vm.fault("no-route", "on");
    vm.launched_with(&format!("ssh_authorized_keys: [{}]\n", keys.public));
    let login = vm.login();
    let ssh = || keys.run_ssh(&[&ANY_HOST_KEY[..], &[&login, "echo", "hello"]].concat());
    let lost = ssh();
    let address = login.replace("ubuntu@", "");
    let no_route = format!("ssh: connect to host {address} port 22: No route to host");
    assert!(lost.code == 255 && lost.err.trim_end() == no_route, "{lost:?}");
    assert_eq!((vm.state(), &vm.info(&[])["state"]), ("Running".to_owned(), &"Running".into()));
    // Another address does not help.
    vm.fault("ip-change-on-start", "on");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(vm.exec(&["true"]).code, 2);
    vm.fault("ip-change-on-start", "off");
    vm.fault("no-route", "off");
    let login = vm.login();
    let found = keys.run_ssh(&[&ANY_HOST_KEY[..], &[&login, "echo", "hello"]].concat());
    assert_eq!((found.code, &*found.out), (0, "hello\n"), "{found:?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_host_key_changes_once() {
    let vm = Vm::launch(OLD);
    let key = |restart: bool| {
        assert!(!restart || vm.run(&["restart", &vm.name]).code == 0);
        vm.sh("cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub")
    };
    let first = key(false);
    assert_eq!(key(true), first);
    vm.fault("host-key-change", "on");
    assert_eq!(key(false), first);
    let second = key(true);
    assert_ne!(second, first);
    assert_eq!(key(true), second);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_frozen_guest_says_nothing_until_it_goes_on() {
    let vm = Vm::named(OLD);
    let keys = Keys::new();
    vm.launched_with(&format!("ssh_authorized_keys: [{}]\n", keys.public));
    let command = keys.ssh(&[&ANY_HOST_KEY[..], &[&vm.login(), "cat"]].concat());
    let mut session = mac(&[], &command.iter().map(String::as_str).collect::<Vec<_>>())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the lab's program runs");
    let mut to = session.stdin.take().expect("a way in");
    let from = BufReader::new(session.stdout.take().expect("a way out"));
    let (tell, lines) = channel();
    thread::spawn(move || from.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    to.write_all(b"one\n").expect("it reads");
    assert_eq!(lines.recv().as_deref(), Ok("one"));
    vm.fault("freeze", "on");
    to.write_all(b"two\n").expect("it reads");
    // Nothing can come, however long this waits.
    assert_eq!(lines.recv_timeout(Duration::from_millis(500)), Err(RecvTimeoutError::Timeout));
    assert!(session.try_wait().expect("it can be asked").is_none(), "the connection is still there");
    assert_eq!(vm.state(), "Running");
    let info = vm.run(&["info", &vm.name]);
    assert!(info.code == 2 && info.err.contains("'Timeout connecting to 10.232."), "{info:?}");
    let bare = vm.info(&["--no-runtime-information"]);
    assert_eq!(bare["state"], "Running");
    vm.fault("freeze", "off");
    assert_eq!(lines.recv().as_deref(), Ok("two"));
    drop(to);
    assert!(session.wait().expect("it ends").success());
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_frozen_guest_can_be_powered_off() {
    let vm = Vm::launch(OLD);
    vm.fault("freeze", "on");
    assert_eq!(vm.run(&["stop", "--force", &vm.name]).code, 0);
    assert_eq!(vm.exec(&["echo", "awake"]).code, 0);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn info_may_wait_where_the_rest_answers() {
    let vm = Vm::launch(OLD);
    vm.fault("info-waits", "on");
    let info = ["multipass", "info", "--format", "json", &vm.name];
    let mut waits =
        mac(&["--with", OLD], &info).stdout(Stdio::piped()).spawn().expect("the lab's program runs");
    vm.info(&["--no-runtime-information"]);
    assert_eq!(vm.state(), "Running");
    assert!(waits.try_wait().expect("it can be asked").is_none(), "it is not answered yet");
    vm.fault("info-waits", "off");
    let output = waits.wait_with_output().expect("it ends");
    assert!(output.status.success() && text(&output.stdout).contains("10.232."), "{output:?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_unknown_state_ends_with_force() {
    let vm = Vm::launch(OLD);
    vm.fault("unknown-state", "on");
    assert_eq!(vm.state(), "Unknown");
    assert_eq!(vm.run(&["stop", "--force", &vm.name]).code, 0);
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    assert_eq!(vm.state(), "Running");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_guest_that_died_is_stopped_and_can_be_started() {
    let vm = Vm::launch(OLD);
    vm.fault("die", "on");
    assert_eq!(vm.state(), "Stopped");
    assert_eq!(vm.exec(&["true"]).code, 0);
}
