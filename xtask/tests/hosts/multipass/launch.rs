//! `launch`, and what a first boot does.

use super::*;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_client_that_gives_up_leaves_the_launch_to_the_daemon() {
    let vm = Vm::named(OLD);
    let (begun, go) = (Pipe::new(&vm, "begun"), Pipe::new(&vm, "go"));
    let held = format!("runcmd:\n- echo > {}; read -r _ < {}\n", begun.0, go.0);
    let words = ["multipass", "launch", "-n", &vm.name, "--timeout", "1", "--cloud-init", "-"];
    let said = run_with_input(&["--with", OLD], &words, held.as_bytes());
    assert!(said.code == 5 && said.err == "Timed out waiting for instance launch.\n", "{said:?}");
    begun.wait();
    go.write();
    // How far it got in that second is the machine's affair.
    assert_ne!(vm.state(), "absent");
    assert_eq!(vm.run(&["stop", "--force", &vm.name]).code, 0);
    assert_eq!(vm.exec(&["true"]).code, 0);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_initialization_that_takes_too_long_leaves_an_instance_that_works() {
    let slow = Vm::named(NEW);
    slow.fault("init-timeout", "on");
    let said = slow.run(&["launch", "-n", &slow.name]);
    let why =
        "launch failed: The following errors occurred:\ntimed out waiting for initialization to complete\n";
    assert_eq!((said.code, &*said.err), (2, why));
    assert_eq!((slow.state(), slow.exec(&["true"]).code), ("Running".to_owned(), 0));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_guest_that_does_not_answer_is_in_an_unknown_state_until_it_is_stopped() {
    let mute = Vm::named(OLD);
    mute.fault("response-timeout", "on");
    let said = mute.run(&["launch", "-n", &mute.name]);
    let why = format!(
        "launch failed: The following errors occurred:\n{}: timed out waiting for response\n",
        mute.name
    );
    assert_eq!((said.code, said.err), (2, why));
    assert_eq!(mute.state(), "Unknown");
    assert_eq!(mute.exec(&["true"]).err, "exec failed: Cannot retrieve credentials in unknown state\n");
    let again = mute.run(&["start", &mute.name]);
    let unknown = "is already running, but in an unknown state.\nTry to stop it first.";
    assert!(again.code == 2 && again.err.contains(unknown), "{again:?}");
    mute.fault("response-timeout", "off");
    assert_eq!(mute.run(&["stop", "--force", &mute.name]).code, 0);
    assert_eq!(mute.exec(&["true"]).code, 0);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_cloud_init_fails_at_is_launched_all_the_same() {
    let vm = Vm::named(NEW);
    let said = run_with_input(
        &["--with", NEW],
        &["multipass", "launch", "-n", &vm.name, "--cloud-init", "-"],
        b"packages: [no-such-package]\nruncmd:\n- echo done > /tmp/done\n",
    );
    assert!(said.code == 0 && said.out.ends_with(&format!("Launched: {} in zone1\n", vm.name)), "{said:?}");
    let status = vm.exec(&["cloud-init", "status", "--long"]);
    assert!(status.code == 1 && status.out.starts_with("status: error\n"), "{status:?}");
    assert_eq!(vm.sh("cat /tmp/done"), "done\n");
    let raw = vm.run(&["info", "--format", "json", &vm.name]).out;
    assert!(raw.contains("\"zone\": {\n                \"name\": \"zone1\",\n"), "{raw}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_user_data_does_early_is_done_before_anybody_can_log_in() {
    let vm = Vm::named(OLD);
    let (begun, go) = (Pipe::new(&vm, "begun"), Pipe::new(&vm, "go"));
    let data = format!("bootcmd:\n- echo > {}; read -r _ < {}; echo here > /etc/early\n", begun.0, go.0);
    let mut launch = mac(&["--with", OLD], &["multipass", "launch", "-n", &vm.name, "--cloud-init", "-"]);
    let mut launch = launch.stdin(Stdio::piped()).spawn().expect("the lab's program runs");
    launch.stdin.take().expect("a way in").write_all(data.as_bytes()).expect("it reads");
    begun.wait();
    assert_eq!(vm.state(), "Starting");
    go.write();
    assert!(launch.wait().expect("it can be waited for").success());
    assert_eq!(vm.sh("cat /etc/early"), "here\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn user_data_that_is_no_mapping_is_refused() {
    let bad = run_with_input(
        &["--with", OLD],
        &["multipass", "launch", "--cloud-init", "-"],
        b"#!/bin/sh\necho not a mapping\n",
    );
    assert!(bad.code == 1 && bad.err.contains("Could not load cloud-init configuration: "), "{bad:?}");
}
