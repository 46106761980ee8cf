//! A virtual machine of Multipass's, on a Mac without Nix: from nothing to a container, and what goes wrong on the way.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::stopping::BIG;

/// Macs with nothing but Multipass.
const RELEASE: &[&str] = &["--as", "mac", "--without", "nix", "--user", "alice", "--with", "multipass"];
const NEXT: &[&str] = &["--as", "mac", "--without", "nix", "--user", "alice", "--with", "multipass-1.17"];
/// The same for root, who may tell the world outside that it is time: a test's directory may be below root's home.
const ROOTS: &[&str] = &["--as", "mac", "--without", "nix", "--with", "multipass"];
const ROOTS_NEXT: &[&str] = &["--as", "mac", "--without", "nix", "--with", "multipass-1.17"];
const ROOTS_BOTH: &[&str] = &["--as", "mac", "--with", "multipass"];
const INTEL: &[&str] =
    &["--as", "mac", "--without", "nix", "--user", "alice", "--with", "multipass", "--intel"];
/// A Mac that has Nix, too, to compare with.
const BOTH: &[&str] = &["--as", "mac", "--user", "alice", "--with", "multipass"];

const BOTH_NEXT: &[&str] = &["--as", "mac", "--user", "alice", "--with", "multipass-1.17"];

/// A name of its own for a virtual machine.
fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `lab fault multipass`.
fn fault(words: &[&str]) {
    let lab = std::env::var_os("NIXOCI_LAB").expect("NIXOCI_LAB names the lab's program");
    let done = Command::new(lab).args(["lab", "fault", "multipass"]).args(words).output().unwrap();
    assert!(done.status.success(), "{words:?}: {done:?}");
}

/// Runs a script, which makes the file `$mark` when it is time: then something happens to its virtual machine.
fn struck(host: Host, script: &str, strike: impl FnOnce(&str)) -> Run {
    struck_with("", host, script, strike)
}

fn struck_with(settings: &str, host: Host, script: &str, strike: impl FnOnce(&str)) -> Run {
    let vm = name();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&vm);
    std::fs::create_dir_all(&dir).unwrap();
    let mark = dir.join("mark");
    let script = script_for(&vm, settings, &format!("mark={}\n{script}", mark.display()));
    let run = std::thread::scope(|scope| {
        let run = scope.spawn(|| host.sh(&script));
        wait_for(&mark, || run.is_finished());
        strike(&vm);
        std::fs::write(done(&mark), "").unwrap();
        run.join().unwrap()
    });
    std::fs::remove_dir_all(dir).unwrap();
    run
}

fn done(mark: &Path) -> PathBuf {
    mark.with_extension("done")
}

fn wait_for(file: &Path, over: impl Fn() -> bool) {
    let begin = Instant::now();
    while !file.exists() && !over() && begin.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A script in an empty directory, with a virtual machine `$vm` of its own, that goes at the end. `build` builds there.
fn alone(settings: &str, script: &str) -> String {
    script_for(&name(), settings, script)
}

fn script_for(vm: &str, settings: &str, script: &str) -> String {
    format!(
        r#"here=$PWD log=$(mktemp); cd $(mktemp -d); export XDG_STATE_HOME=$(mktemp -d) vm={vm}
trap 'multipass delete -p $vm >/dev/null 2>&1; rm -rf $XDG_STATE_HOME; chmod -R u+w $XDG_CACHE_HOME; rm -rf $XDG_CACHE_HOME' EXIT
printf '%s' "[backend.multipass]
instance = '$vm'
memory = '2G'
disk = '10G'
{settings}" > nixoci.toml
build() {{ nixoci build --backend multipass -y "$@"; }}
provision() {{ nixoci provision --backend multipass -y "$@"; }}
guest() {{ multipass exec -n $vm -- sh -c "$1"; }}
# What runs in the guest beyond what always does.
left() {{ guest "ps -eo user,args --no-headers | grep -vE 'ps -eo|grep|sshd|multipass-guest|nix-daemon --daemon|nixoci/idle|sleep 20|\['"; }}
# Done when somebody outside has struck.
strike() {{ touch $mark; until [ -e $mark.done ]; do sleep 0.05; done; }}
tiny() {{ build --no-link -f t.nix --argstr n "$RANDOM$RANDOM" "$@"; }}
printf '%s' '{EXPRESSION}' > t.nix
{script}"#
    )
}

/// A derivation of its own for every run, so that nobody has built it before.
const EXPRESSION: &str = r#"{ system, n, cmd ? "echo hi > $out" }: derivation {
  name = "t-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" cmd ];
}"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn from_nothing_to_a_container_and_then_nothing_is_moved() {
    let script = alone(
        "",
        r#"cp $here/examples/layered/default.nix .
        nixoci plan --backend multipass -f default.nix
        build -f default.nix --load=docker 2>$log || { cat $log; exit 1; }
        grep -c 'to do$' $log
        nixoci plan --backend multipass -f default.nix
        build -f default.nix --load=docker --format json 2>$log >$log.json || { cat $log; exit 1; }
        grep -E '^(launch|start|sett|sent|build|copy)' $log
        grep -o '"fetchedBytes": *[0-9]*' $log.json; docker run --rm $(grep -o '"reference": *"[^"]*' $log.json | head -n1 | cut -d'"' -f4)
        provision --stop; multipass list | grep $vm
        build -q -f default.nix --no-link && guest 'echo awake again'
        provision --remove; multipass list | grep $vm || echo removed"#,
    );
    for options in [RELEASE, NEXT] {
        let run = NIX_2_34.with(options).sh(&script).code(0);
        assert!(run.out.contains("to do\n") && run.out.contains(": done\n"), "{run:#?}");
        let run = run.out("Hello, world!").out("Stopped").out("awake again").out("removed\n").err("is gone");
        // Two steps were to do the first time, and nothing the second time.
        assert!(run.out.contains("\n2\n") && run.out.contains("\"fetchedBytes\": 0"), "{run:#?}");
        assert!(
            !["sent 1", "launching", "setting", "building"].iter().any(|word| run.out.contains(word)),
            "{run:#?}"
        );
    }
}

/// A flake whose derivation names everything that a flake knows of its source.
const FLAKE: &str = r#"{ outputs = { self }: { packages.aarch64-linux.x = builtins.derivation {
  name = "x"; system = "aarch64-linux"; builder = "/bin/sh";
  args = [ "${self}" (self.rev or "no") (self.dirtyRev or "no") (toString (self.revCount or 0)) (toString self.lastModified) ]; }; }; }"#;

