//! Processes and the watchdog, for real: what is started ends, whatever happens to whoever started it.
//!
//! Some tests start this test program again in the role of nixoci (`role_nixoci`), which is then killed, and of
//! its watchdog (`role_watchdog`). Only processes that a test started are ever signalled.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use nixoci_core::codes;
use nixoci_core::runner::{Command, Exit, GRACE, Process, Runner, output};
use nixoci_nix::{HostRunner, Watchdog, watchdog_main};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, Lines};
use tokio_util::sync::CancellationToken;

const ROLE: &str = "NIXOCI_TEST_ROLE";

fn sh(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}

/// Whether a process runs; one that is dead but not reaped yet does not.
fn runs(pid: i32) -> bool {
    let state =
        std::process::Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

/// Some processes that have begun, and the end of a pipe that all of them hold open.
struct Family {
    process: Box<dyn Process>,
    pids: Vec<i32>,
    pipe: Lines<tokio::io::BufReader<Box<dyn AsyncRead + Send + Unpin>>>,
}

impl Family {
    /// Starts a script that prints process ids, one a line, and reads `count` of them. All that it starts inherits its standard output.
    async fn start(runner: &HostRunner, script: &str, count: usize) -> Family {
        let mut process = runner.spawn(&sh(script)).await.unwrap();
        let mut pipe = tokio::io::BufReader::new(process.take_stdout().unwrap()).lines();
        let mut pids = Vec::new();
        for _ in 0..count {
            pids.push(pipe.next_line().await.unwrap().unwrap().trim().parse().unwrap());
        }
        assert!(pids.iter().all(|&pid| runs(pid)));
        Family { process, pids, pipe }
    }

    /// Nothing of it runs now.
    fn is_gone(&self) -> bool {
        !self.pids.iter().any(|&pid| runs(pid))
    }
}

/// Returns when the last process that holds the pipe has ended.
async fn all_have_ended(mut pipe: Lines<tokio::io::BufReader<Box<dyn AsyncRead + Send + Unpin>>>) {
    let ended = async { while pipe.next_line().await.unwrap().is_some() {} };
    assert!(tokio::time::timeout(HANGS, ended).await.is_ok(), "something is left");
}

/// A process that is asked to stop and left in peace for so long hangs.
const HANGS: Duration = Duration::from_secs(60);
const FAMILY: &str = "sleep 1000 & echo $!; echo $$; sleep 1000";
/// A child process inherits ignored signals.
const STUBBORN: &str = "trap '' INT TERM; echo $$; exec sleep 1000";

#[tokio::test]
async fn stopping_ends_the_whole_group() {
    let mut family = Family::start(&HostRunner::default(), FAMILY, 2).await;
    family.process.stop(HANGS).await.unwrap();
    assert!(family.is_gone());
    family.process.stop(HANGS).await.unwrap();
}

#[tokio::test]
async fn what_ignores_polite_signals_is_killed() {
    let mut family = Family::start(&HostRunner::default(), STUBBORN, 1).await;
    let exit = family.process.stop(Duration::from_millis(300)).await.unwrap();
    assert_eq!(exit, Exit::Signal(9));
    assert!(family.is_gone());
}

#[tokio::test]
async fn the_first_signal_is_polite() {
    // As Nix does: its builders are in other groups, and only Nix can find them.
    let script = "trap 'exit 7' INT; sleep 1000 & echo $!; wait";
    let mut family = Family::start(&HostRunner::default(), script, 1).await;
    assert_eq!(family.process.stop(HANGS).await.unwrap(), Exit::Code(7));
    assert!(family.is_gone());
}

#[tokio::test]
async fn dropping_ends_the_group_too() {
    for script in [FAMILY, STUBBORN] {
        let Family { process, pipe, .. } = Family::start(&HostRunner::default(), script, 1).await;
        drop(process);
        all_have_ended(pipe).await;
    }
}

#[test]
fn a_runtime_that_ends_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (holding, ended) = until_it_is_closed(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let script = format!("{holding}{FAMILY}");
    runtime.block_on(async { drop(Family::start(&HostRunner::default(), &script, 2).await) });
    drop(runtime);
    ended.join().unwrap();
}

#[test]
fn a_process_dropped_outside_a_runtime_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Family { process, pipe, .. } = runtime.block_on(Family::start(&HostRunner::default(), FAMILY, 2));
    drop(process);
    runtime.block_on(all_have_ended(pipe));
}

