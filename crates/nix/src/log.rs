//! Nix's `--log-format internal-json`, turned into events.
//!
//! On standard error Nix writes one `@nix {json}` line an event; everything else there (ssh, git, some
//! warnings) is plain text. The schema is in Nix's `logging.cc`; unknown numbers are ignored.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nixoci_core::artifact::StorePath;
use nixoci_core::event::{Event, Level, Observer, TaskId, TaskKind};
use serde::Deserialize;
use serde_json::Value;

use crate::lines::{log_line, plain};
use crate::record::Record;
use crate::warnings::{Notice, notice};

mod activity {
    pub(super) const UNKNOWN: u64 = 0;
    pub(super) const COPY_PATH: u64 = 100;
    pub(super) const FILE_TRANSFER: u64 = 101;
    pub(super) const COPY_PATHS: u64 = 103;
    pub(super) const BUILDS: u64 = 104;
    pub(super) const BUILD: u64 = 105;
    pub(super) const BUILD_WAITING: u64 = 111;
    pub(super) const FETCH_TREE: u64 = 112;
}

mod result {
    pub(super) const BUILD_LOG_LINE: u64 = 101;
    pub(super) const SET_PHASE: u64 = 104;
    pub(super) const PROGRESS: u64 = 105;
    pub(super) const SET_EXPECTED: u64 = 106;
    pub(super) const POST_BUILD_LOG_LINE: u64 = 107;
}

/// Between two reports of one task's progress.
const THROTTLE: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct Line {
    action: String,
    #[serde(default)]
    id: u64,
    #[serde(default)]
    level: u64,
    #[serde(default, rename = "type")]
    kind: u64,
    #[serde(default)]
    text: String,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    fields: Vec<Value>,
}

impl Line {
    fn text_field(&self, index: usize) -> &str {
        self.fields.get(index).and_then(Value::as_str).unwrap_or_default()
    }

    fn number_field(&self, index: usize) -> u64 {
        self.fields.get(index).and_then(Value::as_u64).unwrap_or_default()
    }
}

/// Something Nix is doing.
struct Activity {
    task: TaskId,
    kind: TaskKind,
    /// The derivation, of a build.
    drv: Option<String>,
    progress: Progress,
}

#[derive(Default)]
struct Progress {
    latest: Option<(u64, Option<u64>)>,
    reported: Option<(u64, Option<u64>)>,
    at: Option<Instant>,
}

/// Reads one Nix process's standard error.
pub(crate) struct Log<'a> {
    observer: &'a dyn Observer,
    record: Record,
    activities: HashMap<u64, Activity>,
    /// Activities with no task before they have a total: sets of builds and copies.
    sets: HashMap<u64, TaskKind>,
    /// A build on another machine begins twice: once where it was decided, once where it runs.
    builds: HashMap<String, (TaskId, usize)>,
    /// How many bytes a set of copies expects, by the activity that says so.
    expected_bytes: HashMap<u64, u64>,
    finished_bytes: u64,
    /// Finished and failed builds, when last heard, and whether the last change was a failure.
    counts: (u64, u64, bool),
}

impl<'a> Log<'a> {
    pub(crate) fn new(observer: &'a dyn Observer, record: Record) -> Self {
        Log {
            observer,
            record,
            activities: HashMap::new(),
            sets: HashMap::new(),
            builds: HashMap::new(),
            expected_bytes: HashMap::new(),
            finished_bytes: 0,
            counts: (0, 0, false),
        }
    }

