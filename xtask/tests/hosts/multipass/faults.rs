//! Faults that `lab fault multipass` strikes.

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
    assert_ne!(address(&vm), before);
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
