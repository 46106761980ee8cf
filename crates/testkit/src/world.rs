//! A small world for one test.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use nixoci_core::backend::Cx;
use nixoci_core::event::{Event, Level, Observer, TaskKind};
use nixoci_core::host::{Dirs, Host};
use nixoci_core::runner::{Command, Process, Runner};
use nixoci_core::temporary::{TemporaryFiles, Unguarded};
use nixoci_core::{Error, Result};
use tokio_util::sync::CancellationToken;

use crate::codes::NO_PROCESSES;

/// A runner that has no programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProcesses;

#[async_trait]
impl Runner for NoProcesses {
    async fn spawn(&self, command: &Command) -> Result<Box<dyn Process>> {
        Err(Error::new(&NO_PROCESSES, format!("`{command}` was started in a test without processes")))
    }

    async fn find(&self, _: &str) -> Option<PathBuf> {
        None
    }
}

#[derive(Debug)]
struct Recorder {
    events: Mutex<Vec<Event>>,
    /// After how many events somebody presses Ctrl-C.
    cancel_after: Option<usize>,
    cancel: CancellationToken,
    /// Fires when a build begins.
    build_begins: CancellationToken,
}

impl Observer for Recorder {
    fn observe(&self, event: Event) {
        if matches!(event, Event::Started { kind: TaskKind::Build, .. }) {
            self.build_begins.cancel();
        }
        if let Ok(mut events) = self.events.lock() {
            events.push(event);
            if self.cancel_after.is_some_and(|count| events.len() >= count) {
                self.cancel.cancel();
            }
        }
    }
}

/// Everything a [`Cx`] borrows, with directories that vanish with it.
#[derive(Debug)]
pub struct World {
    /// Fires when the work should stop.
    pub cancel: CancellationToken,
    /// The machine.
    pub host: Host,
    /// nixoci's directories, in a temporary one.
    pub dirs: Dirs,
    /// How long nothing may move in a transfer.
    pub stall_timeout: Duration,
    recorder: Recorder,
    runner: Box<dyn Runner>,
    temporary: Arc<dyn TemporaryFiles>,
    _directory: Option<tempfile::TempDir>,
}

impl World {
    /// A world on a machine of this system, where processes are started by `runner`.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn new(system: &str, runner: Box<dyn Runner>) -> std::io::Result<World> {
        let directory = tempfile::tempdir()?;
        let place = |name: &str| directory.path().join(name);
        let host = Host {
            system: system.parse().map_err(std::io::Error::other)?,
            home: Some(place("home")),
            uid: 1000,
            env: Default::default(),
            cpus: 2,
        };
        let dirs = Dirs { cache: place("cache"), config: place("config"), state: place("state") };
        Ok(World { _directory: Some(directory), ..World::of(host, dirs, runner) })
    }

    /// A machine that there is, with directories that stay.
    pub fn of(host: Host, dirs: Dirs, runner: Box<dyn Runner>) -> World {
        let cancel = CancellationToken::new();
        let recorder = Recorder {
            events: Mutex::default(),
            cancel_after: None,
            cancel: cancel.clone(),
            build_begins: CancellationToken::new(),
        };
        World {
            cancel,
            host,
            dirs,
            stall_timeout: nixoci_core::stall::DEFAULT_LIMIT,
            recorder,
            runner,
            temporary: Arc::new(Unguarded),
            _directory: None,
        }
    }

    /// The same, where work is stopped with the event of this number.
    #[must_use]
    pub fn cancelled_after(mut self, events: usize) -> World {
        self.recorder.cancel_after = Some(events);
        self
    }

    /// A world without processes.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn without_processes(system: &str) -> std::io::Result<World> {
        World::new(system, Box::new(NoProcesses))
    }

    /// The world as a backend sees it.
    pub fn cx(&self) -> Cx<'_> {
        Cx {
            cancel: &self.cancel,
            observer: &self.recorder,
            runner: self.runner.as_ref(),
            host: &self.host,
            dirs: &self.dirs,
            temporary: &self.temporary,
            credentials: &nixoci_core::credentials::NONE,
            stall_timeout: self.stall_timeout,
        }
    }

    /// Waits for the first event of a build that begins.
    pub(crate) async fn build_begins(&self) {
        self.recorder.build_begins.cancelled().await;
    }

    /// Everything that was said so far.
    pub fn events(&self) -> Vec<Event> {
        self.recorder.events.lock().map(|events| events.clone()).unwrap_or_default()
    }

    /// The warnings that were said so far.
    pub fn warnings(&self) -> Vec<String> {
        let texts = self.events().into_iter().filter_map(|event| match event {
            Event::Message { level: Level::Warning, text, .. } => Some(text),
            _ => None,
        });
        texts.collect()
    }
}
