//! The lab's multipass keeps to the documented behaviour of the real one: see `lab/README.md`.

mod exec;
mod faults;
mod guest;
mod launch;
mod messages;
mod mounts;
mod nix;
mod services;
mod states;
mod zones;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const OLD: &str = "multipass";
const NEW: &str = "multipass-1.17";

fn xtask() -> Command {
    Command::new(std::env::var_os("NIXOCI_LAB").expect("NIXOCI_LAB is set by `cargo xtask test`"))
}

/// A named pipe that every host and guest of the lab sees, gone with this value.
struct Pipe(String);

impl Pipe {
    fn new(vm: &Vm, name: &str) -> Self {
        let path = format!("/lab/events/{}.{name}", vm.name);
        assert_eq!(run(&[], &["mkfifo", "-m", "666", &path]).code, 0);
        Self(path)
    }

    /// Waits until somebody writes a line.
    fn wait(&self) {
        assert_eq!(run(&[], &["sh", "-c", &format!("read -r _ < {}", self.0)]).code, 0);
    }

    /// Writes a line, as soon as somebody reads.
    fn write(&self) {
        assert_eq!(run(&[], &["sh", "-c", &format!("echo > {}", self.0)]).code, 0);
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = run(&[], &["rm", "-f", &self.0]);
    }
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

/// The output and the exit code of a command.
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

/// A directory on the host with a key pair `id`, for OpenSSH as people have it.
struct Keys {
    dir: String,
    public: String,
}

impl Keys {
    fn new() -> Self {
        let script = "dir=$(mktemp -d); ssh-keygen -q -t ed25519 -N '' -C nixoci -f $dir/id; echo $dir; cat $dir/id.pub";
        let made = run(&[], &["sh", "-euc", script]);
        assert_eq!(made.code, 0, "{made:?}");
        let (dir, public) = made.out.trim_end().split_once('\n').expect("two lines");
        Self { dir: dir.to_owned(), public: public.to_owned() }
    }

    /// `ssh` with these options and words. Which host keys it takes is for the options to say.
    fn ssh(&self, words: &[&str]) -> Vec<String> {
        let id = format!("{}/id", self.dir);
        let fixed = ["ssh", "-F", "none", "-i", &id, "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"];
        [&fixed, words].concat().iter().map(|word| (*word).to_owned()).collect()
    }

    fn run_ssh(&self, words: &[&str]) -> Said {
        let command = self.ssh(words);
        run(&[], &command.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = run(&[], &["rm", "-rf", &self.dir]);
    }
}

/// Options for a host whose key is not looked at.
const ANY_HOST_KEY: [&str; 4] = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"];

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
        vm.launched("24.04");
        vm
    }

    fn launched(&self, image: &str) {
        let said = self.run(&["launch", image, "--name", &self.name]);
        assert_eq!(said.code, 0, "{said:?}");
    }

    /// With this user data.
    fn launched_with(&self, user_data: &str) {
        let words = ["multipass", "launch", "24.04", "--name", &self.name, "--cloud-init", "-"];
        let said = run_with_input(&["--with", self.with], &words, user_data.as_bytes());
        assert_eq!(said.code, 0, "{said:?}");
    }

    /// `ubuntu@ADDRESS`, for OpenSSH.
    fn login(&self) -> String {
        format!("ubuntu@{}", self.info(&[])["ipv4"][0].as_str().expect("an address"))
    }

    fn run(&self, words: &[&str]) -> Said {
        run(&["--with", self.with], &[&["multipass"], words].concat())
    }

    fn exec(&self, command: &[&str]) -> Said {
        self.run(&[&["exec", "-n", &self.name, "--"], command].concat())
    }

    /// The output of a script in the guest's shell.
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

    /// Looks again and again, as nothing says that a guest has gone off. Each look is a program that runs; the runner ends a test that looks for
    /// too long.
    fn wait_for_state(&self, state: &str) {
        while self.state() != state {}
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