#[tokio::test]
async fn a_process_left_behind_by_its_leader_ends_with_it() {
    let mut family = Family::start(&HostRunner::default(), "sleep 1000 & echo $!", 1).await;
    assert_eq!(family.process.wait().await.unwrap(), Exit::Code(0));
    assert!(runs(family.pids[0]));
    family.process.stop(GRACE).await.unwrap();
    assert!(family.is_gone());
}

#[tokio::test]
async fn streams_and_ends_are_as_they_should_be() {
    let runner = HostRunner::default();
    let cancel = CancellationToken::new();
    let answer = output(&runner, &sh("cat; echo out; echo err >&2; exit 3"), &cancel).await.unwrap();
    assert_eq!((answer.exit, answer.stdout.as_slice()), (Exit::Code(3), b"out\n".as_slice()));
    assert_eq!(answer.stderr, b"err\n");
    let killed = output(&runner, &sh("kill -9 $$"), &cancel).await.unwrap();
    assert_eq!(killed.exit, Exit::Signal(9));

    let mut cat = runner.spawn(&Command::new("cat").with_stdin()).await.unwrap();
    let (mut stdin, mut stdout) = (cat.take_stdin().unwrap(), cat.take_stdout().unwrap());
    assert!(cat.take_stdin().is_none());
    stdin.write_all(b"hello").await.unwrap();
    drop(stdin);
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
    assert_eq!(cat.wait().await.unwrap(), Exit::Code(0));
    assert_eq!(cat.wait().await.unwrap(), Exit::Code(0));

    let dir = tempfile::tempdir().unwrap();
    let command = sh("pwd -P; echo \"$A$HOME\"").cwd(dir.path()).env("A", "1");
    let command = Command { env: [command.env.clone(), vec![("HOME".into(), None)]].concat(), ..command };
    let answer = output(&runner, &command, &cancel).await.unwrap();
    assert_eq!(answer.stdout_text(), format!("{}\n1\n", dir.path().canonicalize().unwrap().display()));
}

#[tokio::test]
async fn cancelling_ends_what_was_asked() {
    let (runner, cancel) = (HostRunner::default(), CancellationToken::new());
    let dir = tempfile::tempdir().unwrap();
    let begun = fifo(dir.path(), "begun");
    let stop = cancel.clone();
    let reader = begun.clone();
    let stopping = tokio::task::spawn_blocking(move || {
        std::fs::read(reader).unwrap();
        stop.cancel();
    });
    let script = format!("echo > {}; sleep 1000", begun.display());
    let error = output(&runner, &sh(&script), &cancel).await.unwrap_err();
    assert!(error.is(&codes::CANCELLED));
    stopping.await.unwrap();
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let runner = HostRunner::default();
    let error = runner.spawn(&Command::new("nixoci-no-such-program")).await.err().unwrap();
    assert!(error.is(&codes::TOOL_MISSING) && !error.report().remedies.is_empty(), "{error:?}");
    let error = runner.spawn(&sh("true").cwd("/no/such/directory")).await.err().unwrap();
    assert!(error.is(&codes::PROCESS) && error.to_string().contains("/no/such/directory"), "{error:?}");
    let error = runner.spawn(&Command::new("/etc/passwd")).await.err().unwrap();
    assert!(error.is(&codes::PROCESS), "{error:?}");
    assert!(runner.find("sh").await.unwrap().is_absolute());
    assert_eq!(runner.find("nixoci-no-such-program").await, None);
    assert_eq!(runner.find("/etc/passwd").await, None);
}

