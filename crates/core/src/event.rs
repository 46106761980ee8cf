//! What happens while nixoci works, as one stream of plain values.
//!
//! Progress bars, plain lines, `--format jsonl` and the plugin wire all consume the same [`Event`]s. Whoever
//! emits events never knows who listens; whoever listens owns the terminal.

use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::platform::NixSystem;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Event {
    /// The pipeline moved on, for one platform or (`system` absent) for all.
    Stage {
        /// Where it is now.
        stage: Stage,
        /// For which platform.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system: Option<NixSystem>,
        /// A sentence for people.
        text: String,
    },
    /// A piece of work with a beginning and an end has begun.
    Started {
        /// Names the task in later events; unique within a process.
        task: TaskId,
        /// The task this one is part of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<TaskId>,
        /// What sort of work it is; decides the unit of progress.
        kind: TaskKind,
        /// What it works on, for people.
        title: String,
        /// How much work there is, in the unit of `kind`, when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// A task got further.
    Progress {
        /// Which task.
        task: TaskId,
        /// How much is done.
        done: u64,
        /// How much there is, when known by now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// A task reached a named phase (`buildPhase`).
    Phase {
        /// Which task.
        task: TaskId,
        /// The phase.
        name: String,
    },
    /// A task ended.
    Finished {
        /// Which task.
        task: TaskId,
        /// Whether it did what it was for.
        ok: bool,
    },
    /// A line of somebody's log.
    Log {
        /// The task that wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<TaskId>,
        /// The line, without escape sequences and without a line end.
        line: String,
    },
    /// Something to tell the user.
    Message {
        /// How urgent.
        level: Level,
        /// A lower-case sentence.
        text: String,
        /// What the user can do about it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remedies: Vec<crate::Remedy>,
    },
}

/// The stations of the pipeline, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Stage {
    /// Settings are resolved and sinks are checked.
    Prepare,
    /// A backend is chosen.
    Select,
    /// The backend is made ready.
    Provision,
    /// What the build will do is found out.
    Forecast,
    /// Nix evaluates and builds.
    Build,
    /// The image is brought here.
    Fetch,
    /// The image is checked.
    Validate,
    /// The image goes to its destinations.
    Deliver,
}

/// What sort of work a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TaskKind {
    /// Evaluating an expression. No unit.
    Evaluate,
    /// Building one derivation. No unit.
    Build,
    /// A whole set of builds. Unit: derivations.
    Builds,
    /// Copying a store path from a cache or another store. Unit: bytes.
    Copy,
    /// Downloading a file. Unit: bytes.
    Download,
    /// Reading and checking an image. Unit: bytes.
    Validate,
    /// Writing an image. Unit: bytes.
    Write,
    /// Handing an image to a runtime. Unit: bytes.
    Load,
    /// Making a backend ready. No unit.
    Provision,
    /// Anything else. No unit.
    #[serde(other)]
    Other,
}

impl TaskKind {
    /// Whether progress of this kind counts bytes.
    pub fn counts_bytes(self) -> bool {
        matches!(
            self,
            TaskKind::Copy | TaskKind::Download | TaskKind::Validate | TaskKind::Write | TaskKind::Load
        )
    }
}

/// How urgent a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Detail for `-v`.
    Debug,
    /// Good to know.
    Info,
    /// Something the user should look at.
    Warning,
}

/// Names a task within one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TaskId(pub u64);

impl TaskId {
    /// An id that no other task of this process has.
    pub fn next() -> TaskId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        TaskId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Whoever listens to events. Called from any task or thread, so it must be quick and must not block on
/// the code that emits.
pub trait Observer: Send + Sync {
    /// Takes note of an event.
    fn observe(&self, event: Event);

    /// Whether it has so much to tell that whoever can wait should, before there is more.
    fn is_busy(&self) -> bool {
        false
    }
}

impl dyn Observer + '_ {
    /// Tells the user something worth a look.
    pub fn warn(&self, text: impl Into<String>, remedies: Vec<crate::Remedy>) {
        self.observe(Event::Message { level: Level::Warning, text: text.into(), remedies });
    }

    /// Tells the user something good to know.
    pub fn info(&self, text: impl Into<String>) {
        self.observe(Event::Message { level: Level::Info, text: text.into(), remedies: Vec::new() });
    }

    /// Adds a detail for `-v`.
    pub fn debug(&self, text: impl Into<String>) {
        self.observe(Event::Message { level: Level::Debug, text: text.into(), remedies: Vec::new() });
    }
}

/// An observer that hears nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _: Event) {}
}

/// A task that ends when it is dropped, well or not, so that no listener waits for ever.
pub struct Task<'a> {
    observer: &'a dyn Observer,
    id: TaskId,
    ok: bool,
}

impl<'a> Task<'a> {
    /// Begins a task.
    pub fn start(
        observer: &'a dyn Observer,
        kind: TaskKind,
        title: impl Into<String>,
        total: Option<u64>,
    ) -> Self {
        let id = TaskId::next();
        observer.observe(Event::Started { task: id, parent: None, kind, title: title.into(), total });
        Task { observer, id, ok: false }
    }

    /// The name of this task.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Says how far it got.
    pub fn progress(&self, done: u64, total: Option<u64>) {
        self.observer.observe(Event::Progress { task: self.id, done, total });
    }

    /// Ends the task well.
    pub fn finish(mut self) {
        self.ok = true;
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.observer.observe(Event::Finished { task: self.id, ok: self.ok });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<Event>>);
    impl Observer for Recorder {
        fn observe(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    #[test]
    fn a_dropped_task_ends_as_failed_and_a_finished_one_as_done() {
        let recorder = Recorder::default();
        drop(Task::start(&recorder, TaskKind::Other, "a", None));
        Task::start(&recorder, TaskKind::Other, "b", None).finish();
        let ends: Vec<bool> = recorder
            .0
            .lock()
            .unwrap()
            .iter()
            .filter_map(|event| match event {
                Event::Finished { ok, .. } => Some(*ok),
                _ => None,
            })
            .collect();
        assert_eq!(ends, [false, true]);
    }

    #[test]
    fn events_look_on_the_wire_as_documented() {
        let event = Event::Started {
            task: TaskId(7),
            parent: None,
            kind: TaskKind::Build,
            title: "hello".into(),
            total: None,
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"type":"started","task":7,"kind":"build","title":"hello"}"#
        );
    }
}
