//! What is seen of progress, and by whom.

use std::path::Path;
use std::process::{Command, Output};

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
    let waits = |flags: &str| {
        let script = format!("mkfifo pipe$$; timeout -s TERM 7 $NIXOCI inspect pipe$$ {flags}; rm pipe$$");
        err(&sh(dir.path(), &script))
    };
    let (plain, none) = std::thread::scope(|scope| {
        let none = scope.spawn(|| waits("--progress none"));
        (waits("--progress plain"), none.join().unwrap())
    });
    assert!(plain.contains("still checking pipe"), "{plain}");
    assert!(!none.contains("still"), "{none}");
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
    let moves = |environment: &str, flags: &str| {
        let inner = format!("mkfifo p; timeout -s TERM 1 $NIXOCI inspect p {flags}; rm p");
        let output = sh(dir.path(), &format!("{environment} script -qec '{inner}' /dev/null </dev/null"));
        out(&output).contains("\x1b[")
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
        assert_eq!(moves(environment, flags), bars, "{environment} {flags}");
    }
}
