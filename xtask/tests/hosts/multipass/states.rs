//! States, names and settings of instances.

use super::*;

fn refused(vm: &Vm, words: &[&str]) -> (i32, String) {
    let said = vm.run(words);
    (said.code, said.err)
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_name_is_taken_as_long_as_its_instance_is_not_purged() {
    let vm = Vm::launch(OLD);
    let taken = format!("launch failed: instance \"{}\" already exists\n", vm.name);
    let again = ["launch", "-n", &vm.name];
    assert_eq!(refused(&vm, &again), (2, taken.clone()));
    assert_eq!(vm.run(&["delete", &vm.name]).code, 0);
    assert_eq!(vm.state(), "Deleted");
    assert_eq!(refused(&vm, &again), (2, taken));
    assert_eq!(vm.run(&["delete", "--purge", &vm.name]).code, 0);
    assert_eq!(vm.state(), "absent");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_is_deleted_can_be_recovered_and_not_started() {
    let vm = Vm::launch(OLD);
    assert_eq!(vm.run(&["delete", &vm.name]).code, 0);
    let deleted = format!(
        "start failed: instance(s) missing\nInstance '{}' is deleted. Use 'recover' to recover it or 'purge' to permanently delete it.\n",
        vm.name
    );
    assert_eq!(refused(&vm, &["start", &vm.name]), (2, deleted));
    assert_eq!(vm.run(&["recover", &vm.name]).code, 0);
    assert_eq!(vm.run(&["recover", &vm.name]).code, 0, "twice is no failure");
    assert_eq!(vm.state(), "Stopped");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn starting_and_stopping_twice_is_no_failure() {
    let vm = Vm::launch(OLD);
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    assert_eq!(vm.state(), "Stopped");
    let stopped = vm.info(&[]);
    assert_eq!((&stopped["state"], &stopped["memory"]), (&"Stopped".into(), &serde_json::json!({})));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_disk_grows_while_its_instance_is_stopped_and_never_shrinks() {
    let vm = Vm::launch(OLD);
    let grow = format!("local.{}.disk=6G", vm.name);
    let running = format!(
        "set failed: Cannot update instance settings; instance: {}; reason: Instance must be stopped for modification\n",
        vm.name
    );
    assert_eq!(refused(&vm, &["set", &grow]), (2, running));
    assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    assert_eq!(vm.run(&["set", &grow]).code, 0);
    assert_eq!(vm.run(&["get", &format!("local.{}.disk", vm.name)]).out, "6.0GiB\n");
    let shrink = format!("local.{}.disk=5G", vm.name);
    let only_expanded = format!("set failed: Invalid setting '{shrink}': Disk can only be expanded\n");
    assert_eq!(refused(&vm, &["set", &shrink]), (2, only_expanded));
    let memory = |with: &'static str, size: &str| {
        let pair = format!("local.{}.memory={size}", vm.name);
        let said = run(&["--with", with], &["multipass", "set", &pair]);
        (said.code, said.err.replace(&format!("set failed: Invalid setting '{pair}': "), ""))
    };
    let less = |least: &str| (2, format!("Memory less than {least} minimum not allowed\n"));
    assert_eq!(memory(OLD, "127M"), less("128M"));
    assert_eq!(memory(OLD, "128M"), (0, String::new()));
    assert_eq!(memory(NEW, "511M"), less("512M"));
    assert_eq!(memory(NEW, "512M"), (0, String::new()));
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    let size = vm.sh("df -B1 --output=size / | tail -n 1");
    assert!(size.trim().parse::<u64>().expect("a number") > 6_000_000_000, "{size}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_is_suspended_is_started_and_not_stopped() {
    let vm = Vm::launch(OLD);
    assert_eq!(vm.run(&["suspend", &vm.name]).code, 0);
    assert_eq!(vm.state(), "Suspended");
    let suspended = format!(
        "stop failed: Cannot shut down suspended instance {}.\nUse --force to power it off.\n",
        vm.name
    );
    assert_eq!(refused(&vm, &["stop", &vm.name]), (2, suspended));
    assert_eq!(vm.run(&["restart", &vm.name]).code, 2);
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    assert_eq!(vm.state(), "Running");
}
