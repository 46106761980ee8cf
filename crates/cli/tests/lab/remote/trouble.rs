//! Faults of the connection to a machine.

use super::{FLEET, Host, NIX_2_34, TROUBLE, with};

each!(
    what_stands_between_here_and_a_machine_has_its_own_code:
    nobody_listens("{ host = 'nobody-home'", 20, "nixoci::ssh::refused"),
    silence("{ host = 'silent'", 20, "nixoci::ssh::silent"),
    a_closed_connection("{ host = 'closed'", 20, "nixoci::ssh::closed"),
    a_web_server("{ host = 'web'", 20, "nixoci::ssh::not_ssh"),
    no_such_name("{ host = 'no-such-machine'", 20, "nixoci::ssh::unresolved"),
    another_host_key("{ host = 'impostor'", 20, "nixoci::ssh::host_key_changed"),
    an_unknown_host_key("{ host = 'builder@127.0.0.1:32202'", 20, "nixoci::ssh::host_key_unknown"),
    a_refused_key("{ host = 'refused'", 22, "nixoci::ssh::key_refused"),
    an_unreadable_key("{ host = 'bee', key = '/etc/shadow'", 22, "nixoci::ssh::key_unreadable"),
    no_nix("{ host = 'cat'", 20, "nixoci::ssh::no_nix"),
);
fn what_stands_between_here_and_a_machine_has_its_own_code(builder: &str, exit: i32, code: &str) {
    let run = NIX_2_34.with(TROUBLE).sh(&with(&format!("{builder}, systems = ['x86_64-linux'] }}"), "image"));
    let run = run.fails(exit, code);
    // ssh says either, as chance has it.
    let run = crate::Run { err: run.err.replace("Connection reset", "Connection closed"), ..run };
    run.says(&format!("remote_{}", code.trim_start_matches("nixoci::").replace("::", "_")));
}

const KEY: &str = "$(ssh-keyscan -p 32202 -t ed25519 127.0.0.1 2>/dev/null | grep -o 'ssh-ed25519 .*')";

/// bee, by its address, with this host key.
fn pinned(key: &str, more: &str) -> String {
    format!("{{ host = 'builder@127.0.0.1:32202', host-key = '{key}'{more} }}")
}

each!(a_pinned_host_key_is_enough: with_ssh_s_keys(""), with_its_own_key(", key = '~/.ssh/id_ed25519'"));
fn a_pinned_host_key_is_enough(more: &str) {
    NIX_2_34.with(FLEET).sh(&with(&pinned(KEY, more), "image")).code(0);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn another_key_than_the_pinned_one_is_refused() {
    let wrong = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJBWcxb/Blaqt1auOtE+F8QUWrUotiC5qBJ+UuEWdVCb";
    NIX_2_34
        .with(FLEET)
        .sh(&with(&pinned(wrong, ""), "image"))
        .fails(20, "nixoci::ssh::host_key_changed")
        .says("remote_pinned_host_key");
}

each!(
    a_project_s_settings_do_not_become_options_of_ssh:
    an_option("-oProxyCommand=touch $own/owned"),
    a_second_line("box\\\\nProxyCommand touch $own/owned"),
    this_machine("localhost"),
);
fn a_project_s_settings_do_not_become_options_of_ssh(host: &str) {
    let builder = format!("{{ host = \\\"{host}\\\", systems = ['x86_64-linux'] }}");
    let script = format!("own=$(mktemp -d); {}", with(&builder, "image; code=$?; ls $own; exit $code"));
    let run = NIX_2_34.with(FLEET).sh(&script).fails(10, "nixoci::config::value");
    assert_eq!(run.out, "");
}

each!(
    a_project_s_list_of_machines_does_not_become_options_of_ssh:
    of_a_shell("shell -- true"),
    of_a_listing("backends"),
    of_a_check("doctor"),
);
fn a_project_s_list_of_machines_does_not_become_options_of_ssh(command: &str) {
    let script = format!(
        "export own=$(mktemp -d); cd $own; printf 'echo > $own/owned' > x; echo 'ssh-ng://-oProxyCommand=sh${{IFS}}x x86_64-linux' > machines
         printf '[backend.remote]\\nfrom = \"machines\"' > nixoci.toml; nixoci {command} >&2; ls"
    );
    let run = NIX_2_34.with(FLEET).sh(&script).code(0);
    assert_eq!(run.out, "machines\nnixoci.toml\nx\n", "{run:#?}");
}

each!(a_transfer_that_is_cut_leaves_nothing_and_says_so: nix_2_34(NIX_2_34));
fn a_transfer_that_is_cut_leaves_nothing_and_says_so(host: Host) {
    // Its layers are larger than what the line lets through.
    let script = with(
        "{ host = 'cut', systems = ['x86_64-linux'] }",
        "build $here/examples/cowsay#container -o archive:cow.tar; code=$?; ls; find $XDG_CACHE_HOME -size +100k; exit $code",
    );
    let run = host.with(TROUBLE).sh(&script).fails(50, "nixoci::nix::connection_lost");
    assert_eq!(run.out, "nixoci.toml\nt.nix\n");
    run.says("remote_connection_lost_reading");
}
