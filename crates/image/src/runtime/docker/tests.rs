use super::*;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nixoci_core::ErrorKind;
use nixoci_core::event::Silent;
use nixoci_core::host::{Dirs, Host};
use nixoci_core::runner::{Exit, Input, Process, Runner, Stream};
use nixoci_core::temporary::{TemporaryFiles, Unguarded};
use tokio_util::sync::CancellationToken;

/// Answers commands from a table: the arguments, joined, to exit status, stdout and stderr.
#[derive(Debug, Default)]
struct Fake {
    answers: HashMap<String, (i32, String, String)>,
    asked: Mutex<Vec<String>>,
}

struct Done(Option<String>, Option<String>, i32);

#[async_trait]
impl Process for Done {
    fn take_stdin(&mut self) -> Option<Input> {
        None
    }
    fn take_stdout(&mut self) -> Option<Stream> {
        self.0.take().map(|text| Box::new(std::io::Cursor::new(text.into_bytes())) as Stream)
    }
    fn take_stderr(&mut self) -> Option<Stream> {
        self.1.take().map(|text| Box::new(std::io::Cursor::new(text.into_bytes())) as Stream)
    }
    async fn wait(&mut self) -> Result<Exit> {
        Ok(Exit::Code(self.2))
    }
    async fn stop(&mut self, _: Duration) -> Result<Exit> {
        Ok(Exit::Signal(2))
    }
}

#[async_trait]
impl Runner for Fake {
    async fn spawn(&self, command: &Command) -> Result<Box<dyn Process>> {
        let line = command.to_string();
        self.asked.lock().unwrap().push(line.clone());
        if self.answers.is_empty() {
            return Err(Error::new(&nixoci_core::codes::TOOL_MISSING, "docker"));
        }
        let found = self.answers.iter().find(|(key, _)| line.contains(key.as_str()));
        let (code, out, err) = found.map(|(_, answer)| answer.clone()).unwrap_or((1, String::new(), line));
        Ok(Box::new(Done(Some(out), Some(err), code)))
    }
    async fn find(&self, _: &str) -> Option<PathBuf> {
        None
    }
}

fn fake(answers: &[(&str, i32, &str, &str)]) -> Fake {
    let answer = |(key, code, out, err): &(&str, i32, &str, &str)| {
        (key.to_string(), (*code, out.to_string(), err.to_string()))
    };
    Fake { answers: answers.iter().map(answer).collect(), asked: Mutex::default() }
}

async fn with<T>(fake: &Fake, system: &str, act: impl AsyncFnOnce(&Cx<'_>) -> T) -> T {
    let host =
        Host { system: system.parse().unwrap(), home: None, uid: 1000, env: Default::default(), cpus: 2 };
    let dirs = Dirs { cache: "/c".into(), config: "/g".into(), state: "/s".into() };
    let cancel = CancellationToken::new();
    let temporary: Arc<dyn TemporaryFiles> = Arc::new(Unguarded);
    let (observer, temporary) = (&Silent, &temporary);
    let cx = Cx { cancel: &cancel, observer, runner: fake, host: &host, dirs: &dirs, temporary };
    act(&cx).await
}

const VERSION: &str = r#"{"Client":{"Version":"28.5.2","Context":"default"},"Server":{"Version":"28.5.2","Os":"linux","Arch":"amd64"}}"#;

#[tokio::test]
async fn the_engine_says_who_it_is() {
    let containerd = r#"[["driver-type","io.containerd.snapshotter.v1"]]"#;
    for (status, store) in
        [(containerd, Store::Containerd), (r#"[["Backing Filesystem","extfs"]]"#, Store::Classic)]
    {
        let fake = fake(&[
            ("docker version", 0, VERSION, ""),
            ("docker info", 0, status, ""),
            ("docker context", 0, "unix:///var/run/docker.sock\n", ""),
        ]);
        let info = with(&fake, "x86_64-linux", async |cx| Docker::new(None).ask(cx).await).await.unwrap();
        assert_eq!(info.store, store);
        assert_eq!(info.platform.to_string(), "linux/amd64");
        assert_eq!(info.endpoint, "unix:///var/run/docker.sock");
    }
}

#[tokio::test]
async fn a_host_that_was_given_is_asked() {
    let fake = fake(&[("version", 0, VERSION, ""), ("info", 0, "null", "")]);
    let docker = Docker::new(Some("ssh://me@box".into()));
    let info = with(&fake, "x86_64-linux", async |cx| docker.ask(cx).await).await.unwrap();
    assert_eq!(info.endpoint, "ssh://me@box");
    assert!(fake.asked.lock().unwrap().iter().all(|line| line.starts_with("docker -H ssh://me@box ")));
}

#[tokio::test]
async fn failures_say_what_to_do() {
    let down =
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
    let denied = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock";
    let context = r#"error: context "x": context not found: open /root/.docker/contexts/meta/…: no such file or directory"#;
    let cases = [
        (down, ErrorKind::Delivery, "sudo systemctl start docker"),
        (denied, ErrorKind::Permission, "sudo usermod -aG docker $USER"),
        (context, ErrorKind::Config, "docker context ls"),
    ];
    for (said, kind, command) in cases {
        let fake = fake(&[("docker", 1, "", said)]);
        let error =
            with(&fake, "x86_64-linux", async |cx| Docker::new(None).ask(cx).await).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{said}");
        assert_eq!(error.report().remedies[0].command.as_deref(), Some(command));
        assert_eq!(error.report().log_tail.len(), 1);
    }
    let fake = fake(&[]);
    let error = with(&fake, "aarch64-darwin", async |cx| Docker::new(None).ask(cx).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ToolMissing);
    assert!(error.report().remedies[1].command.as_ref().unwrap().contains("colima"));
}

#[test]
fn what_load_says_in_all_its_forms() {
    assert_eq!(parse_loaded("Loaded image: hello:latest\n"), ["hello:latest"]);
    assert_eq!(parse_loaded("Loaded image ID: sha256:00\nnoise"), ["sha256:00"]);
    assert_eq!(parse_loaded("Loaded image: a:1\nLoaded image: b:2"), ["a:1", "b:2"]);
    assert!(parse_loaded("Loaded image:").is_empty());
}

#[test]
fn run_passes_flags_and_arguments_on() {
    let words = |text: &[&str]| text.iter().map(OsString::from).collect::<Vec<_>>();
    let docker = Docker::new(None);
    let command = docker.run_command("a:b", &words(&["-p", "80:80"]), &words(&["x", "-y"]), true);
    assert_eq!(command.to_string(), "docker run --rm --pull=never -i -t -p 80:80 a:b x -y");
    assert!(command.interactive);
}
