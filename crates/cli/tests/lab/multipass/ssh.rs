//! This machine's Nix, which builds in the virtual machine by ssh.

use super::*;

const SSH: &str = "transport = 'ssh'";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn without_a_nix_here_there_is_nothing_that_could_build_there() {
    let run = NIX_2_34.with(RELEASE).sh(&alone(SSH, "tiny"));
    run.fails(21, "nixoci::nix::missing").says("multipass_ssh_without_nix");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn this_machine_s_nix_builds_in_it_and_sends_no_sources() {
    let script = r#"cp $here/examples/layered/default.nix .
        build -f default.nix --load=docker --progress-fd 3 3>$log.events 2>$log || { cat $log; exit 1; }
        jq -c 'select(.text // "" | startswith("sent"))' $log.events
        build -f default.nix --load=docker --format json 2>/dev/null >$log.json
        jq -c '.. | .fetchedBytes? // empty' $log.json; docker run --rm $(jq -r '[.. | .reference? // empty][0]' $log.json)"#;
    let run = NIX_2_34.with(BOTH).sh(&alone(SSH, script)).code(0);
    assert_eq!(run.out.lines().filter(|line| line.contains("sent")).count(), 0, "{run:#?}");
    run.out("0\nHello, world!\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_key_is_the_users_alone_and_opens_nothing_but_what_it_is_for() {
    let script = r#"provision >/dev/null 2>&1; tiny; code=$?; stat -c %a $XDG_STATE_HOME/nixoci/multipass/$vm/id_ed25519
        guest 'grep -c ^restrict .ssh/authorized_keys'; gone left; exit $code"#;
    let run = NIX_2_34.with(BOTH_NEXT).sh(&alone(SSH, script)).fails(42, NOT_AN_IMAGE);
    run.out("600\n1\nleft:\nend\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_key_that_is_damaged_has_its_own_code_and_one_that_is_gone_is_made_anew() {
    let script = r#"key=$XDG_STATE_HOME/nixoci/multipass/$vm/id_ed25519; tiny >/dev/null 2>&1; : >$key; tiny; code=$?
        rm $key*; tiny 2>/dev/null; echo code $?; ls $XDG_STATE_HOME/nixoci/multipass/$vm; exit $code"#;
    let run = NIX_2_34.with(BOTH_NEXT).sh(&alone(SSH, script)).fails(30, "nixoci::multipass::key");
    run.out("code 42\nid_ed25519\nid_ed25519.pub\nreceipt.json\n").says("multipass_key");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn another_host_key_is_refused_and_removing_the_machine_forgets_its_keys() {
    let script = r#"tiny >/dev/null 2>&1; guest 'sudo ssh-keygen -q -t ed25519 -N "" -f /tmp/k; sudo cp /tmp/k.pub /etc/ssh/ssh_host_ed25519_key.pub'
        tiny; code=$?; provision --remove >/dev/null 2>&1; ls $XDG_STATE_HOME/nixoci/multipass/$vm 2>/dev/null || echo forgotten; exit $code"#;
    let run = NIX_2_34.with(BOTH_NEXT).sh(&alone(SSH, script)).fails(30, "nixoci::multipass::key");
    run.out("forgotten\n").says("multipass_another_host_key");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_with_another_address_is_found() {
    let script = "tiny 2>/dev/null; echo code $?; strike; multipass stop $vm >/dev/null; tiny";
    struck(NIX_2_34.with(ROOTS_BOTH), SSH, script, "ip-change-on-start")
        .fails(42, NOT_AN_IMAGE)
        .out("code 42\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_build_that_runs_out_of_memory_is_seen_by_ssh_as_well() {
    let script = format!(
        r#"sed -i 's/^memory.*/memory = "1G"/' nixoci.toml; tiny --argstr cmd '{}'"#,
        super::memory::HUNGRY
    );
    let settings = format!("{SSH}\non-oom = 'fail'");
    NIX_2_34.with(BOTH).sh(&alone(&settings, &script)).fails(40, "nixoci::guest::out_of_memory");
}
