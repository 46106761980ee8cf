//! The lab keeps its promises: what `lab/README.md` says of `lab exec` and of the stand-in nixpkgs.
//!
//! An example of how tests use the lab, too. Run by `cargo xtask test`.

#![expect(clippy::expect_used, reason = "tests may, also in their helpers")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const NIX: [&str; 2] = ["2.26", "2.34"];
const DOCKER: [&str; 2] = ["20.10", "28"];
const CONTAINERD: [&str; 2] = ["1.6", "2"];
/// A build without flakes' lock file, quiet unless it fails.
const BUILD: &str = "nix --extra-experimental-features nix-command build --no-write-lock-file --quiet";

/// A command on a host of the lab, in the checkout.
fn lab(flags: &[&str], command: &[&str]) -> Command {
    let program = std::env::var_os("NIXOCI_LAB").expect("NIXOCI_LAB is set by `cargo xtask test`");
    let mut lab = Command::new(program);
    lab.args(["lab", "exec"]).args(flags).arg("--").args(command).current_dir(checkout());
    lab
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn sh(flags: &[&str], script: &str) -> Output {
    lab(flags, &["sh", "-euc", script]).output().expect("the lab's program runs")
}

/// What a script printed, which has to succeed.
fn out(flags: &[&str], script: &str) -> String {
    let output = sh(flags, script);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{flags:?} {script}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn exec_passes_streams_status_and_directory_through() {
    assert_eq!(sh(&[], "exit 7").status.code(), Some(7));
    assert_eq!(sh(&[], "kill -TERM $$").status.code(), Some(128 + 15));
    let output = sh(&["--env", "GREETING=hello you"], "cat; echo \"$GREETING\"; pwd; echo wrong >&2");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("hello you\n{}\n", checkout().display()),
        "output() gives no input"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "wrong\n");
    assert_eq!(out(&["--cwd", "/small"], "pwd; stat -f -c %T ."), "/small\ntmpfs\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_command_ends_when_its_caller_is_killed() {
    let mut sleeper =
        lab(&[], &["sleep", "86399"]).stdin(Stdio::null()).spawn().expect("the lab's program runs");
    let running = || sh(&[], "pgrep -xf 'sleep 86399'").status.success();
    let wait = |wanted: bool| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while running() != wanted {
            assert!(Instant::now() < deadline, "sleep should be {}", if wanted { "running" } else { "gone" });
        }
    };
    wait(true);
    sleeper.kill().expect("it can be killed");
    sleeper.wait().expect("it can be waited for");
    wait(false);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn every_nix_goes_with_every_docker_and_is_sandboxed() {
    for nix in NIX {
        for docker in DOCKER {
            let flags = ["--nix", nix, "--docker", docker];
            let versions = out(
                &flags,
                "nix --version; docker version -f '{{.Client.Version}} {{.Server.Version}}'; nix config show sandbox \
                 --extra-experimental-features nix-command; nix config show sandbox-fallback --extra-experimental-features \
                 nix-command",
            );
            let lines: Vec<&str> = versions.lines().collect();
            assert!(lines[0].contains(&format!(" {nix}.")), "{versions}");
            let (client, server) = lines[1].split_once(' ').expect("two versions");
            assert!(client.starts_with(docker) && server.starts_with(docker), "{versions}");
            assert_eq!(lines[2..], ["true", "false"], "{versions}");
        }
    }
}

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

/// What a script said on stderr, which has to fail.
fn refusal(flags: &[&str], script: &str) -> String {
    let output = sh(flags, script);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{flags:?} {script}\n{said}");
    said
}

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

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn sudo_is_real_and_alice_has_no_rule() {
    for flags in [["--as", "mac", "--user", "alice"], ["--as", "linux", "--user", "alice"]] {
        assert!(refusal(&flags, "sudo -n true").contains("a password is required"));
    }
    assert_eq!(out(&[], "sudo -n id -u 2>&1"), "0\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn examples_build_alike_and_run_everywhere() {
    let mut digests = Vec::new();
    for nix in NIX {
        let flags = ["--nix", nix];
        digests.push(out(
            &flags,
            &format!(
                "cd $(mktemp -d); for name in cowsay hello; do {BUILD} -o $name \
                 {0}/examples/$name#packages.x86_64-linux.container; done; \
                 nix-build -Q -o layered {0}/examples/layered >/dev/null 2>&1; sha256sum cowsay hello layered",
                checkout().display()
            ),
        ));
    }
    assert_eq!(digests[0], digests[1], "images do not depend on the version of Nix");
    for docker in DOCKER {
        let flags = ["--docker", docker];
        let said = out(
            &flags,
            &format!(
                "cd $(mktemp -d); {BUILD} -o cow {0}/examples/cowsay#packages.x86_64-linux.container; \
                 docker load < cow >&2; docker run --rm cowsay-hello-world:latest; {BUILD} -o hello \
                 {0}/examples/hello#packages.x86_64-linux.container; docker load < hello >&2; docker run --rm hello:latest",
                checkout().display()
            ),
        );
        assert!(
            said.contains("< hello world >") && said.contains("(oo)") && said.contains("Hello, world!"),
            "{said}"
        );
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn arm64_is_refused_or_emulated() {
    let script = format!(
        "cd $(mktemp -d); {BUILD} -o image {}/examples/hello#packages.aarch64-linux.container; docker load < image >&2; \
         docker run --rm --platform linux/arm64 hello:latest",
        checkout().display()
    );
    // Not the image: a host that has it already need not build it.
    let refused = sh(
        &["--nix", "2.26", "--docker", "20.10"],
        "nix-build --no-out-link -E \"(import <nixpkgs> { system = \\\"aarch64-linux\\\"; }).writeText \
         \\\"new-$(date +%s%N)\\\" \\\"\\\"\"",
    );
    assert!(!refused.status.success());
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("aarch64-linux") && text.contains("x86_64-linux"), "{text}");
    assert_eq!(out(&["--nix", "2.26", "--docker", "20.10", "--arm64"], &script), "Hello, world!\n");
}

/// A directory of the caller's own with `hello.tar` and `arm64.tar`, images for either CPU.
fn hellos() -> String {
    let image = |system: &str, file: &str| {
        format!(
            "{BUILD} --out-link r {}/examples/hello#packages.{system}.container 2>/dev/null; gzip -dc r > {file}; rm r; ",
            checkout().display()
        )
    };
    format!("cd $(mktemp -d); {}{}", image("x86_64-linux", "hello.tar"), image("aarch64-linux", "arm64.tar"))
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn podman_loads_and_runs_as_people_type_it() {
    for nix in NIX {
        let script = format!(
            "{}podman load -q -i hello.tar; podman run --rm localhost/hello:latest; podman load -q -i arm64.tar; \
             podman run --rm --arch arm64 localhost/hello:latest",
            hellos()
        );
        let said = out(&["--nix", nix, "--arm64"], &script);
        assert_eq!(said.matches("Hello, world!\n").count(), 2, "{said}");
    }
    let alice = out(&["--user", "alice", "--arm64"], &format!("{}podman load -i hello.tar", hellos()));
    assert!(alice.contains("localhost/hello:latest"), "{alice}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn containerd_imports_and_runs() {
    for containerd in CONTAINERD {
        for nix in NIX {
            // A namespace of its own: daemons belong to every host.
            let script = format!(
                "{}n=hello$$; export CONTAINERD_NAMESPACE=$n-{nix}; ctr images import hello.tar >&2; \
                 ctr run --rm docker.io/library/hello:latest $n < /dev/null; \
                 ctr images import --platform linux/arm64 arm64.tar >&2; \
                 ctr run --rm --platform linux/arm64 docker.io/library/hello:latest $n < /dev/null; \
                 ctr version | grep Version",
                hellos()
            );
            let said = out(&["--nix", nix, "--containerd", containerd, "--arm64"], &script);
            assert_eq!(said.matches("Hello, world!\n").count(), 2, "{said}");
            let versions: Vec<&str> =
                said.lines().filter_map(|line| line.trim().strip_prefix("Version:")).collect();
            let right = versions.iter().filter(|text| text.trim().starts_with(&format!("{containerd}.")));
            assert_eq!(right.count(), 2, "client and server: {said}");
        }
    }
}

/// Commands that turn `hello.tar` into `oci.tar`, an OCI archive with a name, and that into `torn.tar`, without a blob.
const OCI: &str = "skopeo copy -q docker-archive:hello.tar oci:layout:hello >/dev/null; \
    jq -c '.manifests[0].annotations[\"io.containerd.image.name\"] = \"docker.io/library/hello:latest\"' \
    layout/index.json > index && mv index layout/index.json; tar -C layout -cf oci.tar .; \
    rm layout/blobs/sha256/$(jq -r '.manifests[0].digest[7:]' layout/index.json); tar -C layout -cf torn.tar .; ";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn apples_double_takes_what_the_importer_takes() {
    let script = |body: &str| format!("{}{OCI}export LAB_APPLE_STORE=$PWD/store; {body}", hellos());
    let flags = ["--with", "apple", "--arm64"];
    let said = out(
        &flags,
        &script(
            "container system status | grep -c running; container image load --input oci.tar; container image list -q; \
             container image inspect hello | jq -r '.[0].variants[0].platform.architecture'; container image load < oci.tar",
        ),
    );
    let name = "docker.io/library/hello:latest";
    assert_eq!(said, format!("1\nLoaded images:\n{name}\nhello:latest\namd64\nLoaded images:\n{name}\n"));
    for (archive, why) in
        [("hello.tar", "oci-layout"), ("torn.tar", "not found"), ("/dev/null", "unable to open")]
    {
        let output = sh(&flags, &script(&format!("container image load -i {archive}")));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(why), "{archive}: {text}");
    }
    let stopped = sh(&["--with", "apple", "--env", "LAB_APPLE=stopped"], "container image list");
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("container system start"));
    assert!(
        !sh(&["--with", "apple", "--env", "LAB_APPLE=unregistered"], "container system status")
            .status
            .success()
    );
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kind_is_real_and_its_node_is_containerd() {
    let script = format!(
        "{}{OCI}n=lab$$; trap 'kind-node delete $n >/dev/null' EXIT; kind-node create $n >&2; \
         kind get clusters | grep -c \"^$n$\"; kind load image-archive hello.tar --name $n; \
         docker exec $n-control-plane ctr -n k8s.io images ls -q; ! kind load image-archive torn.tar --name $n",
        hellos()
    );
    let said = out(&["--with", "kind", "--arm64"], &script);
    assert!(said.starts_with("1\n") && said.contains("docker.io/library/hello:latest"), "{said}");
    let none = sh(&["--with", "kind", "--without", "docker-daemon"], "kind get clusters");
    assert!(!none.status.success());
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn k3d_and_minikube_load_as_in_life() {
    let k3d = ["--with", "k3d", "--arm64"];
    let script = |body: &str| format!("{}{OCI}{body}", hellos());
    let said = out(
        &k3d,
        &script(
            "k3d cluster list -o json | jq -r '.[].name'; k3d image import hello.tar -c k3s-default 2>&1",
        ),
    );
    assert!(said.starts_with("k3s-default\n") && !said.contains("ERRO"), "{said}");
    let torn = out(&k3d, &script("k3d image import torn.tar 2>&1"));
    // The real one colours what it says, whoever reads it.
    assert!(torn.contains("ERRO") && torn.contains("failed to import images in node"), "{torn}");
    assert!(!sh(&k3d, &script("k3d image import -m direct torn.tar")).status.success());
    assert_eq!(out(&["--with", "k3d", "--env", "LAB_K3D="], "k3d cluster list --no-headers"), "");

    for runtime in ["docker", "containerd"] {
        let knob = format!("LAB_MINIKUBE_RUNTIME={runtime}");
        let flags = ["--with", "minikube", "--arm64", "--env", &knob];
        let said = out(
            &flags,
            &script("minikube image load hello.tar; minikube image ls; minikube image load torn.tar"),
        );
        assert!(said.contains("docker.io/library/hello:latest"), "{said}");
    }
    let stopped = ["--with", "minikube", "--env", "LAB_MINIKUBE=minikube=Stopped"];
    assert_eq!(sh(&stopped, "minikube status -o json").status.code(), Some(7));
    let none = ["--with", "minikube", "--env", "LAB_MINIKUBE="];
    assert_eq!(sh(&none, "minikube status").status.code(), Some(85));
    assert_eq!(out(&none, "minikube profile list -o json").trim(), "{\"invalid\":[],\"valid\":[]}");
}

/// The rows of what `lab produce` made: file, producer, shape, images, platforms.
fn produced() -> (PathBuf, Vec<[String; 5]>) {
    let dir = PathBuf::from(
        std::env::var_os("NIXOCI_LAB_PRODUCED").expect("NIXOCI_LAB_PRODUCED is set by `cargo xtask test`"),
    );
    let text = std::fs::read_to_string(dir.join("manifest.tsv")).expect("a manifest");
    let rows = text.lines().skip(1).map(|line| {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        fields.try_into().expect("five fields")
    });
    (dir, rows.collect())
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn every_producers_image_is_what_the_manifest_says() {
    let (dir, rows) = produced();
    let mut script = format!("cd {}\n", dir.display());
    let mut images = 0;
    for [file, _, shape, _, platforms] in &rows {
        assert!(dir.join(file).exists(), "{file}");
        let transport = match shape.as_str() {
            "oci-archive" => "oci-archive",
            "oci-dir" => "oci",
            "dir" => "dir",
            shape if shape.starts_with("docker-archive") || shape == "hybrid" => "docker-archive",
            _ => continue,
        };
        images += 1;
        // Of those that hold several, the first one.
        let which = if matches!(transport, "oci" | "docker-archive") { ":@0" } else { "" };
        let arch = if platforms.starts_with("linux/amd64") { "amd64" } else { "arm64" };
        script.push_str(&format!(
            "skopeo --override-arch {arch} inspect --config {transport}:{file}{which} | jq -r '\"{file} \\(.architecture)\"'\n"
        ));
    }
    let said = out(&[], &script);
    assert_eq!(said.lines().count(), images, "{said}");
    assert!(images > 40, "{images}");
    for [file, _, _, _, platforms] in rows.iter().filter(|row| !row[4].is_empty()) {
        if let Some(line) = said.lines().find(|line| line.starts_with(&format!("{file} "))) {
            let arch = line.rsplit(' ').next().unwrap_or_default();
            assert!(platforms.starts_with(&format!("linux/{arch}")), "{line}");
        }
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn image_tools_are_at_hand() {
    out(&[], "for tool in skopeo umoci crane; do command -v $tool > /dev/null; done; umoci --version");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn users_and_missing_parts_fail_as_in_life() {
    let fails = |flags: &[&str], script: &str, why: &str| {
        let output = sh(flags, script);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(why), "{flags:?} {script}: {text}");
    };
    let info = "nix --extra-experimental-features nix-command store info --json";
    assert!(out(&["--user", "alice"], info).contains("\"trusted\":"), "alice reaches the daemon");
    assert!(out(&["--user", "alice"], "cd; pwd; docker ps -q").starts_with("/home/alice\n"));
    fails(&["--user", "mallory"], info, "Permission denied");
    fails(&["--user", "mallory"], "docker ps", "permission denied");
    fails(&["--user", "alice", "--without", "nix-daemon"], info, "");
    fails(&["--without", "nix"], "nix --version", "not found");
    fails(&["--without", "docker"], "docker ps", "not found");
    fails(&["--without", "docker-daemon"], "docker ps", "Is the docker daemon running?");
    fails(&["--user", "alice"], "ctr images ls", "permission denied");
    fails(&["--without", "podman"], "podman ps", "not found");
    fails(&["--without", "containerd"], "ctr images ls", "not found");
    fails(&["--without", "containerd-daemon"], "ctr --timeout 2s images ls", "containerd.sock");
    fails(&["--without", "flakes"], &format!("{BUILD} ./examples/hello#x"), "'flakes' is disabled");
    fails(&[], "nix store info", "'nix-command' is disabled");
    fails(
        &[],
        "head -c 9000000 /dev/zero > /small/full || { rm /small/full; exit 1; }",
        "No space left on device",
    );
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn nixocis_own_flake_evaluates_for_every_system() {
    // The lab cannot redirect an unlocked `github:`; people's Nix fetches it.
    const INPUT: &str = "--no-write-lock-file --override-input nixpkgs path:/lab/nixpkgs";
    let nix = "nix --quiet --extra-experimental-features nix-command";
    for version in NIX {
        let mut script = format!("{nix} flake check {INPUT} --no-build --all-systems . >&2\n");
        for system in ["aarch64-darwin", "aarch64-linux", "x86_64-linux"] {
            for attr in ["packages", "devShells"] {
                script
                    .push_str(&format!("{nix} eval {INPUT} --raw .#{attr}.{system}.default.drvPath; echo\n"));
            }
            script.push_str(&format!("{nix} eval {INPUT} --raw .#apps.{system}.default.program; echo\n"));
        }
        script.push_str(&format!(
            "{nix} eval {INPUT} --impure --raw .#overlays.default --apply \
             'overlay: (import /lab/nixpkgs {{ overlays = [ overlay ]; }}).nixoci.meta.mainProgram'"
        ));
        let said = out(&["--nix", version], &script);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 10, "{said}");
        assert!(lines[..9].iter().all(|line| line.starts_with("/nix/store/")), "{said}");
        assert_eq!(lines[9], "nixoci");
    }
}
