//! Machines that are reached by ssh, from a Mac whose user is trusted nowhere: one, several, and what goes wrong with them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;
use crate::stopping::{BIG, HIT, SLOW};

const FLEET: &[&str] = &["--as", "mac", "--user", "alice", "--with", "fleet"];
const TROUBLE: &[&str] = &["--as", "mac", "--user", "alice", "--with", "trouble"];
/// A Linux machine that does not build for arm64 itself.
const LINUX: &[&str] = &["--user", "alice", "--with", "fleet"];
/// Where `cat` has its Nix.
const PROGRAM: &str = "remote-program = '/nix/var/nix/profiles/default/bin/nix-daemon'";

/// A derivation of its own for every run, so that nobody has built it before.
const EXPRESSION: &str = r#"{ system, n, cmd ? "echo hi > $out", features ? [ ] }: derivation {
  name = "t-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" cmd ]; requiredSystemFeatures = features;
}"#;

/// A script in an empty directory, with these machines in nixoci.toml: `tiny` builds EXPRESSION, `image` a small image.
fn with(builders: &str, script: &str) -> String {
    format!(
        r#"here=$PWD; cd $(mktemp -d); printf '%s' "[backend.remote]
builders = [{builders}]" > nixoci.toml
printf '%s' '{EXPRESSION}' > t.nix
build() {{ nixoci build --backend remote --platform linux/amd64 --no-link "$@"; }}
tiny() {{ build -f t.nix --argstr n "$RANDOM$RANDOM" "$@"; }}
image() {{ build "$here/examples/hello#container" "$@"; }}
{script}"#
    )
}

