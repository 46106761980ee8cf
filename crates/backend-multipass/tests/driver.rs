//! The typed driver against the lab's Multipass, in both versions, for root and for an ordinary user.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::ffi::OsString;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use nixoci_backend_multipass::driver::{Launch, Multipass, State};
use nixoci_backend_multipass::error;
use nixoci_core::Error;
use nixoci_core::runner::{Command, Exit, Runner, output, output_with_input};
use nixoci_nix::HostRunner;
use nixoci_nix::guest::{GuestRunner, GuestTransport};
use nixoci_nix::ssh::{SshHost, SshSession};
use nixoci_testkit::World;
use nixoci_testkit::lab::Host;

nixoci_testkit::on_every_host!(a_virtual_machine_comes_works_and_goes: release("multipass"), next("multipass-1.17"));
fn a_virtual_machine_comes_works_and_goes(host: &Host, version: &str) -> Result<(), String> {
    if !host.is_inside() {
        return host.run(&["--as", "mac", "--without", "nix", "--with", version]);
    }
    life();
    Ok(())
}

fn world() -> World {
    World::new("aarch64-darwin", Box::new(HostRunner::default())).unwrap()
}

/// With a new key in a directory, which logs in.
fn launch(dir: &Path) -> Launch {
    let key = dir.join("key");
    if !key.exists() {
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.unwrap().success());
    }
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let ours = "write_files:\n  - path: /etc/nixoci/vm.json\n    content: '{\"owner\":\"nixoci\"}'\n";
    Launch {
        image: "24.04".to_owned(),
        cpus: 1,
        memory: "512M".to_owned(),
        disk: "5G".to_owned(),
        timeout: 120,
        cloud_init: format!("ssh_authorized_keys:\n  - restrict,pty {public}{ours}"),
    }
}

#[tokio::main]
async fn life() {
    let world = world();
    let cx = world.cx();
    // Process ids are a host's; names are the lab's.
    let random = RandomState::new().hash_one(std::process::id());
    let name = format!("driver-{random:x}");
    let multipass = Multipass::find(&cx).await.unwrap();
    multipass.check(&cx).await.unwrap();
    assert_eq!(multipass.state(&cx, &name).await.unwrap(), None);
    assert!(multipass.start(&cx, &name).await.unwrap_err().is(&error::ABSENT));
    assert!(multipass.info(&cx, &name).await.unwrap_err().is(&error::ABSENT));
    let key = tempfile::tempdir().unwrap();
    let launch = || launch(key.path());
    let odd = Launch { memory: "10M".to_owned(), ..launch() };
    assert!(multipass.launch(&cx, &name, &odd).await.unwrap_err().is(&error::BAD_SIZE));
    assert!(multipass.launch(&cx, "a_b", &launch()).await.unwrap_err().is(&error::BAD_NAME));

    multipass.launch(&cx, &name, &launch()).await.unwrap();
    let info = multipass.info(&cx, &name).await.unwrap();
    assert_eq!(info.state, Some(State::Running));
    assert!(info.memory.unwrap().1 > 0 && info.disk.unwrap().1 > 0 && !info.ipv4.is_empty(), "{info:?}");
    small(&multipass, &name).await;
    guest(&multipass, &name, key.path()).await;

    multipass.stop(&cx, &name, false).await.unwrap();
    assert_eq!(multipass.state(&cx, &name).await.unwrap(), Some(State::Stopped));
    let info = multipass.info(&cx, &name).await.unwrap();
    assert_eq!((info.cpus, info.memory), (None, None));
    multipass.set(&cx, &name, "disk", "6G").await.unwrap();
    assert!(multipass.set(&cx, &name, "disk", "5G").await.unwrap_err().is(&error::BAD_SIZE));
    multipass.start(&cx, &name).await.unwrap();
    assert_eq!(multipass.state(&cx, &name).await.unwrap(), Some(State::Running));
    multipass.delete(&cx, &name).await.unwrap();
    assert_eq!(multipass.state(&cx, &name).await.unwrap(), None);
}

/// Small commands through `multipass exec`.
async fn small(multipass: &Multipass, name: &str) {
    let world = world();
    let cx = world.cx();
    let words = ["a b", "it's", "$HOME", "A=b", "line\nline", "", "*"];
    let answer = multipass.exec(&cx, name, &Command::new("printf").arg("<%s>").args(words)).await.unwrap();
    assert_eq!(answer.stdout_text(), words.map(|word| format!("<{word}>")).concat());
    let fails = multipass.exec(&cx, name, &Command::new("ls").arg("/no/such")).await.unwrap();
    assert!(!fails.exit.success() && fails.stderr_text().contains("/no/such"), "{fails:?}");
    assert!(multipass.exec(&cx, "no-such", &Command::new("true")).await.unwrap_err().is(&error::ABSENT));
}

/// The guest by ssh.
#[derive(Debug)]
struct Ssh(Arc<SshSession>);

#[async_trait]
impl GuestTransport for Ssh {
    fn command(&self, argv: Vec<OsString>) -> Command {
        self.0.command("vm", &argv)
    }

