//! The ssh connection to the virtual machine; and this machine's Nix, which builds in its store through it.

use super::*;

const STORE: &str = "transport = 'store'";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn without_a_nix_here_there_is_nothing_that_could_build_there() {
    let run = NIX_2_34.with(RELEASE).sh(&alone(STORE, "tiny"));
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
    let run = NIX_2_34.with(BOTH).sh(&alone(STORE, script)).code(0);
    assert_eq!(run.out.lines().filter(|line| line.contains("sent")).count(), 0, "{run:#?}");
    run.out("0\nHello, world!\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_key_is_the_users_alone_and_opens_nothing_but_what_it_is_for() {
    let script = r#"provision >/dev/null 2>&1; tiny; code=$?; stat -c %a $XDG_STATE_HOME/nixoci/multipass/$vm/id_ed25519
        guest 'grep -c ^restrict .ssh/authorized_keys'; gone left; exit $code"#;
    let run = NIX_2_34.with(BOTH_NEXT).sh(&alone(STORE, script)).fails(42, NOT_AN_IMAGE);
    run.out("600\n1\nleft:\nend\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_key_that_is_damaged_has_its_own_code_and_one_that_is_gone_is_made_anew() {
    let script = r#"key=$XDG_STATE_HOME/nixoci/multipass/$vm/id_ed25519; tiny >/dev/null 2>&1; : >$key; tiny 2>$log; code=$?
        eval "$(grep -o 'rm -f .*' $log)"; tiny 2>/dev/null; echo code $?; ls $XDG_STATE_HOME/nixoci/multipass/$vm; cat $log >&2; exit $code"#;
    let run = NIX_2_34.with(NEXT).sh(&alone("", script)).fails(30, "nixoci::multipass::key");
    run.out("code 42\nid_ed25519\nknown_hosts\nreceipt.json\n").says("multipass_key");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn another_host_key_is_refused_until_somebody_says_that_it_is_right() {
    let script = r#"tiny >/dev/null 2>&1; strike; multipass stop $vm >/dev/null; tiny 2>$log; code=$?
        eval "$(grep -o 'rm .*known_hosts' $log)"; tiny 2>/dev/null; echo code $?; cat $log >&2; exit $code"#;
    let run = struck(NIX_2_34.with(ROOTS_NEXT), "", script, "host-key-change");
    run.fails(20, "nixoci::multipass::host_key").out("code 42\n").says("multipass_another_host_key");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_with_another_host_key_can_be_removed_and_its_keys_are_forgotten() {
    let script = r#"tiny >/dev/null 2>&1; strike; multipass stop $vm >/dev/null; provision --remove 2>&1 | grep -v '^ '
        ls $XDG_STATE_HOME/nixoci/multipass/$vm 2>/dev/null || echo forgotten"#;
    let run = struck(NIX_2_34.with(ROOTS), "", script, "host-key-change").code(0);
    assert!(
        run.out.contains("is asked which machine it is") && run.out.ends_with("is gone\nforgotten\n"),
        "{run:#?}"
    );
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_that_another_nixoci_made_lets_the_key_of_this_one_in() {
    // As an older one left it: no key of nixoci's, and host keys of its own.
    let script = r#"tiny >/dev/null 2>&1; rm $XDG_STATE_HOME/nixoci/multipass/$vm/{id_ed25519,known_hosts}; guest 'sed -i /nixoci/d .ssh/authorized_keys'
        tiny 2>/dev/null; echo code $?; guest 'grep -c ^restrict,pty .ssh/authorized_keys'; ls $XDG_STATE_HOME/nixoci/multipass/$vm"#;
    NIX_2_34
        .with(RELEASE)
        .sh(&alone("", script))
        .code(0)
        .out("code 42\n1\nid_ed25519\nknown_hosts\nreceipt.json\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn one_build_makes_one_connection() {
    // The guest's shell notes the port of each connection, of which Multipass's own are left out.
    let script = r#"tiny >/dev/null 2>&1
        guest 'sudo sed -i "1i case \$BASH_EXECUTION_STRING in *nixoci*|*nix-daemon*) echo \"\$SSH_CONNECTION\" >>/tmp/seen;; esac" /etc/bash.bashrc'
        tiny >/dev/null 2>&1; echo code $?; guest 'sort -u /tmp/seen | wc -l; test $(wc -l </tmp/seen) -ge 4 && echo several'"#;
    for settings in ["", STORE] {
        NIX_2_34.with(BOTH).sh(&alone(settings, script)).code(0).out("code 42\n1\nseveral\n");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_with_another_address_is_found() {
    let script = "tiny 2>/dev/null; echo code $?; strike; multipass stop $vm >/dev/null; tiny";
    struck(NIX_2_34.with(ROOTS), "", script, "ip-change-on-start").fails(42, NOT_AN_IMAGE).out("code 42\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_build_that_runs_out_of_memory_is_seen_by_ssh_as_well() {
    let script = format!(
        r#"sed -i 's/^memory.*/memory = "1G"/' nixoci.toml; tiny --argstr cmd '{}'"#,
        super::memory::HUNGRY
    );
    let settings = format!("{STORE}\non-oom = 'fail'");
    NIX_2_34.with(BOTH).sh(&alone(&settings, &script)).fails(40, "nixoci::guest::out_of_memory");
}