    /// Who is told.
    pub(crate) fn observer(&self) -> &'a dyn Observer {
        self.observer
    }

    /// Takes one line of standard error.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        let line = String::from_utf8_lossy(bytes);
        let Some(json) = line.strip_prefix("@nix ") else {
            return self.plain_line(&line);
        };
        match serde_json::from_str::<Line>(json) {
            Ok(event) => self.event(&event),
            // Cut off because it is longer than any line may be: somebody's log without line ends.
            Err(_) => self.plain_line("(a line of more than a megabyte was left out)"),
        }
    }

    /// Ends what is still open, and hands over what was remembered.
    pub(crate) fn finish(mut self, ok: bool) -> Record {
        let open: Vec<u64> = self.activities.keys().copied().collect();
        for id in open {
            self.stop(id, ok);
        }
        self.record.close();
        self.record
    }

    fn plain_line(&mut self, line: &str) {
        let line = log_line(line);
        if line.is_empty() {
            return;
        }
        self.observer.observe(Event::Log { task: None, line: line.clone() });
        self.record.plain(line);
    }

    fn event(&mut self, line: &Line) {
        match line.action.as_str() {
            "start" => self.start(line),
            "stop" => {
                let ok = !self.counts.2;
                self.stop(line.id, ok);
            }
            "result" => self.result(line),
            "msg" => self.message(line),
            _ => {}
        }
    }

    fn start(&mut self, line: &Line) {
        match line.kind {
            activity::BUILD => self.start_build(line),
            activity::BUILDS => drop(self.sets.insert(line.id, TaskKind::Builds)),
            activity::COPY_PATHS => drop(self.sets.insert(line.id, TaskKind::Copy)),
            activity::COPY_PATH => {
                let from = line.text_field(1);
                let name = store_name(line.text_field(0));
                let title =
                    if from.is_empty() || from == "local" { name } else { format!("{name} from {from}") };
                self.begin(line.id, TaskKind::Copy, title);
            }
            activity::FILE_TRANSFER if !is_small(line.text_field(0)) => {
                self.begin(line.id, TaskKind::Download, plain(line.text_field(0)));
            }
            activity::FETCH_TREE => self.begin(line.id, TaskKind::Download, plain(&line.text)),
            activity::BUILD_WAITING if !line.text.is_empty() => {
                self.begin(line.id, TaskKind::Other, plain(&line.text));
            }
            activity::UNKNOWN if line.text.starts_with("evaluating") => {
                self.begin(line.id, TaskKind::Evaluate, plain(&line.text));
            }
            _ => {}
        }
    }

    fn start_build(&mut self, line: &Line) {
        let (drv, machine) = (line.text_field(0).to_owned(), line.text_field(1));
        if let Some((task, uses)) = self.builds.get_mut(&drv) {
            *uses += 1;
            let activity = Activity {
                task: *task,
                kind: TaskKind::Build,
                drv: Some(drv),
                progress: Progress::default(),
            };
            self.activities.insert(line.id, activity);
            return;
        }
        let name = store_name(&drv);
        let machine = plain(machine);
        let title = if machine.is_empty() { name } else { format!("{name} on {machine}") };
        if !machine.is_empty() {
            self.record.sent.insert(drv.clone(), machine);
        }
        self.begin(line.id, TaskKind::Build, title);
        if let Some(activity) = self.activities.get_mut(&line.id) {
            activity.drv = Some(drv.clone());
            self.builds.insert(drv, (activity.task, 1));
        }
    }

    fn begin(&mut self, id: u64, kind: TaskKind, title: String) {
        let task = TaskId::next();
        self.observer.observe(Event::Started { task, parent: None, kind, title, total: None });
        self.activities.insert(id, Activity { task, kind, drv: None, progress: Progress::default() });
    }

    fn stop(&mut self, id: u64, ok: bool) {
        let set = self.sets.remove(&id).is_some();
        let Some(mut activity) = self.activities.remove(&id) else { return };
        if let Some(drv) = &activity.drv {
            let Some((_, uses)) = self.builds.get_mut(drv) else { return };
            *uses -= 1;
            if *uses > 0 {
                return;
            }
            self.builds.remove(drv);
        }
        if activity.kind == TaskKind::Copy && !set {
            self.finished_bytes += activity.progress.latest.map_or(0, |(done, _)| done);
        }
        activity.progress.report(self.observer, activity.task, true);
        let ok = ok || activity.kind != TaskKind::Build;
        self.observer.observe(Event::Finished { task: activity.task, ok });
    }

    fn result(&mut self, line: &Line) {
        match line.kind {
            result::BUILD_LOG_LINE | result::POST_BUILD_LOG_LINE => self.log_line(line),
            result::SET_PHASE => {
                if let Some(activity) = self.activities.get(&line.id) {
                    let name = log_line(line.text_field(0));
                    self.observer.observe(Event::Phase { task: activity.task, name });
                }
            }
            result::PROGRESS => self.progress(line),
            result::SET_EXPECTED if line.number_field(0) == activity::COPY_PATH => {
                self.expected_bytes.insert(line.id, line.number_field(1));
            }
            _ => {}
        }
    }

    fn log_line(&mut self, line: &Line) {
        let text = log_line(line.text_field(0));
        let activity = self.activities.get(&line.id);
        let task = activity.map(|activity| activity.task);
        self.record.build_line(activity.and_then(|activity| activity.drv.as_deref()), &text);
        self.observer.observe(Event::Log { task, line: text });
    }

    fn progress(&mut self, line: &Line) {
        let (done, expected) = (line.number_field(0), line.number_field(1));
        match self.sets.get(&line.id) {
            Some(TaskKind::Builds) => {
                let failed = line.number_field(3);
                if (done, failed) != (self.counts.0, self.counts.1) {
                    self.counts = (done, failed, failed > self.counts.1);
                }
                // What is there already is expected as well; only what runs is worth showing.
                let begun = done + failed + line.number_field(2) > 0;
                let expected = if begun { expected } else { 0 };
                self.set_progress(line.id, TaskKind::Builds, "building derivations", done, expected);
            }
            Some(_) => self.copied(),
            None => {
                self.report(line.id, done, (expected > 0).then_some(expected));
                if self.activities.get(&line.id).is_some_and(|activity| activity.kind == TaskKind::Copy) {
                    self.copied();
                }
            }
        }
    }

    /// Brings the set of copies up to date: Nix counts its paths, people count bytes.
    fn copied(&mut self) {
        let Some((&id, _)) = self.sets.iter().find(|(_, kind)| **kind == TaskKind::Copy) else { return };
        let expected = self.expected_bytes.values().copied().max().unwrap_or(0);
        let done = self.finished_bytes + self.running_bytes();
        self.set_progress(id, TaskKind::Copy, "copying store paths", done, expected);
    }

    /// A set is only worth a task once there is something in it.
    fn set_progress(&mut self, id: u64, kind: TaskKind, title: &str, done: u64, expected: u64) {
        if expected > 0 {
            if !self.activities.contains_key(&id) {
                self.begin(id, kind, title.to_owned());
            }
            self.report(id, done, Some(expected.max(done)));
        }
    }

    fn running_bytes(&self) -> u64 {
        let copies = self
            .activities
            .iter()
            .filter(|(id, activity)| activity.kind == TaskKind::Copy && !self.sets.contains_key(id));
        copies.filter_map(|(_, activity)| Some(activity.progress.latest?.0)).sum()
    }

    fn report(&mut self, id: u64, done: u64, total: Option<u64>) {
        if let Some(activity) = self.activities.get_mut(&id) {
            activity.progress.latest = Some((done, total));
            activity.progress.report(self.observer, activity.task, false);
        }
    }

    fn message(&mut self, line: &Line) {
        let text = plain(&line.msg);
        if self.record.plan.hear(&text) {
            return;
        }
        if line.level == 0 && text.trim_start().starts_with("error:") {
            return self.record.error(text);
        }
        self.record.note(&text);
        self.record.hear_builder(&text);
        let default = match line.level {
            0 | 1 => Level::Warning,
            2 => Level::Info,
            _ => Level::Debug,
        };
        if let Notice::Say { level, text, remedies } = notice(&text, default) {
            self.observer.observe(Event::Message { level, text, remedies });
        }
    }
}

impl Progress {
    fn report(&mut self, observer: &dyn Observer, task: TaskId, now: bool) {
        let Some((done, total)) = self.latest else { return };
        let due = self.at.is_none_or(|at| at.elapsed() >= THROTTLE);
        if self.latest != self.reported && (now || due) {
            observer.observe(Event::Progress { task, done, total });
            self.reported = self.latest;
            self.at = Some(Instant::now());
        }
    }
}

/// Questions to a cache, not worth a bar each.
fn is_small(url: &str) -> bool {
    url.ends_with(".narinfo") || url.ends_with("/nix-cache-info")
}

/// The name of a store path as people say it: without hash, without `.drv`.
pub(crate) fn store_name(path: &str) -> String {
    let path = path.split('^').next().unwrap_or(path);
    match path.parse::<StorePath>() {
        Ok(path) => path.name().trim_end_matches(".drv").to_owned(),
        Err(_) => plain(path),
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