/// Makes a named pipe: opening it waits for the other end, and reading it ends with the last writer.
fn fifo(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// The beginning of a script that holds a pipe open, and a thread that ends when nothing holds it any more.
fn until_it_is_closed(dir: &Path) -> (String, JoinHandle<()>) {
    let pipe = fifo(dir, "held");
    let holding = holding(dir);
    (holding, std::thread::spawn(move || drop(std::fs::read(pipe).unwrap())))
}

fn holding(dir: &Path) -> String {
    format!("exec 9>{}; ", dir.join("held").display())
}

/// Where the watchdog says that it is up, and holds open as long as it lives.
const WATCHES: &str = "watches";

/// This program again, in another role.
fn role(name: &str) -> (PathBuf, Vec<OsString>) {
    let args = [name, "--exact", "--nocapture", "--test-threads=1"].map(OsString::from);
    (std::env::current_exe().unwrap(), args.to_vec())
}

fn start_role(name: &str, dir: &Path) -> Child {
    let (exe, args) = role(name);
    let mut command = std::process::Command::new(exe);
    command.args(args).env(ROLE, dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Not a test: nixoci, in the middle of a build.
#[test]
fn role_nixoci() {
    let Some(dir) = std::env::var_os(ROLE).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (exe, args) = role("role_watchdog");
        let watchdog = Watchdog::new(exe, args);
        let runner = HostRunner::new(Some(watchdog.clone()));
        let half = watchdog.guard_file(&dir.join("half"));
        drop(watchdog.guard_file(&dir.join("whole")));
        for name in ["half", "whole"] {
            std::fs::write(dir.join(name), "x").unwrap();
        }
        // A group that has ended must not be signalled any more.
        let done = output(&runner, &sh("exit 0"), &CancellationToken::new()).await.unwrap();
        assert!(done.exit.success());
        // As Nix does: at the polite signal it ends what only it can find.
        let script =
            format!("{}trap 'echo > {}/polite; exit' INT; {FAMILY} & wait", holding(&dir), dir.display());
        let polite = Family::start(&runner, &script, 2).await;
        let stubborn = Family::start(&runner, &format!("{}{STUBBORN}", holding(&dir)), 1).await;
        assert_eq!(watchdog.failure(), None);
        println!("pids {:?}", [&*polite.pids, &stubborn.pids].concat());
        std::future::pending::<()>().await;
        drop((polite, stubborn, half));
    });
}

/// The watchdog's input. The first time that it is read, the watchdog is ready for whatever comes, and a pipe says so.
struct Announced {
    input: std::io::Stdin,
    pipe: std::fs::File,
    said: bool,
}

impl Read for Announced {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !std::mem::replace(&mut self.said, true) {
            writeln!(self.pipe, "up")?;
        }
        self.input.read(buffer)
    }
}

/// Not a test: the hidden subcommand.
#[test]
fn role_watchdog() {
    let Some(dir) = std::env::var_os(ROLE).map(PathBuf::from) else { return };
    let pipe = std::fs::File::options().write(true).open(dir.join(WATCHES)).unwrap();
    watchdog_main(Announced { input: std::io::stdin(), pipe, said: false });
}

#[test]
fn nothing_is_left_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let watches = fifo(dir.path(), WATCHES);
    let (_, ended) = until_it_is_closed(dir.path());
    let mut nixoci = start_role("role_nixoci", dir.path());
    let mut watchdog = BufReader::new(std::fs::File::open(watches).unwrap());
    watchdog.read_line(&mut String::new()).unwrap();
    let lines = BufReader::new(nixoci.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.contains("pids ")).expect("nixoci failed");
    let numbers = line.split(['[', ']', ',', ' ']).filter_map(|word| word.parse().ok());
    let pids: Vec<i32> = numbers.collect();
    assert_eq!(pids.len(), 3, "{line}");
    assert!(pids.iter().all(|&pid| runs(pid)));
    nixoci.kill().unwrap();
    nixoci.wait().unwrap();
    // Ends with the watchdog.
    watchdog.read_to_string(&mut String::new()).unwrap();
    ended.join().unwrap();
    assert!(!dir.path().join("half").exists(), "a half output is left");
    assert!(dir.path().join("whole").exists(), "a finished output is gone");
    assert!(dir.path().join("polite").exists(), "killed without a word");
}

#[test]
fn the_watchdog_outlives_the_signals_that_end_nixoci() {
    let dir = tempfile::tempdir().unwrap();
    let watches = fifo(dir.path(), WATCHES);
    let file = dir.path().join("half");
    std::fs::write(&file, "x").unwrap();
    let mut watchdog = start_role("role_watchdog", dir.path());
    BufReader::new(std::fs::File::open(watches).unwrap()).read_line(&mut String::new()).unwrap();
    let mut pipe = watchdog.stdin.take().unwrap();
    writeln!(pipe, "f {}", file.display()).unwrap();
    let pid = Pid::from_raw(i32::try_from(watchdog.id()).unwrap()).unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(pid, signal).unwrap();
    }
    // A signal that kills does so before the end of the pipe is read.
    drop(pipe);
    assert!(watchdog.wait().unwrap().success(), "a signal ended the watchdog");
    assert!(!file.exists());
}
