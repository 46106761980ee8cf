//! What a plugin says in the middle of a call, made harmless.

use std::collections::HashMap;

use nixoci_core::event::{Event, Level, Observer, TaskId};
use nixoci_nix::log_line;
use serde_json::value::RawValue;

use super::client::Hearer;
use crate::abi;

/// Tasks that are open at once, in one call: nobody watches more.
const TASKS: usize = 1000;

/// Passes what is heard on. Tasks get numbers of this process, and end with the call that they belong to.
pub(super) struct Ears<'a> {
    name: &'a str,
    observer: &'a dyn Observer,
    tasks: HashMap<u64, TaskId>,
}

impl<'a> Ears<'a> {
    pub(super) fn new(name: &'a str, observer: &'a dyn Observer) -> Self {
        Ears { name, observer, tasks: HashMap::new() }
    }

    fn translate(&mut self, event: Event) -> Option<Event> {
        Some(match event {
            Event::Started { task, parent, kind, title, total } => {
                if self.tasks.len() >= TASKS {
                    return None;
                }
                let own = TaskId::next();
                let parent = parent.and_then(|parent| self.tasks.get(&parent.0).copied());
                if let Some(earlier) = self.tasks.insert(task.0, own) {
                    // Whoever gives a number twice has forgotten the first.
                    self.observer.observe(Event::Finished { task: earlier, ok: false });
                }
                Event::Started { task: own, parent, kind, title: log_line(&title), total }
            }
            Event::Progress { task, done, total } => {
                Event::Progress { task: *self.tasks.get(&task.0)?, done, total }
            }
            Event::Phase { task, name } => {
                Event::Phase { task: *self.tasks.get(&task.0)?, name: log_line(&name) }
            }
            Event::Finished { task, ok } => Event::Finished { task: self.tasks.remove(&task.0)?, ok },
            Event::Log { task, line } => {
                let task = task.and_then(|task| self.tasks.get(&task.0).copied());
                Event::Log { task, line: log_line(&line) }
            }
            Event::Message { level, text, mut remedies } => {
                for remedy in &mut remedies {
                    remedy.text = log_line(&remedy.text);
                    remedy.command = remedy.command.take().map(|command| nixoci_nix::plain(&command));
                }
                Event::Message { level, text: log_line(&text), remedies }
            }
            // Stages are nixoci's own, and what is new is for newer ones.
            _ => return None,
        })
    }
}

impl Hearer for Ears<'_> {
    fn event(&mut self, event: &RawValue) {
        let event = serde_json::from_str(event.get()).ok();
        if let Some(event) = event.and_then(|event| self.translate(event)) {
            self.observer.observe(event);
        }
    }

    fn log(&mut self, level: u32, text: &str) {
        let text = format!("{}: {}", self.name, log_line(text));
        match level {
            abi::LEVEL_ERROR | abi::LEVEL_WARN => self.warn(text),
            _ => self.observer.observe(Event::Message { level: Level::Debug, text, remedies: Vec::new() }),
        }
    }

    fn warn(&mut self, text: String) {
        self.observer.observe(Event::Message { level: Level::Warning, text, remedies: Vec::new() });
    }
}

impl Drop for Ears<'_> {
    fn drop(&mut self) {
        for (_, task) in self.tasks.drain() {
            self.observer.observe(Event::Finished { task, ok: false });
        }
    }
}
