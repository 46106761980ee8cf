//! Machines that build for a Mac or for anybody, and what is wrong with them.

use super::*;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_builds_nothing_for_linux_but_on_its_builders() {
    // Something that was never built before, for whom and by whom.
    let build = |nix: &str, builders: &[&str], system: &str| {
        let mut flags = vec!["--as", "mac", "--nix", nix, "--user", "alice"];
        flags.extend(builders.iter().flat_map(|builder| ["--with", builder]));
        let salt = builders.join(" ");
        let script = format!(
            "cd $(mktemp -d); cat > x.nix <<'END'\n\
             {{ system, salt }}: (import <nixpkgs> {{ inherit system; }}).runCommand \"x\" {{ inherit salt; }} \"uname -m > $out\"\n\
             END\n\
             out=$({BUILD} --no-link --print-out-paths -f x.nix --argstr system {system} --argstr salt '{salt}'); cat $out"
        );
        sh(&flags, &script)
    };
    for nix in NIX {
        assert_eq!(out(&["--as", "mac", "--nix", nix], "uname -sm"), "Darwin arm64\n");
        let refused = build(nix, &[], "x86_64-linux");
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("x86_64-linux") && said.contains("aarch64-darwin"), "{said}");

        // She is not trusted, and the key is root's: the daemon uses it for her.
        for (builder, system, cpu) in [
            ("linux-builder", "x86_64-linux", "x86_64"),
            ("rosetta-builder", "x86_64-linux", "x86_64"),
            ("rosetta-builder", "aarch64-linux", "aarch64"),
        ] {
            let built = build(nix, &[builder], system);
            let said = String::from_utf8_lossy(&built.stderr).into_owned();
            assert_eq!(String::from_utf8_lossy(&built.stdout), format!("{cpu}\n"), "{said}");
        }
        let flags = ["--as", "mac", "--nix", nix, "--with", "linux-builder", "--user", "alice"];
        assert!(!sh(&flags, "cat /etc/nix/builder_ed25519").status.success());
    }
}

/// A command that builds on a machine something that nobody built before, with this as its script, and prints its path.
/// `store` may have parameters.
fn build_there(store: &str, script: &str) -> String {
    format!(
        "cd $(mktemp -d); cat > x.nix <<'END'\n\
         {{ salt, system ? \"x86_64-linux\" }}: derivation {{ name = \"x\"; inherit salt system; builder = \"/bin/sh\"; \
         args = [ \"-c\" ''{script}'' ]; }}\n\
         END\n\
         nix --extra-experimental-features nix-command build --no-link --print-out-paths --store 'ssh-ng://{store}' \
         --eval-store auto -f x.nix --argstr salt $(date +%s%N)"
    )
}

