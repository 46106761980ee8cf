//! The lab's multipass keeps to the documented behaviour of the real one: see `lab/README.md`. Run by `cargo xtask test`.

#![expect(clippy::expect_used, reason = "tests may, also in their helpers")]

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const OLD: &str = "multipass";
const NEW: &str = "multipass-1.17";

fn xtask() -> Command {
    Command::new(std::env::var_os("NIXOCI_LAB").expect("NIXOCI_LAB is set by `cargo xtask test`"))
}

/// A command on a Mac that has multipass and no Nix.
fn mac(flags: &[&str], command: &[&str]) -> Command {
    let mut lab = xtask();
    lab.args(["lab", "exec", "--as", "mac", "--without", "nix"]);
    for (flag, value) in [("--user", "alice"), ("--cwd", "/tmp")] {
        if !flags.contains(&flag) {
            lab.args([flag, value]);
        }
    }
    lab.args(flags).arg("--").args(command);
    lab
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command said, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no signal"),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

fn run(flags: &[&str], command: &[&str]) -> Said {
    mac(flags, command).stdin(Stdio::null()).output().expect("the lab's program runs").into()
}

fn run_with_input(flags: &[&str], command: &[&str], input: &[u8]) -> Said {
    let mut child = mac(flags, command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the lab's program runs");
    let mut to = child.stdin.take().expect("a way in");
    let _ = to.write_all(input);
    drop(to);
    child.wait_with_output().expect("it ends").into()
}

/// An instance of a test's own, which goes with it.
struct Vm {
    name: String,
    with: &'static str,
}

impl Vm {
    /// A name that nobody else takes.
    fn named(with: &'static str) -> Self {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        Self { name: format!("t{}-{:x}", std::process::id(), nanos.as_nanos() & 0xffff_ffff), with }
    }

    fn launch(with: &'static str) -> Self {
        let vm = Self::named(with);
        let said = vm.run(&["launch", "24.04", "--name", &vm.name]);
        assert_eq!(said.code, 0, "{said:?}");
        vm
    }

    fn run(&self, words: &[&str]) -> Said {
        run(&["--with", self.with], &[&["multipass"], words].concat())
    }

    fn exec(&self, command: &[&str]) -> Said {
        self.run(&[&["exec", "-n", &self.name, "--"], command].concat())
    }

    /// What a script of the guest's shell prints.
    fn sh(&self, script: &str) -> String {
        let said = self.exec(&["sh", "-euc", script]);
        assert_eq!(said.code, 0, "{script}: {said:?}");
        said.out
    }

    fn info(&self, words: &[&str]) -> Value {
        let said = self.run(&[&["info", "--format", "json", &self.name], words].concat());
        assert_eq!(said.code, 0, "{said:?}");
        let mut value: Value = serde_json::from_str(&said.out).expect("JSON");
        value["info"][&self.name].take()
    }

    fn state(&self) -> String {
        let said = self.run(&["list", "--format", "json", "--no-ipv4"]);
        let all: Value = serde_json::from_str(&said.out).expect("JSON");
        let list = all["list"].as_array().expect("a list");
        let ours = list.iter().find(|entry| entry["name"] == self.name.as_str());
        ours.map_or_else(|| "absent".to_owned(), |entry| entry["state"].as_str().expect("text").to_owned())
    }

    fn fault(&self, knob: &str, how: &str) {
        let status = xtask()
            .args(["lab", "fault", "multipass", knob, &self.name, how])
            .stderr(Stdio::null())
            .status()
            .expect("the lab's program runs");
        assert!(status.success(), "{knob}");
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.run(&["delete", "--purge", &self.name]);
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_daemon_may_be_out_of_reach() {
    let probe = |flags: &[&str], command: &str| run(flags, &["multipass", command]);
    let gone = probe(&["--with", OLD, "--without", "multipass-daemon"], "list");
    assert_eq!(gone.code, 2);
    assert_eq!(
        gone.err,
        "list failed: cannot connect to the multipass socket\n\
         Please ensure multipassd is running and '/var/run/multipass_socket' is accessible\n"
    );
    let denied = probe(&["--with", OLD, "--with", "multipass-denied"], "list");
    assert_eq!(
        (denied.code, denied.err.lines().next()),
        (2, Some("list failed: multipass socket access denied"))
    );
    for (with, who) in [(OLD, "client"), (NEW, "user")] {
        let unknown = probe(&["--with", with, "--with", "multipass-unauthenticated"], "list");
        assert_eq!(unknown.code, 2);
        assert!(unknown.err.starts_with(&format!(
            "list failed: The {who} is not authenticated with the Multipass service.\n"
        )));
    }
    let version = |flags: &[&str]| {
        let said = run(&[&["--with", OLD], flags].concat(), &["multipass", "version", "--format", "json"]);
        assert_eq!(said.code, 0);
        serde_json::from_str::<Value>(&said.out).expect("JSON")
    };
    assert_eq!(version(&[]), serde_json::json!({"multipass": "1.16.3+mac", "multipassd": "1.16.3+mac"}));
    for flags in [["--without", "multipass-daemon"], ["--with", "multipass-unauthenticated"]] {
        assert_eq!(version(&flags), serde_json::json!({"multipass": "1.16.3+mac"}));
    }
    assert_ne!(run(&[], &["sh", "-c", "command -v multipass"]).code, 0, "without the flag there is none");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn arguments_are_checked_in_its_words() {
    let vm = Vm::named(OLD);
    let wrong = |words: &[&str]| {
        let said = vm.run(words);
        (said.code, said.out, said.err)
    };
    let (code, out, _) = wrong(&[]);
    assert!(code == 2 && out.starts_with("Usage: multipass [options] <command>\n"));
    assert_eq!(
        wrong(&["wait-ready"]),
        (
            1,
            "Error: Unknown command or alias 'wait-ready' (try \"multipass help\")\n".to_owned(),
            String::new()
        )
    );
    assert_eq!(run(&["--with", NEW], &["multipass", "wait-ready", "--timeout", "1"]).code, 5);
    let (code, _, err) = wrong(&["exec", "x", "ls", "-l"]);
    assert!(code == 1 && err.contains("Options to the inner command should come after \"--\""), "{err}");
    let (code, _, err) = wrong(&["exec", "-n", "-d", "/x", "x", "--", "ls"]);
    assert_eq!((code, &*err), (1, "Options --working-directory and --no-map-working-directory clash\n"));
    for (words, said) in [
        (["--memory", "100M"], "Invalid memory size value supplied: 100M."),
        (["--disk", "10M"], "Invalid disk size value supplied: 10M."),
        (["--name", "a_b"], "Invalid instance name supplied: a_b"),
    ] {
        let (code, _, err) = wrong(&[&["launch"], &words[..]].concat());
        assert_eq!((code, err), (2, format!("launch failed: Invalid arguments supplied\n{said}\n")));
    }
    assert_eq!(wrong(&["launch", "--memory", "foo"]).0, 1);
    let (code, _, err) = wrong(&["launch", "zz"]);
    assert_eq!(
        (code, &*err),
        (2, "launch failed: Unable to find an image matching \"zz\" in remote \"\".\n")
    );
    let (code, _, err) = wrong(&["launch", "--cloud-init", "/nowhere"]);
    let unreadable = "Could not load cloud-init configuration: bad file: /nowhere\nPlease ensure that Multipass can read it.\n";
    assert_eq!((code, &*err), (1, unreadable));
    let (code, _, err) = wrong(&["launch", "--timeout", "x"]);
    assert_eq!((code, &*err), (1, "error: --timeout value has to be a positive integer\n"));
    let (code, _, err) = wrong(&["info", &vm.name]);
    let missing = format!("The following errors occurred:\ninstance \"{}\" does not exist\n", vm.name);
    assert_eq!((code, err), (2, format!("info failed: {missing}")));
    // Whose directory is to be mapped is asked first: the same twice.
    let (code, _, err) = wrong(&["exec", &vm.name, "--", "true"]);
    assert_eq!((code, err), (2, format!("exec failed: {missing}exec failed: {missing}")));
    let (code, _, err) = wrong(&["start", &vm.name]);
    let absent = format!("start failed: instance(s) missing\nInstance '{}' does not exist.\n", vm.name);
    assert_eq!((code, err), (2, absent));
    assert_eq!(wrong(&["get", "foo.bar"]).0, 1);
    assert_eq!(wrong(&["get", "local.driver"]), (0, "qemu\n".to_owned(), String::new()));
    let (code, _, err) = wrong(&["get", &format!("local.{}.cpus", vm.name)]);
    assert!(code == 2 && err.contains("reason: No such instance"), "{err}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_guest_is_a_machine_of_its_own() {
    let vm = Vm::named(OLD);
    let user_data = "# lost\nssh_authorized_keys: [ssh-ed25519 AAAA test]\nswap: {filename: /swap.img, size: 4G}\n\
                     package_update: false\nwrite_files:\n  - path: /etc/nixoci/vm.json\n    content: |\n      {\"a\":1}\n";
    let words = [
        "launch",
        "lts",
        "-n",
        &vm.name,
        "-c",
        "3",
        "-m",
        "768M",
        "-d",
        "6G",
        "--timeout",
        "60",
        "--cloud-init",
        "-",
    ];
    let said = run_with_input(&["--with", OLD], &[&["multipass"], &words[..]].concat(), user_data.as_bytes());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.starts_with("\u{1b}[2K\u{1b}[0A\u{1b}[0E")
            && said.out.contains("Waiting for initialization")
    );
    assert!(said.out.ends_with(&format!("Launched: {}\n", vm.name)), "{said:?}");
    assert_eq!(
        vm.sh("id -un; id -u; sudo -n id -u; hostname; cat /etc/nixoci/vm.json; ps -p 1 -o pid="),
        format!("ubuntu\n1000\n0\n{}\n{{\"a\":1}}\n      1\n", vm.name)
    );
    assert_eq!(vm.sh("cat ~/.ssh/authorized_keys | grep -c '^ssh-ed25519'"), "2\n");
    assert_eq!(
        vm.sh("cloud-init status --wait | tr -d .; sudo head -n 1 /var/lib/cloud/seed/nocloud/user-data"),
        "status: done\n#cloud-config\n"
    );
    assert_ne!(vm.exec(&["sh", "-c", "command -v nix"]).code, 0);
    assert!(vm.sh("test $(df -B1 --output=size / | tail -n 1) -lt 7000000000; awk '/MemTotal/ {print $2}' /proc/meminfo").starts_with("786432"));
    let full = vm.exec(&["fallocate", "-l", "20G", "/var/tmp/x"]);
    assert!(full.code == 1 && full.err.contains("No space left on device"), "{full:?}");
    // A program that wants more than there is gets killed; nobody else minds.
    let greedy = vm.exec(&["python3", "-c", "x = bytearray(2 << 30); print(len(x))"]);
    assert!(greedy.code == 255 || greedy.code == 137, "{greedy:?}");

    let info = vm.info(&[]);
    assert_eq!((&info["cpu_count"], &info["state"]), (&"3".into(), &"Running".into()));
    assert_eq!(info["release"], "Ubuntu 26.04 LTS");
    assert!(info["memory"]["total"].is_u64() && info["disks"]["sda1"]["total"].is_string(), "{info}");
    assert!(info["ipv4"][0].as_str().is_some_and(|ip| ip.starts_with("10.232.")), "{info}");
    let bare = vm.info(&["--no-runtime-information"]);
    assert_eq!((&bare["cpu_count"], &bare["ipv4"]), (&"".into(), &serde_json::json!([])));
    let raw = vm.run(&["info", "--format", "json", &vm.name]).out;
    assert!(raw.starts_with("{\n    \"errors\": [\n    ],\n    \"info\": {\n"), "{raw}");
    // Another user of the host, and of the same guest, with a key of root's.
    let root =
        run(&["--with", OLD, "--user", "root"], &["multipass", "exec", "-n", &vm.name, "--", "whoami"]);
    assert_eq!((root.code, &*root.out), (0, "ubuntu\n"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn nix_comes_from_apt_without_a_network_and_builds() {
    let vm = Vm::launch(OLD);
    vm.sh(
        "sudo apt-get -q update; sudo apt-get -q install -y nix-bin nix-setup-systemd; sudo usermod -aG nix-users ubuntu; \
         sudo systemctl enable --now nix-daemon.socket; sudo systemctl restart nix-daemon",
    );
    assert_eq!(
        vm.sh("systemctl is-active nix-daemon.socket; systemctl is-enabled nix-daemon"),
        "active\nenabled\n"
    );
    // What 1.16 would run forever.
    assert_eq!(vm.exec(&["sh", "-c", "systemctl is-active no-such-unit || echo $?"]).out, "inactive\n4\n");
    let built = vm.sh(
        "cd $(mktemp -d); echo '(import <nixpkgs> {}).runCommand \"x\" {} \"echo built > $out\"' > x.nix; \
         cat $(NIX_REMOTE=daemon nix-build --no-out-link x.nix)",
    );
    assert_eq!(built, "built\n");
    let hello = vm.sh(
        "nix --extra-experimental-features 'nix-command flakes' build --no-link --print-out-paths nixpkgs#hello",
    );
    assert!(hello.starts_with("/nix/store/"), "{hello}");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(vm.sh("systemctl is-active nix-daemon.socket; cat /nix/store/*-x"), "active\nbuilt\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_hosts_nix_reaches_a_guest_over_ssh() {
    let vm = Vm::named(OLD);
    let script = format!(
        "set -e; cd $(mktemp -d); ssh-keygen -q -t ed25519 -N '' -f k; n={}\n\
         echo \"ssh_authorized_keys: ['$(cat k.pub)']\" | multipass launch -n $n --cloud-init - > log\n\
         multipass exec -n $n -- sudo sh -c 'apt-get -q update && apt-get -q -y install nix-bin nix-setup-systemd && \
           usermod -aG nix-users ubuntu' > log 2>&1 < /dev/null\n\
         ip=$(multipass info --format json $n | jq -r .info[].ipv4[0])\n\
         export NIX_SSHOPTS=\"-i $PWD/k -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR\"\n\
         echo 'derivation {{ name = \"z\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo there > $out\" ]; }}' > z.nix\n\
         out=$(nix --extra-experimental-features nix-command build --no-link --print-out-paths --eval-store auto \
           --store ssh-ng://ubuntu@$ip -f z.nix 2> log)\n\
         multipass exec -n $n -- cat $out",
        vm.name
    );
    let linux = ["--with", OLD, "--user", "alice", "--cwd", "/tmp"];
    let mut lab = xtask();
    lab.args(["lab", "exec"]).args(linux).args(["--", "bash", "-c", &script]).stdin(Stdio::null());
    let said = Said::from(lab.output().expect("the lab's program runs"));
    assert_eq!((said.code, &*said.out), (0, "there\n"), "{said:?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn exec_keeps_words_apart_and_codes_ambiguous() {
    for (with, unreachable) in [(OLD, 2), (NEW, 255)] {
        let vm = Vm::launch(with);
        let odd = ["printf", "%s|", "a  b", "", "$HOME", "it's", "x\ny", "\\", "*", "ü"];
        assert_eq!(vm.exec(&odd).out, "a  b||$HOME|it's|x\ny|\\|*|ü|");
        // What looks like an assignment is one.
        assert_eq!(vm.exec(&["FOO=bar", "printenv", "FOO"]).out, "bar\n");
        assert_eq!(vm.exec(&["exit", "33"]).code, 33);
        assert_eq!(vm.exec(&["sh", "-c", "kill -KILL $$"]).code, 255);
        let both = vm.exec(&["sh", "-c", "echo out; echo err >&2; tty"]);
        assert_eq!((&*both.out, &*both.err, both.code), ("out\nnot a tty\n", "err\n", 1));
        let echoed = run_with_input(
            &["--with", with],
            &["multipass", "exec", "-n", &vm.name, "--", "cat"],
            &[0, 1, 254, 255, b'\n'],
        );
        assert_eq!(echoed.code, 0);
        // A terminal there takes one on both sides here.
        let terminal = format!("multipass exec -n {} -- tty", vm.name);
        let there = run(&["--with", with], &["script", "-qec", &terminal, "/dev/null"]);
        assert!(there.out.contains("/dev/pts/"), "{there:?}");
        assert_eq!(vm.run(&["exec", "-d", "/usr/share", &vm.name, "--", "pwd"]).out, "/usr/share\n");
        // With a directory, sudo's words are one text, and split anew.
        let resplit = vm.run(&["exec", "-d", "/", &vm.name, "--", "sudo", "echo", "a  b"]);
        assert_eq!(resplit.out, "a b\n");
        vm.fault("no-route", "on");
        let lost = vm.exec(&["true"]);
        assert_eq!(lost.err, "exec failed: ssh connection failed: 'Failed to connect: No route to host'\n");
        assert_eq!(lost.code, unreachable);
        assert_eq!(vm.state(), "Running");
        vm.fault("no-route", "off");
        // Stopped, it is started, and stdout is what the spinner makes of it.
        assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
        let started = vm.exec(&["echo", "hello"]);
        assert!(
            started.code == 0 && started.out.contains("Starting ") && started.out.ends_with("hello\n"),
            "{started:?}"
        );
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_4_is_tried_again_forever_by_the_old_one_alone() {
    let new = Vm::launch(NEW);
    assert_eq!(new.exec(&["exit", "4"]).code, 4);
    let old = Vm::launch(OLD);
    let count = "echo x >> /tmp/count; test $(wc -l < /tmp/count) -ge 3 || exit 4; exit 5";
    assert_eq!(old.exec(&["sh", "-c", count]).code, 5);
    assert_eq!(old.sh("wc -l < /tmp/count"), "3\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_remote_command_outlives_its_client() {
    let vm = Vm::launch(OLD);
    let mut client = mac(&["--with", OLD], &["multipass", "exec", "-n", &vm.name, "--", "sleep", "86397"])
        .stdin(Stdio::null())
        .spawn()
        .expect("the lab's program runs");
    let deadline = Instant::now() + Duration::from_secs(10);
    while vm.exec(&["pgrep", "-xf", "sleep 86397"]).code != 0 {
        assert!(Instant::now() < deadline, "it should run");
    }
    client.kill().expect("it can be killed");
    client.wait().expect("it can be waited for");
    assert_eq!(vm.exec(&["pgrep", "-xf", "sleep 86397"]).code, 0, "no terminal, no hangup");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn states_and_names() {
    let vm = Vm::launch(OLD);
    let again = vm.run(&["launch", "-n", &vm.name]);
    let taken = format!("launch failed: instance \"{}\" already exists\n", vm.name);
    assert_eq!((again.code, &again.err), (2, &taken));
    for _ in 0..2 {
        assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    }
    let grow = format!("local.{}.disk=6G", vm.name);
    let refused = vm.run(&["set", &grow]);
    assert_eq!(
        (refused.code, refused.err),
        (
            2,
            format!(
                "set failed: Cannot update instance settings; instance: {}; reason: Instance must be stopped for modification\n",
                vm.name
            )
        )
    );
    for _ in 0..2 {
        assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    }
    assert_eq!(vm.state(), "Stopped");
    assert_eq!(vm.run(&["set", &grow]).code, 0);
    assert_eq!(vm.run(&["get", &format!("local.{}.disk", vm.name)]).out, "6.0GiB\n");
    let shrink = format!("local.{}.disk=5G", vm.name);
    let refused = vm.run(&["set", &shrink]);
    assert_eq!(
        (refused.code, refused.err),
        (2, format!("set failed: Invalid setting '{shrink}': Disk can only be expanded\n"))
    );
    let stopped = vm.info(&[]);
    assert_eq!((&stopped["state"], &stopped["memory"]), (&"Stopped".into(), &serde_json::json!({})));
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    assert!(
        vm.sh("df -B1 --output=size / | tail -n 1").trim().parse::<u64>().expect("a number") > 6_000_000_000
    );
    assert_eq!(vm.run(&["suspend", &vm.name]).code, 0);
    assert_eq!(vm.state(), "Suspended");
    let refused = vm.run(&["stop", &vm.name]);
    assert_eq!(
        (refused.code, refused.err),
        (
            2,
            format!(
                "stop failed: Cannot shut down suspended instance {}.\nUse --force to power it off.\n",
                vm.name
            )
        )
    );
    assert_eq!(vm.run(&["restart", &vm.name]).code, 2);
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    assert_eq!(vm.run(&["delete", &vm.name]).code, 0);
    assert_eq!(vm.state(), "Deleted");
    assert_eq!(vm.run(&["launch", "-n", &vm.name]).err, taken);
    let deleted = vm.run(&["start", &vm.name]);
    assert_eq!(
        (deleted.code, deleted.err),
        (
            2,
            format!(
                "start failed: instance(s) missing\nInstance '{}' is deleted. Use 'recover' to recover it or 'purge' to permanently delete it.\n",
                vm.name
            )
        )
    );
    for _ in 0..2 {
        assert_eq!(vm.run(&["recover", &vm.name]).code, 0);
    }
    assert_eq!(vm.state(), "Stopped");
    assert_eq!(vm.run(&["delete", "--purge", &vm.name]).code, 0);
    assert_eq!(vm.state(), "absent");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn launches_that_time_out_leave_an_instance() {
    let late = Vm::named(OLD);
    let said = run_with_input(
        &["--with", OLD],
        &["multipass", "launch", "-n", &late.name, "--timeout", "3", "--cloud-init", "-"],
        b"runcmd: [sleep 5]\n",
    );
    assert!(said.code == 5 && said.err == "Timed out waiting for instance launch.\n", "{said:?}");
    assert_eq!(late.state(), "Running");

    let slow = Vm::named(NEW);
    slow.fault("init-timeout", "on");
    let said = slow.run(&["launch", "-n", &slow.name]);
    let why =
        "launch failed: The following errors occurred:\ntimed out waiting for initialization to complete\n";
    assert_eq!((said.code, &*said.err), (2, why));
    assert_eq!((slow.state(), slow.exec(&["true"]).code), ("Running".to_owned(), 0));

    let mute = Vm::named(OLD);
    mute.fault("response-timeout", "on");
    let said = mute.run(&["launch", "-n", &mute.name]);
    let why = format!(
        "launch failed: The following errors occurred:\n{}: timed out waiting for response\n",
        mute.name
    );
    assert_eq!((said.code, said.err), (2, why));
    assert_eq!(mute.state(), "Unknown");
    assert_eq!(mute.exec(&["true"]).err, "exec failed: Cannot retrieve credentials in unknown state\n");
    let again = mute.run(&["start", &mute.name]);
    assert!(
        again.code == 2
            && again.err.contains("is already running, but in an unknown state.\nTry to stop it first.")
    );
    mute.fault("response-timeout", "off");
    assert_eq!(mute.run(&["stop", "--force", &mute.name]).code, 0);
    assert_eq!(mute.exec(&["true"]).code, 0);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_cloud_init_fails_at_is_launched_all_the_same() {
    let vm = Vm::named(NEW);
    let said = run_with_input(
        &["--with", NEW],
        &["multipass", "launch", "-n", &vm.name, "--cloud-init", "-"],
        b"packages: [no-such-package]\nruncmd:\n- echo done > /tmp/done\n",
    );
    assert!(said.code == 0 && said.out.ends_with(&format!("Launched: {} in zone1\n", vm.name)), "{said:?}");
    let status = vm.exec(&["cloud-init", "status", "--long"]);
    assert!(status.code == 1 && status.out.starts_with("status: error\n"), "{status:?}");
    assert_eq!(vm.sh("cat /tmp/done"), "done\n");
    let raw = vm.run(&["info", "--format", "json", &vm.name]).out;
    assert!(raw.contains("\"zone\": {\n                \"name\": \"zone1\",\n"), "{raw}");
    let bad = run_with_input(
        &["--with", OLD],
        &["multipass", "launch", "--cloud-init", "-"],
        b"#!/bin/sh\necho not a mapping\n",
    );
    assert!(bad.code == 1 && bad.err.contains("Could not load cloud-init configuration: "), "{bad:?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn files_go_over_sftp() {
    let vm = Vm::launch(OLD);
    let script = format!(
        "set -e; cd $(mktemp -d); n={}; mkdir -p d/e; head -c 200000 /dev/urandom > big; echo x > d/e/f; ln -s nowhere d/l\n\
         chmod 444 big; multipass transfer big $n:; multipass transfer $n:big back; cmp big back; stat -c %a back\n\
         multipass transfer $n:big back && echo overwrote || echo $?\n\
         multipass transfer d $n:there || echo $?\n\
         multipass transfer -r d $n:there; multipass transfer -r $n:there .; readlink there/l; cat there/e/f\n\
         multipass transfer - $n:/tmp < d/e/f; multipass transfer $n:/tmp/stream_output.dat -\n\
         multipass transfer d/e/f $n:/no/where || echo $?; multipass transfer -p d/e/f $n:/tmp/a/b/c\n\
         multipass transfer $n:/etc/shadow . || echo $?",
        vm.name
    );
    let user = ["--with", OLD];
    let said = run(&user, &["sh", "-c", &script]);
    assert_eq!(said.out, "444\n2\n2\nnowhere\nx\nx\n2\n2\n", "{said:?}");
    let lines: Vec<&str> =
        said.err.lines().map(|line| line.split_once("] ").map_or(line, |(_, rest)| rest)).collect();
    assert_eq!(
        lines,
        [
            "[error] [sftp] cannot open local file \"back\": Permission denied",
            "[error] [sftp] omitting local directory \"d\": recursive mode not specified",
            "[error] [sftp] remote target does not exist",
            "[error] [sftp] cannot open remote file \"/etc/shadow\": SFTP server: Permission denied",
        ]
    );
    vm.fault("corrupt-transfer", "on");
    let half = format!(
        "head -c 200000 /dev/zero > $(mktemp -d)/z; cd /tmp/tmp.*/ && cd - > /dev/null; f=$(mktemp); \
                        multipass transfer {}:big $f; stat -c %s $f",
        vm.name
    );
    assert_eq!(run(&user, &["sh", "-c", &half]).out.lines().last(), Some("101696"));
    assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    let stopped = vm.run(&["transfer", &format!("{}:big", vm.name), "/tmp/x"]);
    let why = format!("transfer failed: instance \"{}\" is not running\n", vm.name);
    assert_eq!((stopped.code, stopped.err), (2, why));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn directories_are_mounted() {
    let vm = Vm::launch(OLD);
    let made = run(&["--with", OLD], &["sh", "-c", "cd $(mktemp -d); mkdir p; echo hi > p/f; pwd"]);
    let dir = made.out.trim();
    let source = format!("{dir}/p");
    assert_eq!(vm.run(&["mount", &source, &vm.name]).code, 0);
    assert_eq!(vm.sh("cat p/f; echo back > p/g"), "hi\n");
    assert_eq!(run(&[], &["cat", &format!("{source}/g")]).out, "back\n");
    assert_eq!(vm.info(&[])["mounts"]["/home/ubuntu/p"]["source_path"], source.as_str());
    assert_eq!(vm.info(&[])["mounts"]["/home/ubuntu/p"]["uid_mappings"], serde_json::json!(["1000:default"]));
    let twice = vm.run(&["mount", &source, &vm.name]);
    assert_eq!(
        (twice.code, twice.err),
        (
            2,
            format!(
                "mount failed: The following errors occurred:\n\"/home/ubuntu/p\" is already mounted in '{}'\n",
                vm.name
            )
        )
    );
    let root = vm.run(&["mount", &source, &format!("{}:/home/ubuntu", vm.name)]);
    assert!(root.code == 2 && root.err.ends_with("unable to mount to \"/home/ubuntu\"\n"), "{root:?}");
    let nothing = vm.run(&["mount", "/no/where", &vm.name]);
    assert_eq!((nothing.code, &*nothing.err), (1, "Source path \"/no/where\" does not exist\n"));
    // The directory one is in, where the guest has it.
    let mapped = run(&["--with", OLD, "--cwd", &source], &["multipass", "exec", &vm.name, "--", "pwd"]);
    assert_eq!(mapped.out, "/home/ubuntu/p\n");
    vm.fault("mount-lost", "on");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(vm.sh("ls p"), "");
    assert!(vm.info(&[])["mounts"]["/home/ubuntu/p"].is_object(), "it is still said to be there");
    vm.fault("mount-lost", "off");
    assert_eq!(vm.run(&["umount", &format!("{}:p", vm.name)]).code, 0);
    vm.fault("sshfs-missing", "on");
    let refused = vm.run(&["mount", &source, &vm.name]);
    assert!(refused.code == 2 && refused.err.contains("Error enabling mount support in"), "{refused:?}");
    vm.fault("sshfs-missing", "off");
    assert_eq!(vm.run(&["mount", &source, &vm.name]).code, 0);
    // What is the caller's is the guest's user's.
    let root = ["--with", OLD, "--user", "root"];
    let made = run(&root, &["sh", "-c", "cd $(mktemp -d); echo hi > f; pwd"]).out;
    let at = format!("{}:/mnt/root", vm.name);
    assert_eq!(run(&root, &["multipass", "mount", made.trim(), &at]).code, 0);
    assert_eq!(vm.sh("stat -c %U /mnt/root/f; echo new > /mnt/root/g"), "ubuntu\n");
    assert_eq!(run(&root, &["stat", "-c", "%U", &format!("{}/g", made.trim())]).out, "root\n");
    // Recorded, and there again; gone, if the fault says so.
    assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    assert_eq!(vm.run(&["mount", &source, &format!("{}:/mnt/x", vm.name)]).code, 0);
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    assert_eq!(vm.sh("cat p/f /mnt/x/f"), "hi\nhi\n");
    let same = format!("{}:{source}", vm.name);
    assert_eq!(vm.run(&["mount", &source, &same]).code, 0);
    assert_eq!(vm.sh(&format!("cat {source}/f")), "hi\n");
    assert_eq!(vm.run(&["umount", &same]).code, 0);
    let unknown = vm.run(&["umount", &same]);
    assert!(
        unknown.err.ends_with(&format!("path \"{source}\" is not mounted in '{}'\n", vm.name)),
        "{unknown:?}"
    );
    assert_eq!(vm.run(&["umount", &vm.name]).code, 0);
    assert_eq!(vm.sh("ls p"), "");
    vm.fault("mount-empty", "on");
    assert_eq!(vm.run(&["mount", &source, &vm.name]).code, 0);
    assert_eq!(vm.sh("ls p"), "");
    // A source that has gone is dropped at the next start, with a warning.
    vm.fault("mount-empty", "off");
    assert_eq!(run(&[], &["mv", &source, &format!("{dir}/q")]).code, 0);
    assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    let warned = vm.run(&["start", &vm.name]);
    assert!(warned.code == 0 && warned.err.contains("Removing mount \"/home/ubuntu/p\" from "), "{warned:?}");
    vm.fault("mounts-disabled", "on");
    let disabled = vm.run(&["mount", dir, &vm.name]);
    assert!(
        disabled.err.starts_with("mount failed: Mounts are disabled on this installation of Multipass.\n")
    );
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn other_faults() {
    let vm = Vm::launch(OLD);
    let address = |vm: &Vm| vm.info(&[])["ipv4"][0].clone();
    let before = address(&vm);
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(address(&vm), before);
    vm.fault("ip-change-on-start", "on");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_ne!(address(&vm), before);
    vm.fault("slow-info", "on");
    let start = Instant::now();
    vm.info(&["--no-runtime-information"]);
    assert!(start.elapsed() < Duration::from_secs(4));
    vm.info(&[]);
    assert!(start.elapsed() >= Duration::from_secs(5));
    vm.fault("unknown-state", "on");
    assert_eq!(vm.state(), "Unknown");
    assert_eq!(vm.run(&["stop", "--force", &vm.name]).code, 0);
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    assert_eq!(vm.state(), "Running");
    vm.fault("die", "on");
    assert_eq!(vm.state(), "Stopped");
    assert_eq!(vm.exec(&["true"]).code, 0);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_kernels_log_names_whom_memory_killed() {
    let vm = Vm::named(OLD);
    let said = vm.run(&["launch", "-n", &vm.name, "-m", "512M"]);
    assert_eq!(said.code, 0, "{said:?}");
    let log = |words: &str| vm.exec(&["sh", "-c", &format!("sudo journalctl -k --no-pager {words}")]);
    assert_eq!(log("").out, "-- No entries --\n");
    assert_eq!((log("-q").out, log("-g Killed").code), (String::new(), 1));
    let before = vm.sh("date +%s");
    let before = before.trim();
    let greedy = vm.exec(&["sh", "-c", "head -c 900M /dev/zero | tail"]);
    assert!(greedy.code == 255 || greedy.code == 137, "{greedy:?}");
    let exact = log(&format!("-b -g 'Killed process' -o short-unix --since=@{before}")).out;
    let (stamp, line) = exact.split_once(' ').expect("two words");
    let (seconds, micros) = stamp.split_once('.').expect("a fraction");
    assert!(seconds.parse::<u64>().ok() >= before.parse().ok() && micros.len() == 6, "{exact}");
    let killed = format!("{} kernel: Memory cgroup out of memory: Killed process ", vm.name);
    assert!(line.starts_with(&killed) && line.contains(" (tail) total-vm:"), "{exact}");
    assert!(line.contains("kB, anon-rss:") && exact.lines().count() == 1, "{exact}");
    let short = log("--dmesg --grep='killed process'").out;
    assert!(!short.starts_with(stamp) && short.contains(&killed), "small letters mean others, too: {short}");
    assert_eq!(log("--since \"@$(($(date +%s) + 60))\"").out, "-- No entries --\n");
    assert_eq!(log("--frob").err, "journalctl: unrecognized option '--frob'\n");
    // This boot's alone.
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(log("").out, "-- No entries --\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn services_of_an_administrator_start_at_boot() {
    let vm = Vm::launch(OLD);
    let runs = |script: &str| {
        vm.sh(&format!(
            "printf '%s\\n' '{script}' | sudo tee /usr/local/bin/tick > /dev/null; \
             printf '[Service]\\nExecStart=/bin/sh /usr/local/bin/tick\\n[Install]\\nWantedBy=multi-user.target\\n' | \
             sudo tee /etc/systemd/system/tick.service > /dev/null; sudo systemctl daemon-reload"
        ))
    };
    let boot = || {
        assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
        assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    };
    runs("echo tick >> /var/tmp/ticks; exec sleep 86396");
    boot();
    assert_ne!(vm.exec(&["cat", "/var/tmp/ticks"]).code, 0, "it is not enabled yet");
    vm.sh("sudo systemctl enable --now tick.service");
    assert_eq!(vm.sh("cat /var/tmp/ticks; systemctl is-active tick"), "tick\nactive\n");
    boot();
    assert_eq!(vm.sh("cat /var/tmp/ticks; systemctl is-active tick"), "tick\ntick\nactive\n");
    // What has ended has ended.
    vm.sh("sudo pkill -xf 'sleep 86396'");
    assert_eq!(
        vm.sh("sleep 0.5; systemctl is-active tick || test $? = 3; cat /var/tmp/ticks"),
        "inactive\ntick\ntick\n"
    );
    // A service may turn the machine off.
    runs("rm /var/tmp/ticks && systemctl poweroff");
    vm.exec(&["sudo", "systemctl", "start", "tick"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while vm.state() != "Stopped" {
        assert!(Instant::now() < deadline, "{}", vm.state());
    }
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    assert_eq!(vm.sh("ls /var/tmp/ticks 2> /dev/null || systemctl is-enabled tick"), "enabled\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn without_a_network_there_are_no_packages() {
    let vm = Vm::named(OLD);
    vm.fault("no-network", "on");
    let said = vm.run(&["launch", "24.04", "-n", &vm.name]);
    assert_eq!(said.code, 0, "{said:?}");
    let update = vm.exec(&["sudo", "apt-get", "-q", "update"]);
    let failed = |line: &str| {
        line.starts_with("W: Failed to fetch http://archive.ubuntu.")
            && line.contains("/ubuntu/dists/noble/InRelease  Temporary failure resolving 'archive.ubuntu.")
    };
    assert!(update.code == 0 && update.err.lines().any(failed), "{update:?}");
    let install = || vm.exec(&["sudo", "apt-get", "-q", "-y", "install", "nix-bin"]);
    let said = install();
    assert!(said.code == 100 && said.err.contains("E: Unable to locate package nix-bin\n"), "{said:?}");
    vm.fault("no-network", "off");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    vm.sh("sudo apt-get -q update");
    assert_eq!(install().code, 0);
    // Who has his own repositories keeps them.
    vm.sh("echo '# mine' | sudo tee /etc/apt/sources.list");
    vm.fault("no-network", "on");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(vm.sh("cat /etc/apt/sources.list"), "# mine\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn nix_comes_from_its_installer_and_builds() {
    let vm = Vm::launch(OLD);
    let to = format!("{}:/var/tmp/nix-installer", vm.name);
    assert_eq!(vm.run(&["transfer", "/lab/multipass/nix-installer", &to]).code, 0);
    vm.sh("chmod +x /var/tmp/nix-installer");
    let install = |more: &[&str]| {
        let words = ["env", "sudo", "/var/tmp/nix-installer", "install", "linux"];
        vm.exec(&[&words, more].concat())
    };
    let (who, cores) = ("trusted-users = root ubuntu", "cores = 2");
    let same = ["--no-confirm", "--extra-conf", who, "--extra-conf", cores];
    let unknown = install(&["--no-confirm", "--frob"]);
    assert!(unknown.code == 2 && unknown.err.starts_with("error: unexpected argument '--frob' found\n"));
    let unsure = install(&[]);
    assert!(unsure.code == 1 && unsure.err.contains("no lines found from stdin"), "{unsure:?}");
    assert_ne!(vm.exec(&["test", "-e", "/nix/receipt.json"]).code, 0, "nothing was done yet");
    let done = install(&same);
    assert!(done.code == 0 && done.out.contains("Nix was installed successfully!"), "{done:?}");
    assert_eq!(
        vm.sh("getent passwd nixbld1 nixbld32 | cut -d: -f1,3,4; ls /usr/bin/nix* 2> /dev/null || echo none"),
        "nixbld1:30001:30000\nnixbld32:30032:30000\nnone\n"
    );
    assert_eq!(
        vm.sh("tail -n 1 /etc/nix/nix.conf; grep = /etc/nix/nix.custom.conf"),
        format!("!include nix.custom.conf\n{who}\n{cores}\n")
    );
    let works = || {
        assert_eq!(
            vm.sh("systemctl is-active nix-daemon.socket; systemctl is-enabled nix-daemon.socket"),
            "active\nenabled\n"
        );
        vm.sh(
            "PATH=$PATH:/nix/var/nix/profiles/default/bin; export NIX_REMOTE=daemon; nix config show cores\n\
             echo \"derivation { name = \\\"z$(date +%N)\\\"; system = builtins.currentSystem; builder = \\\"/bin/sh\\\"; \
               args = [ \\\"-c\\\" \\\"echo built > \\$out\\\" ]; }\" > ~/z.nix\n\
             cat $(nix-build --no-out-link ~/z.nix)",
        )
    };
    assert_eq!(works(), "2\nbuilt\n");
    // What the shell reads before it asks who it is for is enough.
    assert_eq!(vm.exec(&["which", "nix"]).out, "/nix/var/nix/profiles/default/bin/nix\n");
    let again = install(&same);
    assert!(again.code == 0 && again.err.contains("with the same settings, already completed."), "{again:?}");
    let other = install(&["--no-confirm"]);
    assert!(other.code == 1 && other.err.contains("which used different planner settings"), "{other:?}");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(works(), "2\nbuilt\n");
}