    async fn lost(&self, said: &str) -> Error {
        Error::new(&error::LOST, said)
    }
}

async fn ssh(multipass: &Multipass, name: &str, key: &Path) -> Ssh {
    let world = world();
    let cx = world.cx();
    let host_key = Command::new("cat").arg("/etc/ssh/ssh_host_ed25519_key.pub");
    let host_key = multipass.exec(&cx, name, &host_key).await.unwrap().stdout_text();
    let host = SshHost {
        name: "vm".to_owned(),
        user: Some("ubuntu".to_owned()),
        port: None,
        key: Some(key.join("key")),
        host_key: Some(host_key.trim().to_owned()),
        address: multipass.info(&cx, name).await.unwrap().ipv4.first().cloned(),
    };
    let session = SshSession::new(&cx, vec![host]).unwrap();
    session.connect(&cx, "vm").await.unwrap();
    Ssh(session)
}

/// Commands by ssh: exit codes, words, input beyond the window of a channel, and the end.
async fn guest(multipass: &Multipass, name: &str, key: &Path) {
    let world = world();
    let cx = world.cx();
    let guest = GuestRunner::new(cx.runner, Arc::new(ssh(multipass, name, key).await));
    let sh = |script: &str| Command::new("sh").args(["-c", script]);
    for code in [0, 2, 4, 7, 254] {
        let answer =
            output(&guest, &sh(&format!("echo out; echo err >&2; exit {code}")), cx.cancel).await.unwrap();
        assert_eq!(answer.exit, Exit::Code(code));
        assert_eq!((answer.stdout_text().as_str(), answer.stderr_text().trim_end()), ("out\n", "err"));
    }
    let words = ["a b", "it's", "$HOME", "A=b", "line\nline", "", "*"];
    let answer = output(&guest, &Command::new("printf").arg("<%s>").args(words), cx.cancel).await.unwrap();
    assert_eq!(answer.stdout_text(), words.map(|word| format!("<{word}>")).concat());
    let input: Vec<u8> = (0..=255).cycle().take(12 << 20).collect();
    let answer =
        output_with_input(&guest, &Command::new("cat").with_stdin(), &input, cx.cancel).await.unwrap();
    assert!(answer.stdout == input, "{} bytes came back", answer.stdout.len());
    let answer = output(&guest, &sh("cat /etc/nixoci/vm.json; id -un"), cx.cancel).await.unwrap();
    assert!(answer.stdout_text().contains("nixoci") && answer.stdout_text().contains("ubuntu"), "{answer:?}");

    // What is stopped, and what a killed nixoci leaves behind, ends in the guest.
    for stopped in [true, false] {
        let pipe = Pipe::new(&format!("/lab/events/{name}-{stopped}"));
        let holding = format!("exec 9>{}; echo begun >&9; sleep infinity; true", pipe.path);
        let mut process = guest.spawn(&sh(&holding)).await.unwrap();
        let held = pipe.held().await;
        if stopped {
            process.stop(Duration::from_secs(5)).await.unwrap();
        }
        drop(process);
        held.released().await;
    }
}

/// A named pipe that programs in the guest hold open for as long as they run.
struct Pipe {
    path: String,
}

/// The end that sees when nobody holds the other one any more.
struct Held(BufReader<File>);

impl Pipe {
    fn new(path: &str) -> Self {
        let made = std::process::Command::new("mkfifo").args(["-m", "666", path]).status().unwrap();
        assert!(made.success());
        Self { path: path.to_owned() }
    }

    /// Waits until a program holds it, and has written a line.
    async fn held(&self) -> Held {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            let mut reader = BufReader::new(File::open(path).unwrap());
            reader.read_line(&mut String::new()).unwrap();
            Held(reader)
        })
        .await
        .unwrap()
    }
}

impl Held {
    async fn released(mut self) {
        tokio::task::spawn_blocking(move || self.0.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

nixoci_testkit::on_every_host!(why_the_daemon_does_not_serve_a_user_has_its_own_code:
    it_is_down(&["--without", "multipass-daemon"], "nixoci::multipass::daemon_down"),
    its_socket_is_roots(&["--with", "multipass-denied"], "nixoci::multipass::socket_denied"),
    it_does_not_know_the_user(&["--with", "multipass-unauthenticated"], "nixoci::multipass::unauthenticated"),
);
fn why_the_daemon_does_not_serve_a_user_has_its_own_code(
    host: &Host,
    flags: &[&str],
    code: &str,
) -> Result<(), String> {
    if !host.is_inside() {
        return host.run(&[&["--as", "mac", "--with", "multipass"], flags].concat());
    }
    // No socket is closed to root.
    let is_open = host.user == "root" && flags.contains(&"multipass-denied");
    refused((!is_open).then_some(code));
    Ok(())
}

#[tokio::main]
async fn refused(code: Option<&str>) {
    let world = world();
    let found = Multipass::find(&world.cx()).await.unwrap().check(&world.cx()).await;
    let Some(code) = code else { return assert!(found.is_ok()) };
    let error = found.unwrap_err();
    assert_eq!(error.code(), code);
    assert!(!error.report().remedies.is_empty());
}
