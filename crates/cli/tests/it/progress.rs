//! What is seen of progress, and by whom.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::{err, out};

/// A line of shell with nixoci in `$NIXOCI`, in an environment without anything of the developer's.
fn sh(dir: &Path, script: &str) -> Output {
    Command::new("sh")
        .args(["-c", script])
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", dir)
        .env("NIXOCI", env!("CARGO_BIN_EXE_nixoci"))
        .output()
        .unwrap()
}

/// nixoci that reads a pipe to which nothing is written, until it is ended.
struct Waiting {
    nixoci: Child,
    /// While this is open, nixoci waits for more.
    pipe: Option<File>,
    said: Vec<u8>,
}

impl Waiting {
    /// Starts a command in which nixoci opens this pipe; returns when it has. `environment` is `NAME=VALUE …`.
    fn start(dir: &Path, pipe: &str, environment: &str, command: &[&str]) -> Waiting {
        let path = dir.join(pipe);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let pairs = environment.split_whitespace().filter_map(|pair| pair.split_once('='));
        let nixoci = Command::new(command[0])
            .args(&command[1..])
            .current_dir(dir)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", dir)
            .env("NIXOCI", env!("CARGO_BIN_EXE_nixoci"))
            .envs(pairs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = File::options().write(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        Waiting { nixoci, pipe: Some(pipe), said: Vec::new() }
    }

    /// Reads what it says until that has this text.
    fn until(&mut self, text: &str) {
        let out = self.nixoci.stdout.as_mut().unwrap();
        while !String::from_utf8_lossy(&self.said).contains(text) {
            let mut byte = [0];
            assert_eq!(
                out.read(&mut byte).unwrap(),
                1,
                "it has ended: {}",
                String::from_utf8_lossy(&self.said)
            );
            self.said.push(byte[0]);
        }
    }

    /// Ends what it reads, which is no image; all that it has said.
    fn end(mut self) -> String {
        self.pipe.take();
        let mut out = self.nixoci.stdout.take().unwrap();
        out.read_to_end(&mut self.said).unwrap();
        self.nixoci.wait().unwrap();
        String::from_utf8_lossy(&self.said).into_owned()
    }
}

fn kinds(lines: &str) -> Vec<String> {
    let kind = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["type"].as_str().unwrap().to_owned()
    };
    lines.lines().map(kind).collect()
}

#[test]
fn a_program_may_watch_while_standard_output_is_for_people() {
    let dir = tempfile::tempdir().unwrap();
    let output = sh(dir.path(), "$NIXOCI config show --progress-fd 3 3>events");
    assert!(out(&output).contains("profile = \"default\""), "{}", out(&output));
    let events = std::fs::read_to_string(dir.path().join("events")).unwrap();
    assert_eq!(kinds(&events), ["hello", "result"]);
    // What was there before stays, and an error is the end, too.
    let output = sh(dir.path(), "$NIXOCI build .#x --progress-fd=3 3>>events");
    assert_eq!(output.status.code(), Some(20));
    assert!(err(&output).starts_with("error: "), "{}", err(&output));
    let events = std::fs::read_to_string(dir.path().join("events")).unwrap();
    let kinds = kinds(&events);
    assert_eq!(kinds[..3], ["hello", "result", "hello"]);
    assert_eq!(kinds.iter().filter(|kind| *kind == "error").count(), 1);
    assert_eq!(kinds.last().unwrap(), "error");
}

#[test]
fn a_misspelt_flag_is_told_to_the_watcher_as_well() {
    let dir = tempfile::tempdir().unwrap();
    for flag in ["--nosuch", "--no-cache"] {
        let output = sh(dir.path(), &format!("$NIXOCI build {flag} --progress-fd 3 3>events"));
        assert_eq!(output.status.code(), Some(2));
        let events = std::fs::read_to_string(dir.path().join("events")).unwrap();
        assert_eq!(kinds(&events), ["hello", "error"]);
        assert_eq!(err(&output).matches("error").count(), 1, "{}", err(&output));
    }
}

#[test]
fn a_descriptor_that_is_not_open_is_said_before_anything_happens() {
    let dir = tempfile::tempdir().unwrap();
    for number in ["9", "1", "x"] {
        let output = sh(dir.path(), &format!("$NIXOCI config show --progress-fd {number}"));
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(out(&output).is_empty() && err(&output).contains(number), "{}", err(&output));
    }
}

#[test]
fn a_watcher_that_goes_away_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let output =
        sh(dir.path(), "{ $NIXOCI explain --progress-fd 3 3>&1 >all; echo $? >code; } | true; cat code");
    assert_eq!(out(&output), "0\n");
    assert!(std::fs::read_to_string(dir.path().join("all")).unwrap().contains("nixoci::usage"));
}

#[test]
fn off_a_terminal_there_is_a_sign_of_life_and_none_of_it_where_none_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let start = |progress: &str| {
        let command = format!("exec $NIXOCI inspect {progress} --progress {progress} 2>&1");
        Waiting::start(dir.path(), progress, "", &["sh", "-c", &command])
    };
    let none = start("none");
    let mut plain = start("plain");
    // When this one has given its sign, the other one has waited at least as long.
    plain.until("still checking plain");
    plain.end();
    assert_eq!(none.end().lines().filter(|line| line.contains("still")).count(), 0);
}

#[test]
fn colours_are_for_terminals_unless_somebody_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    for (environment, flags, coloured) in [
        ("", "", false),
        ("CLICOLOR_FORCE=1", "", true),
        ("CLICOLOR_FORCE=1 NO_COLOR=1", "", false),
        ("NO_COLOR=1", "--color always", true),
        ("CLICOLOR_FORCE=1", "--color never", false),
    ] {
        let output = sh(dir.path(), &format!("{environment} $NIXOCI build ./nosuch {flags}"));
        assert_eq!(err(&output).contains('\x1b'), coloured, "{environment} {flags}: {}", err(&output));
    }
}

#[test]
fn on_a_terminal_there_are_bars_unless_it_cannot_draw_them() {
    let dir = tempfile::tempdir().unwrap();
    // `script` gives the command a terminal. Bars move the cursor; plain lines never do.
    const MOVES: &str = "\x1b[";
    let start = |pipe: &str, environment: &str, flags: &str| {
        let inner = format!("exec $NIXOCI inspect {pipe} {flags}");
        Waiting::start(dir.path(), pipe, environment, &["script", "-qec", &inner, "/dev/null"])
    };
    for (environment, flags, bars) in [
        ("TERM=xterm", "--color never", true),
        ("TERM=xterm", "--color never --progress plain", false),
        ("TERM=xterm", "--color never --progress none", false),
        ("TERM=dumb", "--color never", false),
        ("TERM=dumb", "--color never --progress tty", false),
        ("TERM=xterm CI=true", "--color never", false),
        ("TERM=xterm CI=true", "--color never --progress tty", true),
        ("TERM=xterm CI=false", "--color never", true),
    ] {
        let mut wanted = start("wanted", environment, flags);
        if bars {
            wanted.until(MOVES);
            wanted.end();
            continue;
        }
        // When another one has drawn its bars, this one has had the time for it.
        let mut other = start("other", "TERM=xterm", "--color never");
        other.until(MOVES);
        other.end();
        let said = wanted.end();
        assert!(!said.contains(MOVES), "{environment} {flags}: {said}");
    }
}
