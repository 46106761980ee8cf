//! Processes and the watchdog, for real: what is started ends, whatever happens to whoever started it.
//!
//! Some tests start this test program again in the role of nixoci (`role_nixoci`), which is then killed, and of
//! its watchdog (`role_watchdog`). Only processes that a test started are ever signalled.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nixoci_core::codes;
use nixoci_core::runner::{Command, Exit, GRACE, Process, Runner, output};
use nixoci_nix::{HostRunner, Watchdog, watchdog_main};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
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

fn gone_within(pids: &[i32], limit: Duration) -> bool {
    let start = Instant::now();
    while pids.iter().any(|&pid| runs(pid)) {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Starts a script that prints process ids, one a line, and reads `count` of them.
async fn start(runner: &HostRunner, script: &str, count: usize) -> (Box<dyn Process>, Vec<i32>) {
    let mut process = runner.spawn(&sh(script)).await.unwrap();
    let mut lines = tokio::io::BufReader::new(process.take_stdout().unwrap()).lines();
    let mut pids = Vec::new();
    for _ in 0..count {
        pids.push(lines.next_line().await.unwrap().unwrap().trim().parse().unwrap());
    }
    (process, pids)
}

/// A machine at work may take its time to deliver a signal.
const PATIENT: Duration = Duration::from_secs(30);
const FAMILY: &str = "sleep 1000 & echo $!; echo $$; sleep 1000";

#[tokio::test]
async fn stopping_ends_the_whole_group() {
    let (mut process, pids) = start(&HostRunner::default(), FAMILY, 2).await;
    assert!(pids.iter().all(|&pid| runs(pid)));
    process.stop(PATIENT).await.unwrap();
    assert!(gone_within(&pids, Duration::ZERO), "something is left");
    process.stop(PATIENT).await.unwrap();
}

#[tokio::test]
async fn what_ignores_polite_signals_is_killed() {
    let script = "trap '' INT TERM; echo $$; while :; do sleep 0.1; done";
    let (mut process, pids) = start(&HostRunner::default(), script, 1).await;
    let exit = process.stop(Duration::from_millis(300)).await.unwrap();
    assert_eq!(exit, Exit::Signal(9));
    assert!(gone_within(&pids, Duration::from_secs(1)));
}

#[tokio::test]
async fn the_first_signal_is_polite() {
    // As Nix does: its builders are in other groups, and only Nix can find them.
    let script = "trap 'exit 7' INT; sleep 1000 & echo $!; wait";
    let (mut process, pids) = start(&HostRunner::default(), script, 1).await;
    assert_eq!(process.stop(PATIENT).await.unwrap(), Exit::Code(7));
    assert!(gone_within(&pids, Duration::from_secs(1)));
}

#[tokio::test]
async fn dropping_ends_the_group_too() {
    let (process, pids) = start(&HostRunner::default(), FAMILY, 2).await;
    drop(process);
    let start = Instant::now();
    while pids.iter().any(|&pid| runs(pid)) {
        assert!(start.elapsed() < GRACE + Duration::from_secs(1), "something is left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_runtime_that_ends_leaves_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pids = runtime.block_on(async {
        let (process, pids) = start(&HostRunner::default(), FAMILY, 2).await;
        drop(process);
        pids
    });
    drop(runtime);
    assert!(gone_within(&pids, Duration::from_secs(1)));
}

#[test]
fn a_process_dropped_outside_a_runtime_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (process, pids) = runtime.block_on(start(&HostRunner::default(), FAMILY, 2));
    drop(process);
    assert!(gone_within(&pids, GRACE + Duration::from_secs(1)));
}

#[tokio::test]
async fn a_process_left_behind_by_its_leader_ends_with_it() {
    let (mut process, pids) = start(&HostRunner::default(), "sleep 1000 >/dev/null 2>&1 & echo $!", 1).await;
    assert_eq!(process.wait().await.unwrap(), Exit::Code(0));
    assert!(runs(pids[0]));
    process.stop(GRACE).await.unwrap();
    assert!(gone_within(&pids, Duration::ZERO));
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
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.cancel();
    });
    let error = output(&runner, &sh("sleep 1000"), &cancel).await.unwrap_err();
    assert!(error.is(&codes::CANCELLED));
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
        let script = format!("trap 'echo > {}/polite; exit' INT; {FAMILY} & wait", dir.display());
        let (process, pids) = start(&runner, &script, 2).await;
        let stubborn = "trap '' INT TERM; echo $$; while :; do sleep 0.1; done";
        let (other, more) = start(&runner, stubborn, 1).await;
        // Long enough for the watchdog to be up, which starts beside the first child.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(watchdog.failure(), None);
        println!("pids {:?}", [pids, more].concat());
        std::future::pending::<()>().await;
        drop((process, other, half));
    });
}

/// Not a test: the hidden subcommand.
#[test]
fn role_watchdog() {
    if std::env::var_os(ROLE).is_some() {
        watchdog_main(std::io::stdin());
    }
}

#[test]
fn nothing_is_left_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut nixoci = start_role("role_nixoci", dir.path());
    let lines = BufReader::new(nixoci.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.contains("pids ")).expect("nixoci failed");
    let numbers = line.split(['[', ']', ',', ' ']).filter_map(|word| word.parse().ok());
    let pids: Vec<i32> = numbers.collect();
    assert_eq!(pids.len(), 3, "{line}");
    assert!(pids.iter().all(|&pid| runs(pid)));
    nixoci.kill().unwrap();
    nixoci.wait().unwrap();
    assert!(gone_within(&pids, Duration::from_secs(2)), "something is left");
    std::thread::sleep(Duration::from_millis(100));
    assert!(!dir.path().join("half").exists(), "a half output is left");
    assert!(dir.path().join("whole").exists(), "a finished output is gone");
    assert!(dir.path().join("polite").exists(), "killed without a word");
}

#[test]
fn the_watchdog_outlives_the_signals_that_end_nixoci() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("half");
    std::fs::write(&file, "x").unwrap();
    let mut watchdog = start_role("role_watchdog", dir.path());
    let mut pipe = watchdog.stdin.take().unwrap();
    writeln!(pipe, "f {}", file.display()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let pid = Pid::from_raw(i32::try_from(watchdog.id()).unwrap()).unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(pid, signal).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(watchdog.try_wait().unwrap().is_none(), "a signal ended the watchdog");
    assert!(file.exists());
    drop(pipe);
    assert!(watchdog.wait().unwrap().success());
    assert!(!file.exists());
}

#[tokio::test]
async fn a_watchdog_that_cannot_start_says_so_and_harms_nothing() {
    let watchdog = Watchdog::new("/no/such/program".into(), Vec::new());
    let runner = HostRunner::new(Some(watchdog.clone()));
    let answer = output(&runner, &sh("echo x"), &CancellationToken::new()).await.unwrap();
    assert_eq!(answer.stdout, b"x\n");
    let start = Instant::now();
    while watchdog.failure().is_none() {
        assert!(start.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
