//! Conditions that prevent the use of Multipass. Each has an error code of its own.

use super::*;
use crate::harness::shows;

each!(multipass_cannot_be_used_when:
    it_is_missing(&["--as", "mac", "--without", "nix", "--user", "alice"], 21, "nixoci::multipass::missing"),
    its_daemon_is_down(&["--as", "mac", "--user", "alice", "--with", "multipass", "--without", "multipass-daemon"], 20, "nixoci::multipass::daemon_down"),
    its_socket_is_not_for_this_user(&["--as", "mac", "--user", "alice", "--with", "multipass", "--with", "multipass-denied"], 22, "nixoci::multipass::socket_denied"),
    its_daemon_does_not_know_the_user(&["--as", "mac", "--user", "alice", "--with", "multipass-1.17", "--with", "multipass-unauthenticated"], 22, "nixoci::multipass::unauthenticated"),
);
fn multipass_cannot_be_used_when(options: &'static [&'static str], code: i32, id: &str) {
    let name = id.replace("nixoci::", "").replace("::", "_");
    NIX_2_34.with(options).sh(&alone("", "tiny")).fails(code, id).says(&name);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_image_that_multipass_does_not_know_has_its_own_code() {
    let run = NIX_2_34.with(RELEASE).sh(&on_plain_image("image = '12.04'", "tiny"));
    run.fails(30, "nixoci::multipass::image").says("multipass_image");
}

each!(settings_that_cannot_be_are_refused:
    no_cpu("cpus = 0"), no_time("timeout = 0"), an_installer_without_a_hash("installer = 'x'"), an_idle_time_that_is_none("idle = 'soon'"));
fn settings_that_cannot_be_are_refused(settings: &str) {
    let _ = NIX_2_34.with(RELEASE).sh(&alone(settings, "tiny")).code(10);
}

each!(a_machine_is_out_of_reach:
    without_a_route("no-route", 20, "nixoci::multipass::no_route"),
    when_it_does_not_answer("response-timeout", 30, "nixoci::multipass::timed_out"),
);
fn a_machine_is_out_of_reach(knob: &str, code: i32, id: &str) {
    let run = struck(NIX_2_34.with(ROOTS), "", "strike; tiny", knob).fails(code, id);
    run.says(&id.replace("nixoci::", "").replace("::", "_"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_firewall_that_stops_ssh_alone_is_told_from_one_that_stops_everything() {
    let script = r#"provision >/dev/null 2>&1
        shim 'case "$*" in *-M*) echo "ssh: connect to host 10.0.0.1 port 22: No route to host" >&2; exit 255 ;; esac' ssh
        PATH=$shimmed tiny"#;
    let run = NIX_2_34.with(NEXT).sh(&alone("", script));
    run.fails(20, "nixoci::multipass::ssh").says("multipass_ssh_stopped");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_whose_zone_is_switched_off_says_so() {
    let script = "provision >/dev/null 2>&1; strike; tiny";
    let run = struck(NIX_2_34.with(ROOTS_NEXT), "", script, "zone-unavailable");
    run.fails(20, "nixoci::multipass::zone").says("multipass_zone");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_launch_that_gives_up_before_the_first_boot_is_over_is_no_failure() {
    struck(NIX_2_34.with(ROOTS), "", "strike; tiny", "init-timeout").fails(42, NOT_AN_IMAGE);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_has_another_address_after_every_start() {
    let script = "provision >/dev/null 2>&1; strike; multipass stop $vm >/dev/null; tiny";
    struck(NIX_2_34.with(ROOTS), "", script, "ip-change-on-start").fails(42, NOT_AN_IMAGE);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_guest_without_a_network_has_its_own_code() {
    let run = struck_on(Image::Plain, NIX_2_34.with(ROOTS), "", "strike; tiny", "no-network");
    let run = run.fails(30, "nixoci::guest::dns").err("Temporary failure resolving");
    assert!(!run.err.contains("@no-package"), "{run:#?}");
    // The lines of apt's two streams come in any order.
    let start = run.err.find("error: ").unwrap();
    shows("multipass_guest_dns", &without("    > ", &run.err[start..]));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_multipass_that_is_too_old_has_its_own_code() {
    let old = r#"[ "$1" != version ] || { echo "{\"multipass\":\"1.12.2+mac\",\"multipassd\":\"1.12.2+mac\"}"; exit; }"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &format!("shim '{old}'; PATH=$shimmed tiny")));
    run.fails(21, "nixoci::multipass::too_old").says("multipass_too_old");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_first_boot_that_ignores_its_orders_has_its_own_code() {
    // cloud-init has no work to do, as when its first step fails.
    let ignored =
        r#"[ "$1" != launch ] || { cat >/dev/null; echo "package_update: false" | multipass "$@"; exit; }"#;
    let script = format!(
        "shim '{ignored}'; PATH=$shimmed tiny; code=$?; provision --remove 2>&1 | grep -o multipass::first_boot; multipass delete -p $vm; tiny 2>/dev/null; echo code $?; exit $code"
    );
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &script)).fails(30, "nixoci::multipass::first_boot");
    run.out("multipass::first_boot\ncode 42\n").says("multipass_first_boot");
}

each!(the_other_cpu_is_refused: release(RELEASE), next(NEXT));
fn the_other_cpu_is_refused(options: &'static [&'static str]) {
    let run = NIX_2_34.with(options).sh(&alone("", "tiny --platform linux/amd64"));
    run.fails(20, "nixoci::multipass::cpu").says("multipass_cpu");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_lock_that_does_not_fit_is_mended_with_the_command_that_is_named() {
    // Where no Nix is, the guest's mends it. The input is on both sides.
    let script = r#"provision >/dev/null 2>&1; mkdir lib p; echo '{ outputs = _: { text = "a"; }; }' > lib/flake.nix
        there() { tar c -C / "${PWD%/p}/lib" 2>/dev/null | multipass exec -n $vm -- tar x -C /; }
        cp nixoci.toml p; cd p; there; printf '{ inputs.lib.url = "path:%s"; outputs = { self, lib }: { packages.aarch64-linux.x = builtins.derivation {
            name = "x"; system = "aarch64-linux"; builder = "/bin/sh"; args = [ "-c" "echo ${lib.text} > $out" ]; }; }; }' "${PWD%/p}/lib" > flake.nix
        printf '{"nodes":{"lib":{"locked":{"lastModified":1,"narHash":"sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","path":"%s","type":"path"},"original":{"path":"%s","type":"path"}},"root":{"inputs":{"lib":"lib"}}},"root":"root","version":7}' "${PWD%/p}/lib" "${PWD%/p}/lib" > flake.lock
        build .#x 2>$log; echo code $?; grep -o 'nixoci explain .*' $log; build -q .#x --override-input lib path:${PWD%/p}/lib 2>/dev/null; echo code $?
        eval "$(grep 'tar c flake' $log)" 2>/dev/null; build .#x"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).fails(42, NOT_AN_IMAGE);
    let codes: Vec<&str> =
        run.out.lines().filter(|line| line.starts_with("code") || line.contains("explain")).collect();
    assert_eq!(codes[1..], ["nixoci explain nixoci::nix::lock", "code 42"], "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_derivation_for_the_other_cpu_has_its_own_code() {
    let script = r#"echo 'derivation { name = "x"; system = "x86_64-linux"; builder = "/bin/sh"; }' > x.nix; build -f x.nix"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script));
    run.fails(20, "nixoci::nix::platform").says("multipass_platform");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_nix_daemon_that_is_down_is_started_with_the_command_that_is_named() {
    let script = r#"provision >/dev/null 2>&1; guest 'sudo systemctl stop nix-daemon.socket nix-daemon.service'; tiny 2>$log; code=$?
        eval "$(grep -o 'multipass exec.*restart.*' $log)"; tiny 2>/dev/null; echo code $?; cat $log >&2; exit $code"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).fails(20, "nixoci::nix::daemon_down");
    run.out("code 42\n").says("multipass_nix_daemon_down");
}