each!(one_machine_builds_in_its_own_store_and_the_container_runs: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn one_machine_builds_in_its_own_store_and_the_container_runs(host: Host) {
    for machine in ["ant", "bee"] {
        let tag = format!("remote-{machine}{}:1", host.nix.replace('.', ""));
        let script = with(
            &format!("{{ host = '{machine}' }}"),
            &format!(
                "nixoci plan --backend remote --platform linux/amd64 $here/examples/hello#container >&2
                 image -t {tag} --load && docker run --rm {tag}"
            ),
        );
        let run = host.with(FLEET).sh(&script).code(0).out("Hello, world!");
        run.err(&format!("{machine} builds for x86_64-linux (transport store, "));
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_shell_is_opened_where_a_build_would_run() {
    // Not on the first of the list, which does not build for this system. Each has a port of its own.
    let script = with(
        "{ host = 'ant', systems = ['aarch64-linux'] }, { host = 'bee', systems = ['x86_64-linux'] }",
        "for platform in linux/amd64 linux/arm64; do
            nixoci shell --backend remote --platform $platform -- sh -c 'echo $USER ${SSH_CONNECTION##* }'
        done",
    );
    NIX_2_34.with(FLEET).sh(&script).code(0).out("builder 32202\nbuilder 32201\n");
}

each!(a_linux_machine_builds_elsewhere_what_it_cannot_build_itself: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_linux_machine_builds_elsewhere_what_it_cannot_build_itself(host: Host) {
    let builders = "{ host = 'bee', systems = ['x86_64-linux', 'aarch64-linux'], jobs = 2 }";
    let script = with(
        builders,
        "nixoci build --platform linux/arm64 $here/examples/hello#container -o archive:a.tar && nixoci inspect a.tar",
    );
    host.with(LINUX).sh(&script).code(0).out("linux/arm64").err("is built by the backend remote");
}

each!(a_fleet_is_nix_s_to_schedule_by_features: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_fleet_is_nix_s_to_schedule_by_features(host: Host) {
    let builders = "{ host = 'ant' }, { host = 'bee', features = ['kvm'] }";
    let host = host.with(FLEET);
    // Only bee has it.
    let script = with(builders, "tiny --arg features '[ \"kvm\" ]'");
    host.sh(&script).fails(42, "nixoci::image::not_an_image").err("on ssh-ng://bee");
    host.sh(&with(builders, "tiny --arg features '[ \"warp\" ]'"))
        .fails(20, "nixoci::nix::system_features")
        .err("no machine for x86_64-linux offers what building t-")
        .err("one offers kvm");
    // What they built is kept in a store of nixoci's, until somebody lets go of it.
    let script =
        "image && nixoci cache show && nixoci cache gc --all && nixoci cache show | grep -c 'store paths'";
    let run = host.sh(&with(builders, script));
    run.out("of store paths in ").out("of store paths of remote builds deleted\n0\n");
}

/// `dep` can only be built by who has kvm, and what needs it only by who has big-parallel.
const CHAIN: &str = r#"{ system, n }: let d = f: name: cmd: derivation { inherit name system; builder = "/bin/sh"; args = [ "-c" cmd ]; requiredSystemFeatures = f; };
  a = d [ "kvm" ] "dep-${n}" "echo dep > $out"; in d [ "big-parallel" ] "img-${n}" "read x < ${a}; echo $x > $out""#;

each!(a_machine_that_does_not_trust_its_user_takes_nothing_that_was_built_elsewhere: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_machine_that_does_not_trust_its_user_takes_nothing_that_was_built_elsewhere(host: Host) {
    let chain = format!("printf '%s' '{CHAIN}' > c.nix; build -f c.nix --argstr n $RANDOM");
    let host = host.with(FLEET);
    // ant does not trust its user; dodo does.
    let alone = "{ host = 'ant', features = ['big-parallel'] }, { host = 'bee', features = ['kvm'] }";
    host.sh(&with(alone, &chain))
        .fails(20, "nixoci::nix::system_features")
        .err("ant does not take what was built elsewhere")
        .err("trusted-users = root");
    let others = format!("{alone}, {{ host = 'dodo', speed = 0.1, features = ['big-parallel'] }}");
    host.sh(&with(&others, &chain)).fails(42, "nixoci::image::not_an_image").err(
        "ant does not take what was built elsewhere: it does not trust its user: building on without ant",
    );
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_that_cannot_be_used_is_left_out_and_named() {
    let builders = "{ host = 'refused', systems = ['x86_64-linux'] }, { host = 'ant' }, { host = 'bee' }";
    let host = NIX_2_34.with(TROUBLE);
    host.sh(&with(builders, "image"))
        .code(0)
        .err("refused: the machine refuses the login: building without it");
    // One of three is a warning, not an obstacle.
    let run =
        host.sh(&with(builders, "nixoci doctor")).code(0).out("warn  refused: the machine refuses the login");
    run.out("ok    ant: Nix 2.26").out("ok    bee: Nix 2.34");
}

/// Every reason why a machine cannot be used, by its code.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_stands_between_here_and_a_machine_has_its_own_code() {
    let host = NIX_2_34.with(TROUBLE);
    for (name, exit, code, says) in [
        ("nobody-home", 20, "nixoci::ssh::refused", "127.0.0.1:9: Connection refused"),
        ("silent", 20, "nixoci::ssh::silent", "127.0.0.1:32310"),
        ("closed", 20, "nixoci::ssh::closed", "127.0.0.1:32311"),
        ("web", 20, "nixoci::ssh::not_ssh", "127.0.0.1:32314"),
        ("no-such-machine", 20, "nixoci::ssh::unresolved", "no-such-machine"),
        ("impostor", 20, "nixoci::ssh::host_key_changed", "Host key for bee has changed"),
        ("refused", 22, "nixoci::ssh::key_refused", "Permission denied (publickey)"),
        (
            "cat",
            20,
            "nixoci::ssh::no_nix",
            "remote-program = \"/nix/var/nix/profiles/default/bin/nix-daemon\"",
        ),
    ] {
        let builder = format!("{{ host = '{name}', systems = ['x86_64-linux'] }}");
        host.sh(&with(&builder, "image")).fails(exit, code).err(says);
    }
    let unknown = "{ host = 'builder@127.0.0.1:32202', systems = ['x86_64-linux'] }";
    host.sh(&with(unknown, "image")).fails(20, "nixoci::ssh::host_key_unknown");
    let unreadable = "{ host = 'bee', key = '/etc/shadow', systems = ['x86_64-linux'] }";
    host.sh(&with(unreadable, "image")).fails(22, "nixoci::ssh::key_unreadable").err("/etc/shadow");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_a_machine_cannot_do_has_its_own_code() {
    let host = NIX_2_34.with(FLEET);
    let lie = "{ host = 'ant', systems = ['aarch64-linux'] }";
    let arm = "nixoci build --backend remote --platform linux/arm64 --no-link -f t.nix --argstr n $RANDOM";
    host.sh(&with(lie, arm))
        .fails(20, "nixoci::nix::platform")
        .err("ant (x86_64-linux) does not build for aarch64-linux");
    host.sh(&with("{ host = 'ant' }", arm))
        .fails(20, "nixoci::remote::system")
        .err("ant builds for x86_64-linux");
    host.sh(&with("{ host = 'ant' }", "tiny --arg features '[ \"kvm\" ]'"))
        .fails(20, "nixoci::nix::system_features")
        .err("that ant does not offer");
    // As when a kernel that is out of memory kills a compiler.
    host.sh(&with("{ host = 'ant' }", "tiny --argstr cmd '/bin/sh -c \"kill -9 \\$\\$\"; exit $?'"))
        .fails(40, "nixoci::nix::build_killed")
        .err("ssh ant sudo dmesg");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_full_disk_is_the_machine_s() {
    let small = format!("{{ host = 'cat', systems = ['x86_64-linux'], {PROGRAM} }}");
    // In the directory of the build, which goes when it fails.
    let fill = "l=x; i=0; while [ $i -lt 14 ]; do l=$l$l; i=$((i+1)); done; while :; do echo $l || exit 1; done > big";
    NIX_2_34
        .with(FLEET)
        .sh(&with(&small, &format!("image && tiny --argstr cmd '{fill}'")))
        .fails(40, "nixoci::nix::disk_full")
        .err("the disk is full on cat")
        .err("ssh cat nix-collect-garbage");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_pinned_host_key_is_the_only_one_that_counts() {
    let key = "$(ssh-keyscan -p 32202 -t ed25519 127.0.0.1 2>/dev/null | grep -o 'ssh-ed25519 .*')";
    let wrong = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJBWcxb/Blaqt1auOtE+F8QUWrUotiC5qBJ+UuEWdVCb";
    let builder = |key: &str| format!("{{ host = 'builder@127.0.0.1:32202', host-key = '{key}' }}");
    NIX_2_34.with(FLEET).sh(&with(&builder(key), "image")).code(0);
    let own = builder(key).replace(" }", ", key = '~/.ssh/id_ed25519' }");
    NIX_2_34.with(FLEET).sh(&with(&own, "image")).code(0);
    NIX_2_34.with(FLEET).sh(&with(&builder(wrong), "image")).fails(20, "nixoci::ssh::host_key_changed");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_project_s_settings_do_not_become_options_of_ssh() {
    for host in ["-oProxyCommand=touch /tmp/owned", "box\\nProxyCommand x", "localhost"] {
        let builder =
            format!("{{ host = \\\"{}\\\", systems = ['x86_64-linux'] }}", host.replace('\\', "\\\\"));
        NIX_2_34
            .with(FLEET)
            .sh(&with(&builder, "image; code=$?; ls /tmp/owned; exit $code"))
            .fails(10, "nixoci::config::value");
    }
    // A list of the project's is no way around.
    let script = "printf 'echo owned > /tmp/owned' > x; echo 'ssh-ng://-oProxyCommand=sh${IFS}x x86_64-linux' > machines
                  printf '[backend.remote]\\nfrom = \"machines\"' > nixoci.toml; for c in 'shell -- true' backends doctor; do nixoci $c; done; ls /tmp/owned";
    NIX_2_34.with(FLEET).sh(&with("", script)).code(2).err("cannot access '/tmp/owned'");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_transfer_that_is_cut_leaves_nothing_and_says_so() {
    // Its layers are larger than what the line lets through.
    let script = with(
        "{ host = 'cut', systems = ['x86_64-linux'] }",
        "build $here/examples/cowsay#container -o archive:cow.tar; code=$?; ls; find $XDG_CACHE_HOME -size +100k; exit $code",
    );
    let run = NIX_2_34.with(TROUBLE).sh(&script);
    let run = run.fails(50, "nixoci::nix::connection_lost");
    let run = run.err("the connection to cut broke while the image was read");
    assert!(!run.out.contains("cow.tar"), "{run:#?}");
}

/// dodo is for tests that count what happens on it: one at a time.
fn dodo() -> MutexGuard<'static, ()> {
    static DODO: Mutex<()> = Mutex::new(());
    DODO.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `dodo` says what is there of ours: connections, processes of build users, roots of its garbage collector.
const ON_DODO: &str = r#"export DOCKER_DEFAULT_PLATFORM=linux/amd64 XDG_CONFIG_HOME=$(mktemp -d); mkdir $XDG_CONFIG_HOME/nixoci
printf '[profile.default]\nbackend = ["remote"]\n[backend.remote]\nbuilders = [%s]\n' "$BUILDERS" > $XDG_CONFIG_HOME/nixoci/config.toml
dodo() { ss -Htn state established '( sport = :32204 )'; pgrep -au $(seq -s, 36500 36507); ssh dodo 'ls .local/state/nixoci/roots 2>/dev/null'; }
"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kill_9_leaves_nothing_on_a_machine_either() {
    let _alone = dodo();
    for host in [NIX_2_26, NIX_2_34] {
        let script = format!(
            "BUILDERS='{{ host = \"dodo\" }}'; {ON_DODO}{SLOW} dodo | grep -c .; kill -9 $pid; there() {{ left; dodo; }}; gone there"
        );
        let run = host.with(FLEET).sh(&script).code(0);
        assert!(run.out.contains("left:\nend\n") && !run.out.starts_with('0'), "{run:#?}");
    }
    // Nix's scheduler has the work done.
    let builders = r#"{ host = "dodo", speed = 10.0 }, { host = "ant" }"#;
    let script = format!(
        "BUILDERS='{builders}'; {ON_DODO}{}",
        with(
            "",
            r#"rm nixoci.toml; nixoci build -f t.nix --argstr n "$RANDOM" --argstr cmd 'while :; do :; done' >/dev/null 2>log & pid=$!
               for n in $(seq 100); do pgrep -u $(seq -s, 36500 36507) >/dev/null && break; sleep 0.1; done; dodo | grep -c .
               kill -9 $pid; there() { dodo; pgrep -af "^nix .*$XDG_CACHE_HOME"; }; gone there; chmod -R u+w $XDG_CACHE_HOME"#
        )
    );
    let run = NIX_2_34.with(FLEET).sh(&script).code(0);
    assert!(run.out.contains("left:\nend\n") && !run.out.starts_with('0'), "{run:#?}");
}

each!(kill_9_in_the_middle_of_a_transfer_leaves_nothing_and_the_next_run_succeeds: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn kill_9_in_the_middle_of_a_transfer_leaves_nothing_and_the_next_run_succeeds(host: Host) {
    let _alone = dodo();
    let on_dodo = format!("BUILDERS='{{ host = \"dodo\" }}'; {ON_DODO}");
    let script = r#"
        for n in 1 2 3 4 5 6; do hit "$XDG_CACHE_HOME/nixoci/images/*.part" && break; done || { cat log; exit 99; }
        there() { left; dodo; }; gone there
        { nixoci build -q -f default.nix -o archive:$PWD/out.tar && nixoci validate -q out.tar; } >/dev/null && echo whole
        gone dodo"#;
    host.with(FLEET)
        .sh(&format!("{on_dodo}{BIG}{HIT}{script}"))
        .code(0)
        .out("left:\nend\nwhole\nleft:\nend\n");
}

/// Builds run as dodo's build users.
const WORKING: &[&str] = &["-u", "36500,36501,36502,36503,36504,36505,36506,36507"];
/// A script runs this to say that it waits for the fault.
const WAITING: &[&str] = &["-f", "^sleep 60\\.75757"];

/// Runs a script while a fault befalls dodo, as soon as there is this process; then WAITING ends.
fn during(host: Host, script: &str, process: &[&str], fault: &str) -> Run {
    let lab = std::env::var_os("NIXOCI_LAB").unwrap();
    let run_lab = |args: &[&str]| Command::new(&lab).arg("lab").args(args).output().unwrap().status.success();
    let seen = |program, process: &[&str]| run_lab(&[&["exec", "--", program], process].concat());
    std::thread::scope(|scope| {
        let run = scope.spawn(|| host.sh(script));
        let mut waits = (0..240).map(|_| std::thread::sleep(std::time::Duration::from_millis(500)));
        assert!(waits.any(|()| seen("pgrep", process)), "{:#?}", run.join());
        assert!(run_lab(&["fault", "dodo", fault]));
        seen("pkill", WAITING);
        run.join().unwrap()
    })
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_that_is_lost_in_the_middle() {
    let _alone = dodo();
    let busy = "tiny --argstr cmd 'while :; do :; done'";
    let spin = "tiny --argstr cmd 'i=0; while [ $i -lt 4000000 ]; do i=$((i+1)); done; echo hi > $out'";
    // One after the other: they share the machine.
    for fault in ["sessions", "daemon"] {
        let host = NIX_2_34.with(FLEET);
        during(host, &with("{ host = 'dodo' }", busy), WORKING, fault)
            .fails(50, "nixoci::nix::connection_lost")
            .err("the connection to dodo broke while it built");
        // Another one builds on.
        let both = "{ host = 'dodo', speed = 10.0 }, { host = 'bee' }";
        during(host, &with(both, spin), WORKING, fault)
            .fails(42, "nixoci::image::not_an_image")
            .err("building on without dodo")
            .err("on ssh-ng://bee");
    }
}

each!(a_machine_that_is_lost_in_the_middle_of_a_transfer: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_machine_that_is_lost_in_the_middle_of_a_transfer(host: Host) {
    let _alone = dodo();
    // nixoci is stopped in the middle, where the rest of the image waits at the other end for the fault. A copy may be quicker
    // than we are: there are several attempts.
    let script = r#"
        middle() {
            rm -f out.tar; nixoci build -q -f default.nix -o archive:$PWD/out.tar 2>log & pid=$!
            until part=$(compgen -G "$XDG_CACHE_HOME/nixoci/images/*.part") && test -s $part; do kill -0 $pid 2>/dev/null || return 1; done
            kill -STOP $pid; dog=$(pgrep -P $pid -f __watchdog); test $(stat -c %s $part) -lt 200000000 && return
            kill -CONT $pid; wait $pid; rm -r $XDG_CACHE_HOME/nixoci/images; return 1
        }
        for n in 1 2 3 4 5 6; do middle && break; done || { cat log; exit 99; }
        sleep 60.75757; kill -CONT $pid; wait $pid; code=$?; cat log >&2; sleep 1
        # Who held the image there was killed as well: its root goes after a day.
        ssh dodo 'rm -rf .local/state/nixoci/roots'; echo left:; left; dodo; echo end
        { nixoci build -q -f default.nix -o archive:$PWD/out.tar && nixoci validate -q out.tar; } >/dev/null && echo whole
        exit $code"#;
    let script = format!("BUILDERS='{{ host = \"dodo\" }}'; {ON_DODO}{BIG}{HIT}{script}");
    during(host.with(FLEET), &script, WAITING, "sessions")
        .code(0)
        .err("the connection to dodo broke while the image was read: it is read once more")
        .out("left:\nout.tar\nend\nwhole\n");
}
