//! Services of an administrator.

use super::*;

/// Puts a service `tick` into the guest that runs this script.
fn runs(vm: &Vm, script: &str) {
    vm.sh(&format!(
        "printf '%s\\n' '{script}' | sudo tee /usr/local/bin/tick > /dev/null; \
         printf '[Service]\\nExecStart=/bin/sh /usr/local/bin/tick\\n[Install]\\nWantedBy=multi-user.target\\n' | \
         sudo tee /etc/systemd/system/tick.service > /dev/null; sudo systemctl daemon-reload"
    ));
}

fn boot(vm: &Vm) {
    assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_is_enabled_is_started_at_boot() {
    let vm = Vm::launch(OLD);
    runs(&vm, "echo tick >> /var/tmp/ticks; exec sleep infinity");
    boot(&vm);
    let absent = vm.sh("systemctl is-active tick || test $? = 3; ls /var/tmp/ticks 2> /dev/null || :");
    assert_eq!(absent, "inactive\n", "it is not enabled yet");
    let (begun, go) = (Pipe::new(&vm, "begun"), Pipe::new(&vm, "go"));
    runs(&vm, &format!("echo tick >> /var/tmp/ticks; echo > {}; read -r _ < {}", begun.0, go.0));
    vm.sh("sudo systemctl enable --now tick.service");
    begun.wait();
    assert_eq!(vm.sh("cat /var/tmp/ticks; systemctl is-active tick"), "tick\nactive\n");
    boot(&vm);
    begun.wait();
    assert_eq!(vm.sh("cat /var/tmp/ticks; systemctl is-active tick"), "tick\ntick\nactive\n");
    // A service that has ended is not started again. Its process is awaited by its id.
    let pid = vm.sh("cat /run/lab/units/tick.service");
    go.write();
    vm.sh(&format!("tail -s 0.1 --pid={} -f /dev/null", pid.trim()));
    let ended = vm.sh("systemctl is-active tick || test $? = 3; cat /var/tmp/ticks");
    assert_eq!(ended, "inactive\ntick\ntick\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_service_may_turn_the_machine_off() {
    let vm = Vm::launch(OLD);
    runs(&vm, "rm /var/tmp/ticks && systemctl poweroff");
    vm.sh("touch /var/tmp/ticks; sudo systemctl enable tick");
    vm.exec(&["sudo", "systemctl", "start", "tick"]);
    vm.wait_for_state("Stopped");
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    assert_eq!(vm.sh("ls /var/tmp/ticks 2> /dev/null || systemctl is-enabled tick"), "enabled\n");
}
