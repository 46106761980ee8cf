//! A world in which commands answer from a table, for tests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use nixoci_core::backend::Cx;
use nixoci_core::event::Silent;
use nixoci_core::host::{Dirs, Host};
use nixoci_core::runner::{Command, Exit, Input, Process, Runner, Stream};
use nixoci_core::temporary::{TemporaryFiles, Unguarded};
use nixoci_core::{Error, Result};
use tokio_util::sync::CancellationToken;

/// The first answer whose words are in the command counts: words, exit status, standard output, standard error.
type Answer = (&'static str, i32, String, String);

/// Commands that answer; one that is not in the table is not installed.
#[derive(Debug, Default)]
pub(super) struct Fake {
    pub(super) answers: Vec<Answer>,
    /// The environment.
    pub(super) env: Vec<(&'static str, &'static str)>,
    /// What was run.
    pub(super) asked: Mutex<Vec<String>>,
}

impl Fake {
    pub(super) fn new(answers: &[(&'static str, i32, &str, &str)]) -> Self {
        let answers =
            answers.iter().map(|(words, code, out, err)| (*words, *code, (*out).into(), (*err).into()));
        Fake { answers: answers.collect(), ..Fake::default() }
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Does something on a host of this system.
    pub(super) async fn on<T>(&self, system: &str, act: impl AsyncFnOnce(&Cx<'_>) -> T) -> T {
        let env = self.env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let host = Host { system: system.parse().unwrap(), home: None, uid: 1000, env, cpus: 2 };
        let dirs = Dirs { cache: "/c".into(), config: "/g".into(), state: "/s".into() };
        let cancel = CancellationToken::new();
        let temporary: Arc<dyn TemporaryFiles> = Arc::new(Unguarded);
        let (observer, temporary, credentials) = (&Silent, &temporary, &nixoci_core::credentials::NONE);
        act(&Cx {
            cancel: &cancel,
            observer,
            runner: self,
            host: &host,
            dirs: &dirs,
            temporary,
            credentials,
            stall_timeout: nixoci_core::stall::DEFAULT_LIMIT,
        })
        .await
    }
}

struct Done(Option<String>, Option<String>, i32);

fn stream(text: Option<String>) -> Option<Stream> {
    text.map(|text| Box::new(std::io::Cursor::new(text.into_bytes())) as Stream)
}

#[async_trait]
impl Process for Done {
    fn take_stdin(&mut self) -> Option<Input> {
        Some(Box::new(tokio::io::sink()))
    }
    fn take_stdout(&mut self) -> Option<Stream> {
        stream(self.0.take())
    }
    fn take_stderr(&mut self) -> Option<Stream> {
        stream(self.1.take())
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
        let found = self.answers.iter().find(|(words, ..)| line.contains(words));
        let (_, code, out, err) =
            found.cloned().ok_or_else(|| Error::new(&nixoci_core::codes::TOOL_MISSING, command.name()))?;
        Ok(Box::new(Done(Some(out), Some(err), code)))
    }
    async fn find(&self, program: &str) -> Option<std::path::PathBuf> {
        let known = self.answers.iter().any(|(words, ..)| words.starts_with(program));
        known.then(|| program.into())
    }
}
