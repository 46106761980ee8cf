use std::io::{BufRead, Read};
use std::time::Duration;

use nixoci_core::runner::{Exit, Process, output, output_with_input};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::HostRunner;

/// A guest that is this machine.
#[derive(Debug)]
struct Here;

const GONE: nixoci_core::Code =
    nixoci_core::Code { id: "test::lost", kind: nixoci_core::ErrorKind::Transfer, title: "lost", help: "" };

#[async_trait]
impl GuestTransport for Here {
    fn command(&self, argv: Vec<OsString>) -> Command {
        // Whoever ends the process here does not reach what it has started there.
        Command::new("setsid").arg("--wait").args(argv)
    }

    async fn lost(&self, said: &str) -> Error {
        Error::new(&GONE, "the guest is gone").because(said)
    }
}

/// A guest that does not answer.
#[derive(Debug)]
struct Shut;

#[async_trait]
impl GuestTransport for Shut {
    fn command(&self, _: Vec<OsString>) -> Command {
        Command::new("sh").args(["-c", "echo no route to host >&2; exit 255"])
    }

    async fn lost(&self, said: &str) -> Error {
        Here.lost(said).await
    }
}

/// A guest whose connection is lost at the end of each command.
#[derive(Debug)]
struct Cut;

#[async_trait]
impl GuestTransport for Cut {
    fn command(&self, argv: Vec<OsString>) -> Command {
        Command::new("sh").args(["-c", "\"$@\"; exit 255", "cut"]).args(argv)
    }

    async fn lost(&self, said: &str) -> Error {
        Here.lost(said).await
    }
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

#[tokio::test]
async fn exit_codes_and_both_outputs_come_back_as_they_were() {
    let (host, never) = (HostRunner::default(), CancellationToken::new());
    let guest = GuestRunner::new(&host, Arc::new(Here));
    // 255 is how ssh says that it has no connection.
    for (code, seen) in [0, 1, 2, 4, 5, 126, 254].map(|code| (code, code)).into_iter().chain([(255, 254)]) {
        let answer =
            output(&guest, &sh(&format!("echo out; echo err >&2; exit {code}")), &never).await.unwrap();
        assert_eq!(answer.exit, Exit::Code(seen));
        assert_eq!((answer.stdout_text().as_str(), answer.stderr_text().as_str()), ("out\n", "err\n"));
    }
    let answer = output(&guest, &sh("kill -9 $$"), &never).await.unwrap();
    assert_eq!(answer.exit, Exit::Signal(9));
}

#[tokio::test]
async fn arguments_variables_and_directory_cross_exactly() {
    let (host, never) = (HostRunner::default(), CancellationToken::new());
    let guest = GuestRunner::new(&host, Arc::new(Here));
    let words = ["a b", "it's", "\"x\"", "$HOME", "line\nline", "", "*", "-n"];
    let command = Command::new("printf").arg("<%s>").args(words);
    let answer = output(&guest, &command, &never).await.unwrap();
    assert_eq!(answer.stdout_text(), words.map(|word| format!("<{word}>")).concat());
    let dir = tempfile::tempdir().unwrap();
    let command = sh("pwd; echo $X; echo ${Y-none}").cwd(dir.path()).env("X", "1 2");
    let command = Command { env: [command.env, vec![("Y".into(), None)]].concat(), ..command };
    let answer = output(&guest, &command, &never).await.unwrap();
    let wanted = format!("{}\n1 2\nnone\n", dir.path().canonicalize().unwrap().display());
    assert_eq!(answer.stdout_text(), wanted);
    assert_eq!(output(&guest, &sh("true").cwd("/no/such"), &never).await.unwrap().exit, Exit::Code(126));
}

#[tokio::test]
async fn a_command_that_reads_reads_to_the_end() {
    let (host, never) = (HostRunner::default(), CancellationToken::new());
    let guest = GuestRunner::new(&host, Arc::new(Here));
    let input = vec![7; 1 << 20];
    let answer = output_with_input(&guest, &Command::new("cat").with_stdin(), &input, &never).await.unwrap();
    assert_eq!((answer.exit, answer.stdout), (Exit::Code(0), input));
    // The others see the end of file at once.
    let answer = output(&guest, &Command::new("cat"), &never).await.unwrap();
    assert_eq!((answer.exit, answer.stdout.len()), (Exit::Code(0), 0));
}

#[tokio::test]
async fn what_nobody_reads_does_not_stop_a_command() {
    let host = HostRunner::default();
    let guest = GuestRunner::new(&host, Arc::new(Here));
    let mut process = guest.spawn(&sh("head -c 300000 /dev/zero | tr '\\0' 'x' >&2; exit 3")).await.unwrap();
    drop(process.take_stdout());
    let exit = tokio::time::timeout(Duration::from_secs(20), process.wait()).await.unwrap().unwrap();
    assert_eq!(exit, Exit::Code(3));
}

/// A command that runs until it is ended, and the pipe that says when it has begun, and ends with it.
async fn endless(guest: &GuestRunner<'_>, dir: &std::path::Path) -> (Box<dyn Process>, impl Read + use<>) {
    let path = dir.join("runs");
    let _ = std::fs::remove_file(&path);
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let script = format!("exec 3>{}; echo begun >&3; sleep 1000; true", path.display());
    let process = guest.spawn(&sh(&script)).await.unwrap();
    let begun = tokio::task::spawn_blocking(move || {
        let mut pipe = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        pipe.read_line(&mut String::new()).unwrap();
        pipe
    });
    (process, begun.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_with_its_caller() {
    let host = HostRunner::default();
    let guest = GuestRunner::new(&host, Arc::new(Here));
    let dir = tempfile::tempdir().unwrap();
    for stopped in [true, false] {
        let (mut process, mut pipe) = endless(&guest, dir.path()).await;
        if stopped {
            process.stop(Duration::from_secs(60)).await.unwrap();
        }
        // Dropped, as a killed nixoci drops it: the guest notices by the end of its input.
        drop(process);
        tokio::task::spawn_blocking(move || pipe.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn without_an_exit_code_the_guest_is_lost() {
    let (host, never) = (HostRunner::default(), CancellationToken::new());
    let guest = GuestRunner::new(&host, Arc::new(Shut));
    let error = output(&guest, &sh("true"), &never).await.unwrap_err();
    assert!(error.is(&GONE), "{error:?}");
    assert_eq!(error.report().causes, ["no route to host\n"]);
    // Nix's events are no reason for it.
    let cut = GuestRunner::new(&host, Arc::new(Cut));
    let builds = sh("echo '@nix {\"action\":\"stop\"}' >&2; echo closed >&2");
    let error = output(&cut, &builds, &never).await.unwrap_err();
    assert_eq!(error.report().causes, ["closed\n"]);
    assert_eq!(guest.find("sh").await, None);
    let guest = GuestRunner::new(&host, Arc::new(Here));
    assert!(guest.find("sh").await.is_some() && guest.find("no-such-program").await.is_none());
}