/// Where cat has its Nix.
const CATS_NIX: &str = "cat?remote-program=/nix/var/nix/profiles/default/bin/nix-daemon";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_fleet_builds_over_ssh_for_whoever_has_its_key() {
    for (machine, nix, user) in [
        ("mac", "2.26", "alice"),
        ("mac", "2.34", "alice"),
        ("mac", "2.34", "root"),
        ("linux", "2.34", "alice"),
    ] {
        let flags = ["--as", machine, "--nix", nix, "--user", user, "--with", "fleet"];
        for store in ["ant", "bee"] {
            // Nothing comes back: what was built is where it was built.
            let script = format!(
                "out=$({}); test ! -e $out; nix --extra-experimental-features nix-command store cat --store \
                 'ssh-ng://{store}' $out",
                build_there(store, "echo built > $out")
            );
            assert_eq!(out(&flags, &script), "built\n");
        }
    }
    let flags = ["--as", "mac", "--user", "alice", "--with", "fleet"];
    let arm64 = build_there("bee", "echo for arm64 > $out").replace("x86_64-linux", "aarch64-linux");
    assert!(out(&flags, &arm64).starts_with("/nix/store/"));
    let refused = refusal(&flags, &arm64.replace("//bee", "//ant"));
    assert!(refused.contains("aarch64-linux"), "{refused}");

    let trusted = out(
        &flags,
        "for m in ant bee; do nix --extra-experimental-features nix-command store info --store ssh-ng://$m; done 2>&1 \
         | grep Trusted",
    );
    assert_eq!(trusted, "Trusted: 0\nTrusted: 1\n");
    let home = out(&flags, "stat -c '%a %U' ~/.ssh ~/.ssh/id_ed25519; ls -A /etc/nix");
    assert_eq!(home, "700 alice\n600 alice\nnix.conf\n");
    assert!(!sh(&["--with", "fleet", "--user", "mallory"], "ssh -o BatchMode=yes ant").status.success());
    assert!(!sh(&["--user", "alice"], "ssh -o BatchMode=yes ant").status.success());
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn cat_hides_its_nix_and_its_disk_is_small() {
    let flags = ["--as", "mac", "--user", "alice", "--with", "fleet"];
    let hidden = refusal(&flags, &build_there("cat", "echo > $out"));
    assert!(hidden.contains("nix-daemon: not found"), "{hidden}");
    assert!(out(&flags, "ssh cat \"sh -lc 'nix --version'\"").contains(" 2.34"), "a login finds it");
    // Not into its output: Nix keeps what a failed build put there until somebody collects garbage.
    let flood = "x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do x=$x$x; done; while echo $x; do :; done > big";
    let full = refusal(&flags, &build_there(CATS_NIX, &format!("{flood}; exit 1")));
    assert!(full.contains("No space left on device"), "{full}");
    // What failed is gone: this is the only test of the lab's own that uses cat.
    assert!(out(&flags, &build_there(CATS_NIX, "echo > $out")).starts_with("/nix/store/"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn ways_to_bee_that_something_is_wrong_with() {
    let flags = ["--as", "mac", "--user", "alice", "--with", "trouble"];
    let slow = format!(
        "out=$({}); nix --extra-experimental-features nix-command store cat --store ssh-ng://slow $out",
        build_there("slow", "echo from afar > $out")
    );
    assert_eq!(out(&flags, &slow), "from afar\n");
    // A megabyte comes whole over the slow line, and not over one that is cut.
    let much = "x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do x=$x$x; done; \
                for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do echo $x; done > $out";
    let script = format!(
        "out=$({}); cat='nix --extra-experimental-features nix-command store cat'; $cat --store ssh-ng://slow $out | wc -c; \
         $cat --store ssh-ng://cut $out",
        build_there("cut", much)
    );
    let cut = sh(&flags, &script);
    let said = String::from_utf8_lossy(&cut.stderr);
    assert!(!cut.status.success() && cut.stdout.starts_with(b"1048592\n"), "{said}");

    let ssh = |host: &str| refusal(&flags, &format!("timeout 10 ssh -o BatchMode=yes {host} true"));
    for (host, why) in [
        ("closed", "Connection "),
        ("-v web", "HTTP/1.0 400 Bad Request"),
        ("impostor", "REMOTE HOST IDENTIFICATION HAS CHANGED"),
        ("refused", "Permission denied (publickey)"),
        ("nobody-home", "Connection refused"),
    ] {
        let said = ssh(host);
        assert!(said.contains(why), "{host}: {said}");
    }
    let silent = sh(&flags, "timeout 1 ssh -o BatchMode=yes silent true");
    assert_eq!(silent.status.code(), Some(124), "{}", String::from_utf8_lossy(&silent.stderr));
    // Behind the other host key is bee, for those who do not look.
    let careless =
        "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null impostor whoami";
    assert_eq!(out(&flags, careless), "builder\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_on_demand_boots_when_somebody_connects() {
    let flags = ["--as", "mac", "--with", "rosetta-on-demand"];
    let log = "cat /lab/mac/rosetta-on-demand/log";
    let asleep = || {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !sh(&flags, "test ! -e /lab/mac/rosetta-on-demand/awake").status.success() {
            assert!(Instant::now() < deadline, "it does not fall asleep");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    asleep();
    let before = out(&flags, log).lines().count();
    let ssh = "ssh -o BatchMode=yes rosetta-builder true";
    let first = refusal(&flags, ssh);
    assert!(first.contains("Connection "), "{first}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !sh(&flags, ssh).status.success() {
        assert!(Instant::now() < deadline, "it does not boot");
    }
    // Awake, it builds: the first build found it asleep.
    let built = format!(
        "cd $(mktemp -d); {BUILD} --impure --no-link --print-out-paths --expr \
         'derivation {{ name = \"x\"; system = \"aarch64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo > $out\" ]; \
         salt = toString builtins.currentTime; }}'"
    );
    let alice = ["--as", "mac", "--with", "rosetta-on-demand", "--user", "alice"];
    assert!(out(&alice, &built).starts_with("/nix/store/"));
    assert_eq!(out(&flags, log).lines().count(), before + 1, "one boot");
    asleep();
    assert!(out(&["--as", "mac"], log).starts_with("boot 1\n"), "every Mac sees the log");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn faults_end_what_runs_on_a_machine_and_not_the_machine() {
    let flags = ["--as", "mac", "--user", "alice", "--with", "fleet"];
    let fault = |what: &str| {
        let program = std::env::var_os("NIXOCI_LAB").expect("NIXOCI_LAB is set by `cargo xtask test`");
        Command::new(program).args(["lab", "fault", "dodo", what]).output().expect("the lab's program runs")
    };
    for what in ["sessions", "daemon"] {
        // It says where it is by a name of its own, and then takes longer than any test.
        let endless = build_there("dodo", "echo here I am; while :; do :; done");
        let mut build = lab(&flags, &["sh", "-euc", &format!("{endless} -L")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the lab's program runs");
        let mut said = String::new();
        let mut lines = BufReader::new(build.stderr.take().expect("a pipe"));
        while !said.contains("here I am\n") {
            assert_ne!(lines.read_line(&mut said).expect("it can be read"), 0, "{said}");
        }
        let killed = fault(what);
        assert!(killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
        assert!(!build.wait().expect("it can be waited for").success());
        lines.read_to_string(&mut said).expect("it can be read");
        assert!(said.contains("error: "), "{said}");
        assert!(out(&flags, &build_there("dodo", "echo > $out")).starts_with("/nix/store/"));
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while fault("sessions").status.success() {
        assert!(Instant::now() < deadline, "sessions end");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn launchctl_knows_the_builders_that_are_installed() {
    let print = |label: &str| format!("launchctl print system/{label}");
    let (linux, rosetta) = (print("org.nixos.linux-builder"), print("org.nixos.rosetta-builderd"));
    let on = |with: &[&str], script: &str| {
        let mut flags = vec!["--as", "mac", "--user", "alice"];
        flags.extend(with.iter().flat_map(|with| ["--with", with]));
        sh(&flags, script)
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    for (with, script) in [("linux-builder", &linux), ("rosetta-builder", &rosetta)] {
        let missing = on(&[], script);
        assert_eq!(missing.status.code(), Some(113));
        assert!(String::from_utf8_lossy(&missing.stderr).contains("Could not find service \"org.nixos."));
        let running = said(&on(&[with], script));
        assert!(running.contains("\n\tstate = running\n") && running.contains("\n\tpid = "), "{running}");
    }
    let asleep = said(&on(&["rosetta-on-demand"], &rosetta));
    assert!(asleep.contains("\n\tsockets = {\n") && asleep.contains("= 32316\n"), "{asleep}");

    let log = format!("/tmp/launchctl-{}", std::process::id());
    let kick = "launchctl kickstart -k system/org.nixos.linux-builder";
    let knob = format!("LAB_MAC_LOG={log}");
    let with = ["--as", "mac", "--with", "linux-builder", "--env", &knob, "--user"];
    let flags = |user| with.into_iter().chain([user]).collect::<Vec<&str>>();
    assert!(
        out(&flags("root"), &format!("{kick}; chmod 666 {log}; cat {log}")).contains("root: launchctl kick")
    );
    let refused = refusal(&flags("alice"), kick);
    assert!(refused.contains("Operation not permitted"), "{refused}");
    assert_eq!(
        out(&flags("alice"), &format!("tail -n1 {log}; rm -f {log} || true")),
        format!("alice: {kick}\n")
    );
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn macs_differ_in_what_is_installed_and_in_their_cpu() {
    let mac = ["--as", "mac"];
    let rosetta = "test -e /Library/Apple/usr/libexec/oah/libRosettaRuntime";
    let without = ["--as", "mac", "--without", "rosetta"];
    out(&mac, rosetta);
    let install = "softwareupdate --install-rosetta --agree-to-license";
    // Through sudo, as people type it; and for this command alone.
    assert!(out(&without, &format!("! {rosetta}; sudo {install} 2>&1; {rosetta}")).contains("successfully"));
    assert!(!sh(&without, rosetta).status.success());
    assert!(!sh(&["--as", "mac", "--without", "rosetta", "--user", "alice"], install).status.success());

    assert!(!sh(&mac, "command -v darwin-rebuild || command -v determinate-nixd").status.success());
    let both = ["--as", "mac", "--with", "nix-darwin", "--with", "determinate"];
    out(
        &both,
        "darwin-rebuild switch; determinate-nixd version; grep -q 'root: darwin-rebuild switch' /lab/mac/log",
    );
    assert!(!sh(&[&both[..], &["--user", "alice"]].concat(), "darwin-rebuild switch").status.success());

    for nix in NIX {
        let intel = ["--as", "mac", "--nix", nix, "--intel", "--user", "alice", "--with", "linux-builder"];
        let script = format!(
            "uname -m; nix eval --extra-experimental-features nix-command --impure --raw --expr builtins.currentSystem; echo; \
             cd $(mktemp -d); {BUILD} --impure --no-link --print-out-paths --expr 'derivation {{ name = \"x\"; \
             system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo > $out\" ]; \
             salt = toString builtins.currentTime; }}'"
        );
        assert!(out(&intel, &script).starts_with("x86_64\nx86_64-darwin\n/nix/store/"));
    }
}
