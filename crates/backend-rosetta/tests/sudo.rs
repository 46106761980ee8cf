//! A command as root, as the step that installs Rosetta runs it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Mutex;

use nixoci_core::Result;
use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, Process, Runner};
use nixoci_nix::sudo::{self, FAILED, PASSWORD};
use nixoci_testkit::World;

/// Runs `sh -c SCRIPT` in place of everything, and remembers what was asked for.
#[derive(Debug)]
struct Pretend {
    script: &'static str,
    terminal: bool,
    asked: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl Runner for Pretend {
    async fn spawn(&self, command: &Command) -> Result<Box<dyn Process>> {
        self.asked.lock().unwrap().push(command.to_string());
        let pretend = Command { interactive: false, ..Command::new("sh").args(["-c", self.script]) };
        nixoci_nix::HostRunner::new(None).spawn(&pretend).await
    }
    async fn find(&self, _: &str) -> Option<std::path::PathBuf> {
        None
    }
    fn has_terminal(&self) -> bool {
        self.terminal
    }
}

async fn run(script: &'static str, terminal: bool) -> (Result<()>, String) {
    let runner = std::sync::Arc::new(Pretend { script, terminal, asked: Mutex::default() });
    let world = World::without_processes("aarch64-darwin").unwrap();
    let cx = Cx { runner: runner.as_ref(), ..world.cx() };
    let result = sudo::run(&cx, &Command::new("softwareupdate").arg("--x")).await;
    let asked = runner.asked.lock().unwrap().join("; ");
    (result, asked)
}

#[tokio::test]
async fn off_a_terminal_nobody_is_asked_for_a_password() {
    let (result, asked) = run("echo sudo: a password is required >&2; exit 1", false).await;
    let error = result.unwrap_err();
    assert!(error.is(&PASSWORD) && error.kind().exit_code() == 22);
    assert_eq!(error.report().remedies[0].command.as_deref(), Some("sudo softwareupdate --x"));
    assert_eq!(asked, "sudo -n softwareupdate --x");
    let (result, _) = run("echo nothing on the line >&2; exit 3", false).await;
    let error = result.unwrap_err();
    assert!(error.is(&FAILED));
    assert_eq!(error.report().causes, ["exit code 3", "nothing on the line"]);
    assert!(run("true", false).await.0.is_ok());
}

#[tokio::test]
async fn on_a_terminal_sudo_has_it_and_standard_output_stays_ours() {
    let (result, asked) = run("true", true).await;
    assert!(result.is_ok());
    assert_eq!(asked, "sh -c 'exec \"$@\" >&2' sh sudo softwareupdate --x");
    assert!(run("exit 1", true).await.0.unwrap_err().is(&FAILED));
}