each!(the_guest_computes_the_derivation_that_the_host_would: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn the_guest_computes_the_derivation_that_the_host_would(host: Host) {
    let script = alone(
        "",
        &r#"git config --global user.email a@b; git config --global user.name a; settings=$PWD/nixoci.toml
        mkdir -p p/sub; cd p; git init -q -b main; printf '%s' 'FLAKE' > flake.nix; cp flake.nix sub
        # What Git has of this file differs from what lies there.
        printf '* text=auto\ncrlf eol=crlf\n' > .gitattributes; printf 'a\r\nb\r\n' > crlf; git add . 2>/dev/null; git commit -qm 0
        echo ignored > .gitignore; echo x > ignored; ln -s flake.nix link; for i in 1 2 3; do echo $i > "f $i"; done
        printf '#!/bin/sh\n' > run; chmod +x run; git add -A 2>/dev/null; git commit -qm a; echo more >> 'f 1'; git commit -qam b
        # A commit whose files were seen here lying there is to Nix the same ever after, whatever Git has of them.
        git branch side HEAD~1
        nixoci --config-file $settings provision --backend multipass -y >/dev/null 2>&1
        same() {
            there=$(nixoci --config-file $settings plan --backend multipass "$1#x" --platform linux/arm64 --format json 2>$log | grep -o '/nix/store/[a-z0-9]*-x.drv' | head -n 1)
            host=$(nix --extra-experimental-features 'nix-command flakes' eval --no-write-lock-file --raw "$1#packages.aarch64-linux.x.drvPath" 2>/dev/null)
            [ -n "$host" ] && [ "$there" = "$host" ] && echo "$2 $1: same" || { echo "$2 $1: there $there, here $host"; cat $log; }
        }
        for r in . ./sub '.?dir=sub' path:. "git+file://$PWD?ref=side" "git+file://$PWD?rev=$(git rev-parse HEAD~1)"; do same "$r" clean; done
        echo dirt >> 'f 2'; echo new > f4; git add -N f4; rm 'f 3'; echo staged > f5; git add f5; git mv run run2; echo untracked > u
        for r in . ./sub '.?dir=sub' path:.; do same "$r" dirty; done
        echo more >> 'f 2'; same . dirtier
        git add -A; git commit -qm c; same . committed; git checkout -q HEAD~1; same . older
        rm -rf .git; same . plain; git init -q -b main; git add .; same . unborn"#
            .replace("FLAKE", FLAKE),
    );
    // The guest has Nix 2.26; what a path is called by a newer one is the same.
    let run = host.with(BOTH).sh(&script).code(0);
    assert_eq!(run.out.matches(": same").count(), 15, "{run:#?}");
}

/// Busy for a good while, and for a moment.
const LONG: &str = "i=0; while [ $i -lt 9000000 ]; do i=$((i+1)); done; echo hi > $out";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_that_dies_in_the_middle_of_a_build() {
    let script = format!(
        r#"provision >/dev/null 2>&1; tiny --argstr cmd '{LONG}' 2>$log & pid=$!
        until guest 'pgrep -u nixbld1 >/dev/null'; do kill -0 $pid || break; sleep 0.1; done; strike; wait $pid; echo code $?; cat $log
        echo next; tiny"#
    );
    for options in [ROOTS, ROOTS_NEXT] {
        let run = struck(NIX_2_34.with(options), &script, |vm| fault(&["die", vm]));
        let run =
            run.fails(42, "nixoci::image::not_an_image").out("code 50").err("starting the virtual machine");
        run.out("nixoci::multipass::lost")
            .out("the connection to the virtual machine")
            .out("what was finished is kept");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_that_dies_in_the_middle_of_a_transfer_is_started_and_read_once_more() {
    // nixoci is stopped in the middle, where the rest of the image waits for the machine's end.
    let big =
        BIG.split_once("; cat").map(|(_, rest)| format!("cat{}", rest.replace("amd64", "arm64"))).unwrap();
    let script = format!(
        r#"{big} provision >/dev/null 2>&1; build -q -f default.nix -o archive:$log.first && rm -r $XDG_CACHE_HOME/nixoci/images
        nixoci build --backend multipass -f default.nix -o archive:$log.out 2>$log & pid=$!
        until part=$(compgen -G "$XDG_CACHE_HOME/nixoci/images/*.part") && test -s $part; do kill -0 $pid || break; done
        kill -STOP $pid; strike; kill -CONT $pid; wait $pid; echo code $?; cat $log; left
        cmp $log.first $log.out && echo whole; rm $log.first $log.out"#
    );
    let run = struck(NIX_2_34.with(ROOTS), &script, |vm| fault(&["die", vm]));
    run.code(0).out("code 0").out("it is read once more").out("whole\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kill_9_at_any_moment_leaves_nothing_and_the_next_run_ends_well() {
    // Each kill comes a little later than the one before, until there is nothing left to interrupt.
    let script = format!(
        r#"kills() {{ # kills COUNT STEP COMMAND…
            count=$1 step=$2 now=0 killed=0; shift 2
            for _ in $(seq $count); do
                now=$(awk "BEGIN {{ print $now + $step }}"); "$@" >$log 2>&1 & pid=$!; sleep $now
                kill -9 $pid 2>/dev/null && killed=$((killed+1)); wait $pid 2>/dev/null
            done; echo $killed of $count; }}
        kills 10 0.2 nixoci provision --backend multipass -y
        provision 2>$log >$log || {{ cat $log; exit 1; }}; gone left
        busy() {{ exec nixoci build --backend multipass --no-link -f t.nix --argstr n "$RANDOM$RANDOM" --argstr cmd '{LONG}'; }}
        kills 10 0.2 busy; there() {{ left; guest 'ls -A /var/lib/nixoci/sources | grep new'; }}; gone there; tiny"#
    );
    for options in [RELEASE, NEXT] {
        let run = NIX_2_34.with(options).sh(&alone("", &script)).fails(42, "nixoci::image::not_an_image");
        assert_eq!(run.out.matches("left:\nend\n").count(), 2, "{run:#?}");
        assert!(run.out.contains("10 of 10"), "{run:#?}");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn ctrl_c_ends_what_runs_in_the_guest() {
    let script = format!(
        r#"provision >/dev/null 2>&1; set -m
        nixoci build --backend multipass --no-link -f t.nix --argstr n $RANDOM --argstr cmd '{LONG}' >$log 2>&1 & pid=$!
        until guest 'pgrep -u nixbld1 >/dev/null'; do kill -0 $pid || break; sleep 0.1; done; kill -INT $pid; wait $pid; echo code $?; gone left"#
    );
    NIX_2_34.with(RELEASE).sh(&alone("", &script)).out("code 130\nleft:\nend\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn two_at_once_make_one_machine() {
    let script = r#"tiny >$log 2>&1 & tiny >$log.2 2>&1; wait
        cat $log $log.2 | grep -cE 'not_an_image'; cat $log $log.2 | grep -E '^(launching|waiting|setting)' | sort"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).code(0);
    let vm = run.out.rsplit(' ').next().unwrap();
    let wanted = format!(
        "2\nlaunching the virtual machine {vm}setting the virtual machine up\nwaiting for another nixoci that sets up the virtual machine {vm}"
    );
    assert_eq!(run.out, wanted, "{run:#?}");
}

/// Takes much memory, and ends if it gets it.
const HUNGRY: &str =
    "a=xxxxxxxxxxxxxxxx; i=0; while [ $i -lt 25 ]; do a=$a$a; i=$((i+1)); done; echo hi > $out";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_build_that_runs_out_of_memory_is_told_from_others_and_gets_more() {
    let script = |flags: &str| {
        format!(
            r#"sed -i 's/^memory.*/memory = "1G"/' nixoci.toml; provision >/dev/null 2>&1
            nixoci build --backend multipass {flags} --no-link -f t.nix --argstr n $RANDOM --argstr cmd '{HUNGRY}'; code=$?
            multipass get local.$vm.memory; exit $code"#
        )
    };
    let oom = "nixoci::guest::out_of_memory";
    let host = NIX_2_34.with(RELEASE);
    host.sh(&alone("on-oom = 'fail'", &script("-y")))
        .fails(40, oom)
        .err("ran out of memory")
        .err("was killed by signal 9")
        .err("its kernel killed `")
        .err("it has 1 GiB of memory")
        .out("1.0GiB");
    host.sh(&alone("", &script(""))).fails(40, oom).err("multipass set local.").out("1.0GiB");
    let run = host.sh(&alone("on-oom = 'grow'", &script(""))).fails(42, "nixoci::image::not_an_image");
    run.out("2.0GiB").err("then the build goes on");
    // Nobody else's build is ended for it.
    let busy = format!(
        r#"provision >/dev/null 2>&1; tiny --argstr cmd '{LONG}' 2>$log & pid=$!; until guest 'pgrep -u nixbld1 >/dev/null'; do kill -0 $pid || break; sleep 0.1; done
        sed -i 's/^memory.*/memory = "4G"/' nixoci.toml; provision; code=$?; wait; grep -c not_an_image $log; exit $code"#
    );
    host.sh(&alone("", &busy)).fails(30, "nixoci::multipass::busy").out("1\n");
    let busy = format!(
        r#"sed -i 's/^memory.*/memory = "1G"/' nixoci.toml; provision >/dev/null 2>&1; tiny --argstr cmd '{LONG}' 2>$log & pid=$!; until guest 'pgrep -u nixbld1 >/dev/null'; do kill -0 $pid || break; sleep 0.1; done
        tiny --argstr cmd '{HUNGRY}'; code=$?; wait; grep -c not_an_image $log; multipass get local.$vm.memory; exit $code"#
    );
    let run = host.sh(&alone("on-oom = 'grow'", &busy)).fails(40, oom);
    run.out("1\n1.0GiB").err("it is not enlarged: another build runs");
    // What is in use already is told beforehand; the lab's kernel says it of a guest only when it is made to.
    let used = r#"provision >/dev/null 2>&1
        guest 'sed "s/^MemAvailable.*/MemAvailable: 100000 kB/" /proc/meminfo >/tmp/m; sudo mount --bind /tmp/m /proc/meminfo'; tiny"#;
    let run = host.sh(&alone("", used)).fails(42, "nixoci::image::not_an_image");
    run.err("has 102.4 MB of memory free").err("memory = \"4G\"");
    // Other ends are not taken for it.
    host.sh(&alone("", "tiny --argstr cmd 'kill -9 $$'")).fails(40, "nixoci::nix::build_killed");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn whatever_state_a_machine_is_in_it_is_made_to_build() {
    let script = r#"tiny >/dev/null 2>&1
        multipass suspend $vm >/dev/null; tiny 2>&1 | grep -E 'starting|not_an_image'
        multipass stop $vm >/dev/null; tiny 2>&1 | grep -E 'starting|not_an_image'
        multipass delete $vm; nixoci plan --backend multipass -f t.nix --argstr n 1 | grep recover; tiny 2>&1 | grep -E 'starting|not_an_image'
        strike; tiny 2>&1 | grep -E 'off and on|starting|not_an_image'"#;
    for options in [ROOTS, ROOTS_NEXT] {
        let run = struck(NIX_2_34.with(options), script, |vm| fault(&["unknown-state", vm]));
        assert_eq!(run.out.matches("starting the virtual machine").count(), 4, "{run:#?}");
        assert_eq!(run.out.matches("not_an_image").count(), 4, "{run:#?}");
        run.out("multipass recover t").out("runs and does not answer: it is switched off and on");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn other_people_s_machines_are_left_alone() {
    let ours = "nixoci::multipass::not_ours";
    let begin = "multipass launch -n $vm -m 1G -d 6G >/dev/null 2>&1";
    let host = NIX_2_34.with(RELEASE);
    host.sh(&alone("", &format!("{begin}; tiny"))).fails(20, ours).err("instance = \"nixoci-builder\"");
    let script = format!(
        "{begin}; multipass stop $vm >/dev/null; tiny; code=$?; multipass list | grep $vm; exit $code"
    );
    host.sh(&alone("", &script)).fails(20, ours).out("Stopped");
    host.sh(&alone("", &format!("{begin}; multipass delete $vm; tiny")))
        .fails(20, "nixoci::multipass::deleted");
    let script = format!("{begin}; provision --remove; provision --stop; multipass list | grep $vm");
    host.sh(&alone("", &script)).code(0).out("Running").err("nixoci has made no virtual machine");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_is_put_away_is_what_nixoci_made_and_nothing_else_of_that_name() {
    let host = NIX_2_34.with(RELEASE);
    // Somebody else's took the name, and is as it was found, whatever nixoci remembers.
    let state = "multipass list | grep $vm | tr -s ' ' | cut -d' ' -f2";
    for (how, wanted) in [
        (":", "Running"),
        ("multipass stop $vm >/dev/null", "Stopped"),
        ("multipass suspend $vm >/dev/null", "Suspended"),
        ("multipass delete $vm", "Deleted"),
    ] {
        let script = format!(
            "provision >/dev/null 2>&1; multipass delete -p $vm; multipass launch -n $vm -m 1G -d 6G >/dev/null 2>&1; {how}
            provision --remove; code=$?; tiny >/dev/null 2>&1; echo built $?; {state}; exit $code"
        );
        let run = host.sh(&alone("", &script)).fails(20, "nixoci::multipass::not_ours");
        run.out(&format!("built 20\n{wanted}\n"));
    }
    // So did another nixoci, or this one for another user.
    let script = format!(
        r#"provision >/dev/null 2>&1; multipass delete -p $vm; XDG_STATE_HOME=$(mktemp -d) provision >/dev/null 2>&1
        provision --stop 2>&1 | grep -o not_ours; provision --remove; code=$?; {state}
        sed -i 's/^memory.*/memory = "3G"/' nixoci.toml; provision 2>&1 | grep -o not_ours
        sed -i 's/"id":"[^"]*"/"id":""/' $XDG_STATE_HOME/nixoci/multipass/$vm/receipt.json; provision --remove 2>&1 | grep -o 'is gone'; exit $code"#
    );
    let run = host.sh(&alone("", &script)).fails(20, "nixoci::multipass::not_ours");
    run.err("has another id").out("not_ours\nRunning\nnot_ours\nis gone\n");
    // One's own goes also when it is off, or deleted already.
    let script = "for how in stop delete; do provision >/dev/null 2>&1; multipass $how $vm >/dev/null; provision --remove 2>&1 | grep -o 'is gone'; multipass list | grep $vm; done; echo end";
    host.sh(&alone("", script)).code(0).out("is gone\nis gone\nend\n");
    // A launch that was stopped before there was a machine leaves nothing to take another's for.
    let script = format!(
        r#"{SHIM}; shim '[ "$1" != launch ] || exec sleep 60'; PATH=$shimmed timeout -s INT 3 nixoci provision --backend multipass -y >/dev/null 2>&1; echo code $?
        ls $XDG_STATE_HOME/nixoci/multipass; multipass launch -n $vm -m 1G -d 6G >/dev/null 2>&1; provision --remove; {state}"#
    );
    let run = host.sh(&alone("", &script)).code(0).err("nixoci has made no virtual machine");
    assert!(run.out.ends_with(".lock\nRunning\n"), "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn stopped_is_what_is_off_and_what_nobody_can_look_into_is_stopped_all_the_same() {
    let host = NIX_2_34.with(ROOTS);
    let script =
        "provision >/dev/null 2>&1; strike; provision --stop; code=$?; multipass list | grep $vm; exit $code";
    for knob in ["unknown-state", "no-route"] {
        let run = struck(host, script, |vm| fault(&[knob, vm])).code(0);
        run.out("Stopped").err("is off; a build starts it");
    }
    // Smaller settings are told, once, and change nothing.
    let script = r#"provision >/dev/null 2>&1; sed -i 's/^memory.*/memory = "1G"/' nixoci.toml; provision 2>&1 | tee $log | grep -c 'all the same'; cat $log; multipass get local.$vm.memory"#;
    NIX_2_34.with(RELEASE).sh(&alone("", script)).code(0).out("1\naarch64").out("2.0GiB");
    let script = "provision >/dev/null 2>&1; multipass delete $vm; provision --stop; multipass delete -p $vm; provision --stop";
    let run = NIX_2_34
        .with(RELEASE)
        .sh(&alone("", script))
        .code(0)
        .err("is deleted")
        .err("there is no virtual machine");
    assert!(!run.err.contains("is off"), "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_keeps_multipass_from_being_used_has_its_own_code() {
    let tiny = alone("", "tiny");
    for (options, code, id) in [
        (&["--as", "mac", "--without", "nix", "--user", "alice"][..], 21, "nixoci::multipass::missing"),
        (
            &["--as", "mac", "--user", "alice", "--with", "multipass", "--without", "multipass-daemon"],
            20,
            "nixoci::multipass::daemon_down",
        ),
        (
            &["--as", "mac", "--user", "alice", "--with", "multipass", "--with", "multipass-denied"],
            22,
            "nixoci::multipass::socket_denied",
        ),
        (
            &[
                "--as",
                "mac",
                "--user",
                "alice",
                "--with",
                "multipass-1.17",
                "--with",
                "multipass-unauthenticated",
            ],
            22,
            "nixoci::multipass::unauthenticated",
        ),
    ] {
        NIX_2_34.with(options).sh(&tiny).fails(code, id);
    }
    let host = NIX_2_34.with(RELEASE);
    host.sh(&alone("", "tiny --platform linux/amd64"))
        .fails(20, "nixoci::multipass::cpu")
        .err("--backend rosetta");
    host.sh(&alone("image = '12.04'", "tiny")).fails(30, "nixoci::multipass::image");
    for settings in ["cpus = 0", "timeout = 0", "installer = 'x'", "idle = 'soon'"] {
        assert_eq!(host.sh(&alone(settings, "tiny")).code, 10, "{settings}");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_that_is_slow_or_out_of_reach() {
    let host = NIX_2_34.with(ROOTS);
    let strike_first = |script: &str, knob: &'static str| {
        struck(host, &format!("strike; {script}"), move |vm| fault(&[knob, vm]))
    };
    strike_first("tiny", "no-route").fails(20, "nixoci::multipass::no_route").err("Privacy_LocalNetwork");
    strike_first("tiny", "init-timeout").fails(42, "nixoci::image::not_an_image");
    strike_first("tiny", "response-timeout").fails(30, "nixoci::multipass::timed_out").err("bootpd");
    let script = "tiny; strike; multipass stop $vm >/dev/null; tiny";
    let run = struck(host, script, |vm| fault(&["ip-change-on-start", vm]));
    assert_eq!(run.err.matches("not_an_image").count(), 2, "{run:#?}");
    let run =
        strike_first("tiny", "no-network").fails(30, "nixoci::guest::dns").err("Temporary failure resolving");
    assert!(!run.err.contains("@no-package"), "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_installation_that_was_interrupted_goes_on_and_an_installer_is_what_it_is_said_to_be() {
    let host = NIX_2_34.with(RELEASE);
    // Half of it is there, as when the machine was switched off.
    let script = r#"provision >/dev/null 2>&1; guest 'sudo rm /var/lib/nixoci/stamp; sudo dpkg --unpack --force-all /lab/apt/nix-bin_*.deb >/dev/null 2>&1'
        rm -r $XDG_STATE_HOME/nixoci; guest 'dpkg -s nix-bin | grep ^Status'; tiny"#;
    host.sh(&alone("", script)).fails(42, "nixoci::image::not_an_image").out("unpacked");
    let installer = "/lab/multipass/nix-installer";
    let script = format!(
        r#"sum=$(sha256sum {installer} | cut -d' ' -f1); echo "installer = '{installer}'" >> nixoci.toml
        cp nixoci.toml $log.toml; echo "installer-sha256 = '$(printf %064d 0)'" >> nixoci.toml; tiny 2>&1 | grep -E 'SHA-256|nixoci::'
        cp $log.toml nixoci.toml; echo "installer-sha256 = '$sum'" >> nixoci.toml; tiny && exit; code=$?
        guest 'ls /usr/bin/nix; readlink -f $(command -v nix)'; exit $code"#
    );
    let run = host.sh(&alone("image = '24.04'\n", &script)).fails(42, "nixoci::image::not_an_image");
    run.out("its SHA-256 is").out("nixoci::guest::installer").out("/nix/store/");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_idle_machine_switches_itself_off_and_a_build_starts_it() {
    let script = r#"tiny 2>/dev/null; multipass list | grep $vm; sleep 9; multipass list | grep $vm; tiny 2>&1 | grep -E 'starting|not_an_image'"#;
    let script = format!(
        "{script}; nixoci shell --backend multipass -- sh -c 'echo $USER; sleep 9; echo still'; exit $?"
    );
    let run = NIX_2_34.with(RELEASE).sh(&alone("idle = '4s'", &script)).code(0).out("ubuntu\nstill\n");
    let states: Vec<usize> = ["Running", "Stopped", "starting the virtual machine", "not_an_image"]
        .map(|word| run.out.find(word).unwrap_or_else(|| panic!("{word}: {run:#?}")))
        .into();
    assert!(states.is_sorted(), "{run:#?}");
    NIX_2_34
        .with(RELEASE)
        .sh(&alone("idle = '0s'", "tiny 2>/dev/null; nixoci shell --backend multipass -- sh -c 'exit 7'"))
        .code(7);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn one_changed_file_is_what_crosses() {
    let script = r#"git config --global user.email a@b; git config --global user.name a; provision >/dev/null 2>&1
        conf=$PWD/nixoci.toml; mkdir p; cd p; git init -q; printf '%s' '{ outputs = { self }: { packages.aarch64-linux.x = builtins.derivation {
            name = "x"; system = "aarch64-linux"; builder = "/bin/sh"; args = [ "-c" "read x < ${self}/a/7; echo $x > $out" ]; }; }; }' > flake.nix
        mkdir a b; for d in a b; do for i in $(seq 200); do head -c 2000 /dev/urandom | base64 > $d/$i; done; done; git add .; git commit -qm a
        b() { nixoci --config-file $conf build --backend multipass .#x --no-link 2>&1 | grep -oE '^sent .*|nothing'; echo -; }
        b; b; echo changed > a/7; b; git commit -qam b; b; rm -r b; git add -A; b"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).code(0);
    let crossed: Vec<&str> = run.out.lines().map(|line| line.split(" to the").next().unwrap()).collect();
    // All of it; nothing; the changed file, 2.7 kB with what says where it belongs and what is staged; the commit, which has nothing new.
    assert!(crossed[0].starts_with("sent 401 files (1.") && crossed[0].ends_with("MB)"), "{run:#?}");
    assert!(crossed[3].starts_with("sent 1 file (") && crossed[3].ends_with("kB)"), "{run:#?}");
    let kilobytes: f64 = crossed[3][13..].split(' ').next().unwrap().parse().unwrap();
    assert!(kilobytes < 64.0, "{run:#?}");
    assert_eq!([&crossed[1..3], &crossed[4..]].concat(), ["-", "-", "-", "-", "-"], "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_a_flake_without_a_lock_quotes_is_an_input_only_where_it_can_be_one() {
    // The programs of the guest are the guest's, whatever a flake says of an image.
    let script = r#"provision >/dev/null 2>&1; conf=$PWD/nixoci.toml; mkdir lib p; echo '{ outputs = _: { text = "from lib"; }; }' > lib/flake.nix; cd p
        b() { nixoci --config-file $conf build --backend multipass .#x --no-link -o archive:$log.out 2>&1; }
        flake() { printf '{ inputs.lib.url = "%s"; outputs = { self, lib }: { packages.aarch64-linux.x = builtins.derivation {
            name = "x"; system = "aarch64-linux"; builder = "/bin/sh"; args = [ "-c" "echo ${lib.text} > $out" ];
            config = [ "/" "/bin" "/etc" "/tmp" "/usr/bin" ]; }; }; }' "$1" > flake.nix; }
        flake "path:$(dirname $PWD)/lib"; b; echo next; flake path:../lib; b"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script));
    let (first, next) = run.out.split_once("next\n").unwrap();
    assert!(first.contains("not_an_image") && first.contains("sent 2 files"), "{run:#?}");
    assert!(next.contains("local_input") && next.contains("inputs.lib.url = \"path:/"), "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_its_nix_says_is_answered_with_what_helps_there() {
    // A lock that does not fit, and the command that mends it where no Nix is. The input is on both sides.
    let script = r#"provision >/dev/null 2>&1; mkdir lib p; echo '{ outputs = _: { text = "a"; }; }' > lib/flake.nix
        there() { tar c -C / "${PWD%/p}/lib" 2>/dev/null | multipass exec -n $vm -- tar x -C /; }
        cp nixoci.toml p; cd p; there; printf '{ inputs.lib.url = "path:%s"; outputs = { self, lib }: { packages.aarch64-linux.x = builtins.derivation {
            name = "x"; system = "aarch64-linux"; builder = "/bin/sh"; args = [ "-c" "echo ${lib.text} > $out" ]; }; }; }' "${PWD%/p}/lib" > flake.nix
        printf '{"nodes":{"lib":{"locked":{"lastModified":1,"narHash":"sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","path":"%s","type":"path"},"original":{"path":"%s","type":"path"}},"root":{"inputs":{"lib":"lib"}}},"root":"root","version":7}' "${PWD%/p}/lib" "${PWD%/p}/lib" > flake.lock
        build .#x 2>$log; grep -o nixoci::.* $log; build -q .#x --override-input lib path:${PWD%/p}/lib 2>&1 | grep -o not_an_image; eval "$(grep 'tar c flake' $log)" 2>/dev/null; build .#x 2>&1 | grep -o not_an_image; cd ..
        echo 'derivation { name = "x"; system = "x86_64-linux"; builder = "/bin/sh"; }' > x.nix; build -f x.nix 2>&1 | grep -E 'error:|nixoci::|emulate'
        guest 'sudo systemctl stop nix-daemon.socket nix-daemon.service'; tiny 2>$log; grep -E 'nixoci::|Nix of' $log; eval "$(grep -o 'multipass exec.*restart.*' $log)"; tiny 2>&1 | grep -o not_an_image"#;
    let run =
        NIX_2_34.with(RELEASE).sh(&alone("", script)).out("nixoci::nix::lock\nnot_an_image\nnot_an_image\n");
    let run = run.out("nixoci::nix::platform").out("emulate = true").out("error: the virtual machine t");
    let run = run.out("nixoci::nix::daemon_down");
    assert_eq!(run.out.matches("not_an_image").count(), 3, "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_input_within_the_project_that_git_does_not_track_is_seen_where_it_is_named() {
    let flake = FLAKE
        .replace('\'', "")
        .replace("{ outputs = { self }:", "{ inputs.lib.url = \"github:o/r\"; outputs = { self, lib }:");
    let script = format!(
        r#"{COMPARE} provision >/dev/null 2>&1; mkdir -p p/vendor/lib p/vendor/repo; cd p; git init -q -b main
        printf '%s' '{flake}' | sed "s,\"no\",lib.text,g" > flake.nix; echo vendor > .gitignore; git add .; git commit -qm a
        echo '{{ outputs = {{ self }}: {{ text = "${{self}}"; }}; }}' | tee vendor/lib/flake.nix > vendor/repo/flake.nix
        (cd vendor/repo; git init -q -b main; git add .; git commit -qm b)
        with() {{ compare "$1" ".#x" --override-input lib "$1" -- --no-write-lock-file ".#packages.aarch64-linux.x.drvPath" --override-input lib "$1"; }}
        with path:./vendor/lib; with ./vendor/repo; echo >> vendor/repo/flake.nix; with ./vendor/repo; echo >> flake.nix; with path:./vendor/lib
        sed -i "s,github:o/r,path:$PWD/vendor/lib," flake.nix; nixoci --config-file $conf build --backend multipass .#x 2>&1 | grep -E 'nixoci::|override-input|git add'; with path:./vendor/lib"#
    );
    let run = NIX_2_26.with(BOTH).sh(&alone("", &script)).code(0);
    assert_eq!(run.out.matches(": same").count(), 5, "{run:#?}");
    run.out("nixoci::guest::local_input").out("--override-input NAME path:/").out("git add /");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_without_git_sends_everything_where_that_is_wanted() {
    let script = format!(
        r#"{COMPARE} provision >/dev/null 2>&1; mkdir p $log.bin; cd p; git init -q -b main; printf '%s' '{}' > flake.nix; git add .; git commit -qm a; echo ignored > .gitignore; git add .; git commit -qm b
        echo x > ignored; printf '%s' '{{ system }}: derivation {{ name = "x"; inherit system; builder = "/bin/sh"; src = ./flake.nix; has = builtins.readFile ./ignored; }}' > default.nix
        printf '#!/bin/sh\necho "xcode-select: note: No developer tools were found, requesting install." >&2; exit 1\n' > $log.bin/git; chmod +x $log.bin/git
        nixoci() {{ PATH=$log.bin:$PATH command nixoci "$@"; }}
        nixoci --config-file $conf build --backend multipass .#x 2>&1 | grep -E 'nixoci::|install$|sources ='
        echo 'sources = "path"' >> $conf; flake clean .; echo >> flake.nix; flake dirty .; file plain default.nix"#,
        FLAKE.replace('\'', "")
    );
    let run = NIX_2_26.with(BOTH).sh(&alone("", &script)).code(0);
    assert_eq!(run.out.matches(": same").count(), 3, "{run:#?}");
    run.out("xcode-select --install").out("sources = \"path\"").out("nixoci::guest::git");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn plans_before_and_after() {
    let script = r#"plan() { nixoci plan --backend multipass -f t.nix --argstr n 1 2>/dev/null | sed "s/$vm/VM/g; s,$PWD,DIR,"; }
        plan; provision >/dev/null 2>&1; echo; echo made:; plan; provision --stop 2>/dev/null; echo; echo stopped:; plan; multipass list | grep $vm | sed "s/$vm/VM/" | tr -s ' '"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).code(0);
    let filters = [(r"\d+ CPUs?", "[N] CPUs"), (r"/nix/store/[a-z0-9]{32}-", "/nix/store/[HASH]-")];
    insta::with_settings!({ filters => filters }, { insta::assert_snapshot!("plans", run.out) });
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn secrets_and_the_way_out_reach_the_guest_and_no_secret_stays() {
    // What Nix is told, it says itself; what a build's environment is, an expression reads.
    let script = r#"export XDG_CONFIG_HOME=$(mktemp -d) GITHUB_TOKEN=hush-token; mkdir $XDG_CONFIG_HOME/nixoci; echo 'machine example.org login me password hush-word' > $log.netrc
        printf '[credentials]\ngithub = "env:GITHUB_TOKEN"\nnetrc = "%s"\n' $log.netrc > $XDG_CONFIG_HOME/nixoci/config.toml
        printf '%s' '{ system, n }: let f = builtins.readFile; s = "/run/nixoci/secrets"; in derivation { name = "t-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo hi > $out" ];
            a = builtins.trace (builtins.replaceStrings ["hush"] ["HUSH"] (f "${s}/nix.conf" + f "${s}/netrc" + builtins.getEnv "NIX_USER_CONF_FILES" + builtins.getEnv "https_proxy")) ""; }' > s.nix
        secret() { nixoci -vv build --backend multipass -y --impure --no-link -f s.nix --argstr n $RANDOM$RANDOM; }
        export https_proxy=http://proxy.corp:3128 NIX_SSL_CERT_FILE=$log.pem; echo certificate > $log.pem
        secret 2>$log.err; grep -E 'HUSH|/run/nixoci/secrets|proxy.corp' $log.err | sort -u; grep -c hush $log.err
        guest 'cat /etc/nixoci/certificates.pem /etc/nixoci/environment; sudo grep -rls hush / --include=* --exclude-dir=proc --exclude-dir=sys --exclude-dir=lab --exclude-dir=store 2>/dev/null'; echo clean
        unset https_proxy NIX_SSL_CERT_FILE; tiny 2>/dev/null; guest 'cat /etc/nixoci/environment; ls /etc/nixoci'
        unset GITHUB_TOKEN; secret 2>&1 | tail -1
        printf '[credentials]\ngithub = "gh"\n' >> nixoci.toml; tiny"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).fails(11, "nixoci::config::credentials");
    let run = run
        .out("extra-access-tokens = github.com=HUSH-token")
        .out("password HUSH-word")
        .out("http://proxy.corp:3128");
    let run = run.out("\n0\ncertificate\n").out("NIX_SSL_CERT_FILE=/etc/nixoci/certificates.pem");
    let run = run.out("GIT_SSL_CAINFO=/etc/nixoci/certificates.pem");
    run.out("nixoci::guest::credentials").out("clean\nenvironment\nvm.json\n");
}

/// A binary cache on port 8099 that wants a password.
const PRIVATE_CACHE: &str = r#"
import base64, http.server, os
os.chdir("/tmp/cache")
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        wanted = "Basic " + base64.b64encode(b"me:hush-word").decode()
        if self.headers.get("Authorization") != wanted:
            self.send_response(401); self.end_headers(); return
        super().do_GET()
    do_HEAD = do_GET
http.server.HTTPServer(("127.0.0.1", 8099), Handler).serve_forever()
"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_binary_cache_that_wants_a_password_gets_it_from_the_daemon_and_nobody_keeps_it() {
    // What was built lies in the cache alone, and nothing may be built any more.
    let script = format!(
        r#"export XDG_CONFIG_HOME=$(mktemp -d); mkdir $XDG_CONFIG_HOME/nixoci; printf 'machine 127.0.0.1\nlogin me\npassword hush-word\n' > $log.netrc
        build --no-link -f t.nix --argstr n cached >/dev/null 2>&1; guest 'p=$(ls -d /nix/store/*-t-cached); nix key generate-secret --key-name k >/tmp/k; nix copy --to "file:///tmp/cache?secret-key=/tmp/k" $p && sudo nix-store --delete --ignore-liveness $p' >/dev/null 2>&1
        echo '{PRIVATE_CACHE}' | multipass exec -n $vm -- sh -c 'cat >/tmp/cache.py'; guest 'nohup python3 /tmp/cache.py >/tmp/cache.log 2>&1 &'
        key=$(guest 'nix key convert-secret-to-public </tmp/k')
        cached() {{ build --no-link -f t.nix --argstr n cached --max-jobs 0 --option substituters http://127.0.0.1:8099 --option trusted-public-keys "$key" 2>&1 | grep -oE 'nixoci::.*|does not reach'; }}
        echo without; cached; printf '[credentials]\nnetrc = "%s"\n' $log.netrc > $XDG_CONFIG_HOME/nixoci/config.toml; echo with; cached
        printf '%s' '{{ system }}: derivation {{ name = "x"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo hi > $out" ]; a = builtins.readFile (builtins.fetchurl "http://127.0.0.1:8099/nix-cache-info"); }}' > f.nix
        build --no-link -f f.nix 2>&1 | grep -o 'nixoci::.*'
        guest 'ls /run/nixoci; sudo grep -rls hush-word /run /etc /var /home /tmp --exclude=cache.py'; echo end"#
    );
    for host in [RELEASE, NEXT] {
        let run = NIX_2_34.with(host).sh(&alone("", &script)).code(0);
        let run = run.out("with\nnixoci::image::not_an_image\nnixoci::image::not_an_image\n");
        assert!(!run.out.contains("without\nnixoci::image::"), "{run:#?}");
        assert!(run.out.ends_with("\nin-use\nsecrets\nused\nend\n"), "{run:#?}");
        assert!(!run.out.contains("does not reach"), "{run:#?}");
    }
}

/// Says whether guest and host compute the same derivation for these words of `nixoci plan` and of `nix`.
const COMPARE: &str = r#"git config --global user.email a@b; git config --global user.name a; git config --global protocol.file.allow always; conf=$PWD/nixoci.toml
compare() { # compare TITLE PLAN… -- NIX…
    title=$1; shift; words=(); while [ "$1" != -- ]; do words+=("$1"); shift; done; shift
    there=$(nixoci --config-file $conf plan --backend multipass --platform linux/arm64 --format json "${words[@]}" 2>$log | grep -o '/nix/store/[a-z0-9]*-x.drv' | head -n 1)
    host=$(nix --extra-experimental-features 'nix-command flakes' eval --raw "$@" 2>$log.nix)
    [ -n "$host" ] && [ "$there" = "$host" ] && echo "$title: same" || { echo "$title: there $there, here $host"; cat $log $log.nix; }
}
flake() { compare "$1" "$2#x" -- --no-write-lock-file "$2#packages.aarch64-linux.x.drvPath"; }
file() { compare "$1" -f "$2" -- --argstr system aarch64-linux -f "$2" drvPath; }
"#;

each!(submodules_inputs_on_this_host_and_plain_files_are_what_they_are_here: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn submodules_inputs_on_this_host_and_plain_files_are_what_they_are_here(host: Host) {
    let flake = FLAKE.replace('\'', "");
    let script = format!(
        r#"{COMPARE} provision >/dev/null 2>&1; printf '%s' '{flake}' > $log.flake
        mkdir inner lib m sub my-project; cd inner; git init -q; echo in > in; git add .; git commit -qm i
        cd ../lib; echo '{{ outputs = _: {{ text = "from lib"; }}; }}' > flake.nix; echo x > x
        cd ../m; git init -q; git submodule --quiet add ../inner nested 2>/dev/null; echo m > m; git add .; git commit -qm m
        cd ../sub; git init -q; git submodule --quiet add ../m mod 2>/dev/null; git submodule --quiet update --init --recursive; cp $log.flake flake.nix; git add .; git commit -qm s
        flake modules "git+file://$PWD?submodules=1"; flake without-modules .
        cd ..; mkdir inputs; cd inputs; sed "s,outputs = {{ self }},inputs.lib.url = \"path:$(dirname $PWD)/lib\"; outputs = {{ self\, lib }},; s,\"no\",lib.text,g" $log.flake > flake.nix; flake unlocked .
        nix --extra-experimental-features 'nix-command flakes' flake lock 2>/dev/null; ls flake.lock; flake locked .
        printf '{{ outputs = _: {{ }}; }}' > flake.nix; printf '{{"nodes":{{"lib":{{"locked":{{"type":"git","url":"file:///x","rev":"1"}}}}}}}}' > flake.lock; nixoci --config-file $conf build --backend multipass .#x 2>&1 | grep nixoci::
        cd ../my-project; printf '%s' '{{ system }}: derivation {{ name = "x"; inherit system; builder = "/bin/sh"; src = ./.; args = [ (toString ./.) ]; }}' > default.nix; mkdir empty; echo a > a
        file plain default.nix; file directory .
        git init -q; echo b > b; echo ignored > ignored; echo ignored > .gitignore; nixoci --config-file $conf plan --backend multipass -f . 2>&1 | grep -c x.drv
        cd; nixoci --config-file $conf build --backend multipass -f $HOME 2>&1 | grep nixoci::"#
    );
    let run = host.with(BOTH).sh(&alone("", &script));
    assert_eq!(run.out.matches(": same").count(), 6, "{run:#?}");
    run.out("nixoci::guest::local_input").out("flake.lock");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_full_disk_is_emptied_and_then_enlarged_and_bigger_settings_are_carried_out() {
    // 150 MB in the builder's own words, where the disk has 100.
    let fill = "a=xxxxxxxxxxxxxxxx; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do a=$a$a; done; i=0; while [ $i -lt 2300 ]; do echo $a; i=$((i+1)); done > $out";
    let script = |flags: &str| {
        format!(
            r#"provision >/dev/null 2>&1; guest 'sudo fallocate -l $(($(df --output=avail -B1 /var | tail -n 1) - 100000000)) /var/big'
            nixoci build --backend multipass {flags} --no-link -f t.nix --argstr n $RANDOM --argstr cmd '{fill}'; code=$?; multipass get local.$vm.disk
            sed -i 's/^memory.*/memory = "3G"/' nixoci.toml; provision >/dev/null 2>&1; multipass get local.$vm.memory; exit $code"#
        )
    };
    let host = NIX_2_34.with(RELEASE);
    let full = host.sh(&alone("on-oom = 'fail'", &script("-y"))).fails(40, "nixoci::guest::disk_full");
    full.err("of disk left: collecting garbage")
        .err("are free after collecting garbage")
        .out("10.0GiB\n3.0GiB");
    let grown = host.sh(&alone("on-oom = 'grow'", &script(""))).fails(42, "nixoci::image::not_an_image");
    grown.out("20.0GiB\n3.0GiB").err("GiB of disk, then the build goes on");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_article_s_mount_is_an_option_and_is_looked_at_before_every_build() {
    let script = format!(
        r#"{COMPARE} provision >/dev/null 2>&1; mkdir p; cd p; git init -q; printf '%s' '{}' > flake.nix; git add .; git commit -qm a
        printf '%s' '{{ system }}: derivation {{ name = "x"; inherit system; builder = "/bin/sh"; src = ./flake.nix; args = [ (toString ./.) ]; }}' > default.nix
        flake clean .; echo >> flake.nix; flake dirty .; file plain default.nix; ls -A; multipass info $vm --format json | grep -c source_path
        strike; multipass stop $vm >/dev/null; multipass start $vm >/dev/null; flake restarted .
        grep -h sent $log; git status --porcelain"#,
        FLAKE.replace('\'', "")
    );
    let run =
        struck_with("sources = 'mount'", NIX_2_26.with(ROOTS_BOTH), &script, |vm| fault(&["mount-lost", vm]))
            .code(0);
    assert_eq!(run.out.matches(": same").count(), 4, "{run:#?}");
    assert!(!run.out.contains("sent ") && !run.out.contains(".nixoci-"), "{run:#?}");
    for (knob, code, id) in [
        ("mounts-disabled", 20, "nixoci::multipass::mounts"),
        ("mount-empty", 30, "nixoci::multipass::mount"),
    ] {
        let run =
            struck_with("sources = 'mount'", NIX_2_34.with(ROOTS), "strike; tiny", |vm| fault(&[knob, vm]));
        run.fails(code, id).err("sources = \"stream\"");
    }
    let knob = |vm: &str| fault(&["sshfs-missing", vm]);
    struck_with("sources = 'mount'", NIX_2_34.with(ROOTS_NEXT), "strike; tiny", knob)
        .fails(30, "nixoci::multipass::mount");
}

/// `shim SCRIPT` puts a program in front of Multipass: it runs SCRIPT, and then Multipass itself.
const SHIM: &str = r#"shim() { dir=$(mktemp -d); printf '#!/bin/sh\nPATH=%s\n%s\nexec multipass "$@"\n' "$PATH" "$1" > $dir/multipass; chmod +x $dir/multipass; shimmed=$dir:$PATH; }"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_multipass_that_is_too_old_and_a_first_boot_that_ignores_its_orders() {
    let host = NIX_2_34.with(RELEASE);
    let old = r#"[ "$1" != version ] || { echo "{\"multipass\":\"1.12.2+mac\",\"multipassd\":\"1.12.2+mac\"}"; exit; }"#;
    let run = host.sh(&alone("", &format!("{SHIM}; shim '{old}'; PATH=$shimmed tiny")));
    run.fails(21, "nixoci::multipass::too_old").err("Multipass 1.12.2+mac is too old");
    // What cloud-init is given is nothing that it has to do, as when it fails at its first step.
    let ignored =
        r#"[ "$1" != launch ] || { cat >/dev/null; echo "package_update: false" | multipass "$@"; exit; }"#;
    let script = format!(
        "{SHIM}; shim '{ignored}'; PATH=$shimmed tiny; code=$?; provision --remove 2>&1 | grep -o multipass::first_boot; multipass delete -p $vm; tiny 2>&1 | grep -c not_an_image; exit $code"
    );
    let run = host.sh(&alone("", &script)).fails(30, "nixoci::multipass::first_boot");
    run.err("cloud-init status --long").err("multipass delete -p t").out("multipass::first_boot\n1\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn ctrl_c_at_any_moment_of_a_provisioning_and_nixocis_that_share_no_lock() {
    let script = r#"for after in 0.1 0.4 0.8 1.2 1.8 2.4; do
            timeout --preserve-status -s INT $after nixoci provision --backend multipass -y >$log 2>&1; echo code $?
        done; provision >$log 2>&1 || cat $log; gone left"#;
    let run = NIX_2_34.with(NEXT).sh(&alone("", script)).out("left:\nend\n");
    assert!(run.out.matches("code 130").count() >= 3, "{run:#?}");
    // Two users of one Multipass: the one that comes later finds a machine that is being prepared, and waits for it.
    let script = r#"XDG_STATE_HOME=$(mktemp -d) tiny >$log 2>&1 & sleep 0.2; tiny >$log.2 2>&1; wait
        cat $log $log.2 | grep -c not_an_image || cat $log $log.2"#;
    NIX_2_34.with(RELEASE).sh(&alone("", script)).out("2\n");
    // While it is prepared, Multipass lists none, and refuses to launch another.
    let prepared = r#"[ "$1" != launch ] || [ -e $NIXOCI_PREPARED ] || { n=$(cat $NIXOCI_PREPARED.n 2>/dev/null || echo 0); echo $((n+1)) >$NIXOCI_PREPARED.n; [ $n -lt 3 ] || : >$NIXOCI_PREPARED; cat >/dev/null; echo "launch failed: instance \"$4\" is being prepared" >&2; exit 2; }"#;
    let script = format!(
        "export NIXOCI_PREPARED=$(mktemp -u); {SHIM}; shim '{prepared}'; PATH=$shimmed tiny; code=$?; cat $NIXOCI_PREPARED.n; exit $code"
    );
    let run =
        NIX_2_34.with(RELEASE).sh(&alone("", &script)).fails(42, "nixoci::image::not_an_image").out("4\n");
    run.err("waiting for another launch");
    let script = format!(
        "sed -i 's/^instance/timeout = 1\\n&/' nixoci.toml; export NIXOCI_PREPARED=/nowhere/x; {SHIM}; shim '{prepared}'; PATH=$shimmed tiny"
    );
    NIX_2_34.with(RELEASE).sh(&alone("", &script)).fails(30, "nixoci::multipass::preparing");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_other_cpu_is_refused_with_its_ways_or_emulated_where_that_is_wanted() {
    let refused = NIX_2_34.with(NEXT).sh(&alone("", "tiny --platform linux/amd64"));
    refused.fails(20, "nixoci::multipass::cpu").err("emulate = true");
    // An Intel Mac, so that it is arm64's programs that really run.
    let script = r#"cp $here/examples/layered/default.nix .
        nixoci plan --backend multipass --platform linux/arm64 -f default.nix
        provision --platform linux/arm64,linux/amd64
        build -f default.nix --platform linux/arm64 --load=docker -t emulated:1 2>$log || { cat $log; exit 1; }
        nixoci backends | grep -A2 ^multipass
        docker run --rm --platform linux/arm64 emulated:1"#;
    let run = NIX_2_34.with(INTEL).sh(&alone("emulate = true", script)).code(0);
    let run = run.out("qemu for the other CPU's programs: to do").out("by emulation").out("Hello, world!");
    run.out("ready, emulated, on multipass").out("aarch64-linux: built and").out("x86_64-linux: built and");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn this_machine_s_nix_builds_in_it_by_ssh_where_that_is_wanted() {
    let ssh = "transport = 'ssh'";
    NIX_2_34
        .with(RELEASE)
        .sh(&alone(ssh, "tiny"))
        .fails(21, "nixoci::nix::missing")
        .err("leave `transport` out");
    let script = r#"cp $here/examples/layered/default.nix .
        build -f default.nix --load=docker 2>$log || { cat $log; exit 1; }
        grep 'to the virtual machine' $log && echo sources
        build -f default.nix --load=docker --format json 2>/dev/null >$log.json
        grep -o '"fetchedBytes": *[0-9]*' $log.json; docker run --rm $(grep -o '"reference": *"[^"]*' $log.json | head -n1 | cut -d'"' -f4)"#;
    let run =
        NIX_2_34.with(BOTH).sh(&alone(ssh, script)).code(0).out("\"fetchedBytes\": 0").out("Hello, world!");
    assert!(!run.out.contains("sources"), "{run:#?}");
    let script = r#"key=$XDG_STATE_HOME/nixoci/multipass/$vm/id_ed25519; tiny 2>&1 | grep -o not_an_image
        stat -c %a $key; guest 'grep -c ^restrict .ssh/authorized_keys'
        : >$key; tiny 2>&1 | grep -E 'multipass::key|rm -f'; rm $key*; tiny 2>&1 | grep -o not_an_image
        guest 'sudo ssh-keygen -q -t ed25519 -N "" -f /tmp/k; sudo cp /tmp/k.pub /etc/ssh/ssh_host_ed25519_key.pub'
        tiny 2>&1 | grep -o 'another host key'; ls $XDG_STATE_HOME/nixoci/multipass/$vm; gone left
        provision --remove; ls $XDG_STATE_HOME/nixoci/multipass/$vm || echo forgotten"#;
    let run =
        NIX_2_34.with(BOTH_NEXT).sh(&alone(ssh, script)).code(0).out("not_an_image\n600\n1\n").out("rm -f /");
    run.out("nixoci::multipass::key\nnot_an_image\nanother host key\n")
        .out("\nid_ed25519\nid_ed25519.pub\nreceipt.json\nleft:\nend\nforgotten");
    // It may have another address whenever it was off, and what is killed there is seen as ever.
    let script = r#"sed -i 's/^memory.*/memory = "1G"/' nixoci.toml
        tiny 2>&1 | grep -o not_an_image; strike; multipass stop $vm >/dev/null; tiny 2>&1 | grep -o not_an_image
        tiny --argstr cmd 'HUNGRY'"#;
    let script = script.replace("HUNGRY", HUNGRY);
    let run = struck_with(&format!("{ssh}\non-oom = 'fail'"), NIX_2_34.with(ROOTS_BOTH), &script, |vm| {
        fault(&["ip-change-on-start", vm]);
    });
    run.fails(40, "nixoci::guest::out_of_memory").out("not_an_image\nnot_an_image\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_ssh_agent_is_asked_where_that_is_wanted_and_nothing_of_it_stays() {
    let script = r#"export HOME=$(mktemp -d) XDG_CONFIG_HOME=$(mktemp -d); mkdir -m 700 $HOME/.ssh; mkdir $XDG_CONFIG_HOME/nixoci
        ssh-keygen -q -t ed25519 -N '' -f key; eval "$(ssh-agent)" >/dev/null; trap "kill $SSH_AGENT_PID; multipass delete -p $vm >/dev/null" EXIT
        cat >t.nix <<'END'
{ system, n, cmd ? "cat < $file > $out" }: derivation {
  name = "t-${n}"; inherit system cmd; builder = "/bin/sh"; args = [ "-c" "read a < $file; echo $a > $out; eval $then" ];
  file = builtins.fetchGit { url = "ssh://ubuntu@localhost/home/ubuntu/repo"; ref = "master"; } + "/file"; "then" = cmd;
}
END
        provision >/dev/null 2>&1
        guest "printf '\n%s\n' '$(cat key.pub)' >>.ssh/authorized_keys; git init -q -b master repo; cd repo; echo hush >file; git add .
            git -c user.name=a -c user.email=a@b commit -qm x"
        t() { tiny --argstr cmd : "$@" 2>&1 | grep -oE 'not_an_image|fetch_denied|--ssh default|does not accept|nobody has confirmed|guest::credentials'; }
        echo 1; t; echo 2; t --ssh default
        guest 'cat /etc/ssh/ssh_host_ed25519_key.pub' | sed 's/^/localhost /' >$HOME/.ssh/known_hosts
        echo 3; t --ssh default; ssh-add -q key; echo 4; t --ssh default; guest 'ls -A /dev/shm'
        guest 'cd repo; echo more >file; git -c user.name=a -c user.email=a@b commit -qam y'
        printf '[credentials]\nforward = ["ssh-agent"]\n' >$XDG_CONFIG_HOME/nixoci/config.toml; echo 5; t --refresh
        echo 6; SSH_AUTH_SOCK=/nowhere t
        nixoci build --backend multipass -y --no-link -f t.nix --argstr n 0 --argstr cmd 'while :; do :; done' >$log 2>&1 & pid=$!; until guest 'pgrep -u nixbld1 >/dev/null'; do kill -0 $pid || break; sleep 0.1; done
        guest 'ls /dev/shm' | wc -l; kill -9 $pid; there() { guest 'ls -A /dev/shm'; left; }; gone there"#;
    for version in [RELEASE, NEXT] {
        let run = NIX_2_34.with(version).sh(&alone("", script)).code(0);
        let denied = "fetch_denied\n";
        run.out(&format!(
            "1\nnobody has confirmed\n--ssh default\n{denied}2\nnobody has confirmed\n{denied}"
        ))
        .out(&format!(
            "3\ndoes not accept\n{denied}4\nnot_an_image\n5\nnot_an_image\n6\nguest::credentials\n1\nleft:\nend"
        ));
    }
}
