//! What happens, on standard error: bars on a terminal, plain lines with a heartbeat off it, JSON lines for
//! programs.
//!
//! Events arrive from any thread; one thread of this module takes them in order and is the only one to write.

use std::collections::{BTreeMap, HashSet};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use nixoci_core::event::{Event, Level, Observer, TaskId, TaskKind};
use nixoci_core::secrets::scrub;
use nixoci_core::text::printable;

use super::printer::{Printer, Verbosity};
use super::style::{DIM, YELLOW};
use crate::args::{Format, Progress};
use crate::report;

/// No silence longer than this without saying what is going on.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Bars appear only for work that takes longer than this: a flicker tells nobody anything.
const PATIENCE: Duration = Duration::from_millis(250);
/// So many events are written in some hundredths of a second.
const MANY: usize = 4096;
/// Remarks that are remembered, so that they are made once.
const REMARKS: usize = 4096;
/// More bars than this fill the screen without telling more.
const MAX_BARS: usize = 8;

/// The user's view of what happens.
pub(crate) struct Ui {
    sender: Mutex<Option<Sender<Note>>>,
    /// Events that nobody has seen yet.
    waiting: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Note {
    Event(Event),
    Suspend(Sender<()>),
    Pause(Sender<()>, Receiver<()>),
}

/// While it lives, nobody writes to the terminal but who has it.
#[must_use]
pub(crate) struct Pause {
    _go_on: Sender<()>,
}

impl Ui {
    /// Starts the thread that writes. `logs` shows builders' logs.
    pub(crate) fn start(printer: Printer, progress: Progress, logs: bool) -> Self {
        let (sender, receiver) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&waiting);
        let thread = std::thread::spawn(move || Writer::new(printer, progress, logs).run(&receiver, &seen));
        Ui { sender: Mutex::new(Some(sender)), waiting, thread: Mutex::new(Some(thread)) }
    }

    /// Takes the bars off the screen, so that a child may have it. Returns once they are gone.
    pub(crate) fn suspend(&self) {
        let (done, wait) = channel();
        self.send(Note::Suspend(done));
        let _ = wait.recv();
    }

    /// Takes the bars off the screen, and writes nothing until the answer is dropped; what happens meanwhile is told then.
    pub(crate) fn pause(&self) -> Pause {
        let (done, wait) = channel();
        let (_go_on, going_on) = channel();
        self.send(Note::Pause(done, going_on));
        let _ = wait.recv();
        Pause { _go_on }
    }

    /// Writes what is left and ends the thread.
    pub(crate) fn finish(&self) {
        if let Ok(mut sender) = self.sender.lock() {
            sender.take();
        }
        if let Some(thread) = self.thread.lock().ok().and_then(|mut thread| thread.take()) {
            let _ = thread.join();
        }
    }

    /// Whether somebody will read it.
    fn send(&self, note: Note) -> bool {
        let sender = self.sender.lock();
        sender.is_ok_and(|sender| sender.as_ref().is_some_and(|sender| sender.send(note).is_ok()))
    }
}

impl Observer for Ui {
    fn observe(&self, event: Event) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if !self.send(Note::Event(event)) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn is_busy(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > MANY
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Running {
    kind: TaskKind,
    title: String,
    total: Option<u64>,
    done: u64,
    phase: Option<String>,
    since: Instant,
    bar: Option<ProgressBar>,
}

struct Writer {
    printer: Printer,
    /// Whether more than messages are shown.
    progress: bool,
    logs: bool,
    bars: Option<MultiProgress>,
    tasks: BTreeMap<TaskId, Running>,
    stage: String,
    /// What was told once: Nix repeats its remarks whenever it is asked something again.
    told: HashSet<String>,
    last_word: Instant,
    begin: Instant,
}

impl Writer {
    fn new(printer: Printer, progress: Progress, logs: bool) -> Self {
        let fancy = printer.format != Format::Jsonl
            && printer.verbosity >= Verbosity::Normal
            && std::io::stderr().is_terminal()
            && wants_bars(progress);
        Writer {
            printer,
            progress: progress != Progress::None,
            logs,
            bars: fancy.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))),
            tasks: BTreeMap::new(),
            stage: String::new(),
            told: HashSet::new(),
            last_word: Instant::now(),
            begin: Instant::now(),
        }
    }

    fn run(mut self, receiver: &Receiver<Note>, waiting: &AtomicUsize) {
        loop {
            let wait = if self.bars.is_some() { PATIENCE } else { Duration::from_secs(1) };
            match receiver.recv_timeout(wait) {
                Ok(Note::Event(event)) => {
                    self.event(event);
                    waiting.fetch_sub(1, Ordering::Relaxed);
                }
                Ok(Note::Suspend(done)) => {
                    self.clear();
                    self.bars = None;
                    self.printer.verbosity = self.printer.verbosity.min(Verbosity::Quiet);
                    // The result was told: nothing comes after it.
                    self.printer.stream = None;
                    let _ = done.send(());
                }
                Ok(Note::Pause(done, go_on)) => {
                    self.clear();
                    let _ = done.send(());
                    // It ends when the other side is dropped.
                    let _ = go_on.recv();
                    self.last_word = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.clear();
    }

    fn clear(&mut self) {
        let Some(bars) = &self.bars else { return };
        for bar in self.tasks.values_mut().filter_map(|task| task.bar.take()) {
            take_off(bars, &bar);
        }
        let _ = bars.clear();
    }

    fn event(&mut self, event: Event) {
        if self.printer.has_events() {
            // The event's own `type` stays: it is what readers dispatch on.
            if let Ok(text) = serde_json::to_string(&event) {
                self.printer.event(&format!("{text}\n"));
            }
        }
        if self.printer.format == Format::Jsonl {
            return;
        }
        match event {
            Event::Stage { text, .. } => self.stage(text),
            Event::Started { task, kind, title, total, .. } => self.started(task, kind, &title, total),
            Event::Progress { task, done, total } => self.progress(task, done, total),
            Event::Phase { task, name } => self.phase(task, printable(&scrub(&name)).into_owned()),
            Event::Finished { task, ok } => self.finished(task, ok),
            Event::Log { task, line } => self.log(task, &line),
            Event::Message { level, text, remedies } => {
                self.message(level, &text);
                if self.shows(level) && !remedies.is_empty() {
                    self.say(report::helps(&remedies).trim_end());
                }
            }
            _ => {}
        }
        self.reveal();
    }

    fn stage(&mut self, text: String) {
        if self.shows_progress() && text != self.stage {
            self.say(&format!("{DIM}{text}{DIM:#}"));
        }
        self.stage = text;
    }

    fn started(&mut self, id: TaskId, kind: TaskKind, title: &str, total: Option<u64>) {
        // A bar draws itself, past the printer.
        let title = printable(&scrub(title)).into_owned();
        let plain = self.bars.is_none() && self.shows_progress();
        match kind {
            TaskKind::Build if plain => self.say(&format!("building {title}")),
            TaskKind::Provision if plain => self.say(&title),
            _ => {}
        }
        let since = Instant::now();
        self.tasks.insert(id, Running { kind, title, total, done: 0, phase: None, since, bar: None });
    }

    fn progress(&mut self, id: TaskId, done: u64, total: Option<u64>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.done = done;
        task.total = total.or(task.total);
        if let Some(bar) = &task.bar {
            if let Some(total) = task.total {
                bar.set_length(total);
            }
            bar.set_position(done);
        }
    }

    fn phase(&mut self, id: TaskId, name: String) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if let Some(bar) = &task.bar {
            bar.set_message(format!("{}, {name}", what(task)));
        }
        task.phase = Some(name);
    }

    fn finished(&mut self, id: TaskId, ok: bool) {
        let Some(task) = self.tasks.remove(&id) else { return };
        if let (Some(bars), Some(bar)) = (&self.bars, &task.bar) {
            take_off(bars, bar);
        }
        let took = task.since.elapsed();
        let worth = took > Duration::from_secs(1) && self.shows_progress();
        if ok && worth && matches!(task.kind, TaskKind::Build) {
            self.say(&format!("{DIM}built {} in {:.1} s{DIM:#}", task.title, took.as_secs_f64()));
        }
    }

    fn log(&mut self, id: Option<TaskId>, line: &str) {
        if !self.logs && self.printer.verbosity < Verbosity::Verbose {
            return;
        }
        let title = id.and_then(|id| self.tasks.get(&id)).map(|task| task.title.clone());
        self.say(&format!("{DIM}{}>{DIM:#} {line}", title.as_deref().unwrap_or("nix")));
    }

    fn shows_progress(&self) -> bool {
        self.progress && self.printer.verbosity >= Verbosity::Normal
    }

    fn shows(&self, level: Level) -> bool {
        self.printer.verbosity
            >= match level {
                Level::Warning => Verbosity::Quiet,
                Level::Info => Verbosity::Normal,
                Level::Debug => Verbosity::Verbose,
            }
    }

    fn message(&mut self, level: Level, text: &str) {
        if self.told.len() >= REMARKS {
            self.told.clear();
        }
        if !self.shows(level) || !self.told.insert(text.to_owned()) {
            return;
        }
        match level {
            Level::Warning => self.say(&format!("{YELLOW}warning:{YELLOW:#} {text}")),
            Level::Info => self.say(text),
            Level::Debug => self.say(&format!("{DIM}{text}{DIM:#}")),
        }
    }

    fn say(&mut self, line: &str) {
        self.last_word = Instant::now();
        match &self.bars {
            Some(bars) => bars.suspend(|| self.printer.err(&format!("{line}\n"))),
            None => self.printer.err(&format!("{line}\n")),
        }
    }

    /// Without news: shows bars for what takes long, or says what is going on.
    fn tick(&mut self) {
        self.reveal();
        let quiet = self.bars.is_some() || !self.shows_progress();
        if quiet || self.printer.format == Format::Jsonl || self.last_word.elapsed() < HEARTBEAT {
            return;
        }
        let elapsed = self.begin.elapsed().as_secs();
        let line = match self.tasks.values().min_by_key(|task| task.since) {
            Some(task) => format!("still {} ({elapsed} s)", doing(task)),
            None if !self.stage.is_empty() => format!("still {} ({elapsed} s)", self.stage),
            None => return,
        };
        self.say(&format!("{DIM}{line}{DIM:#}"));
    }

    fn reveal(&mut self) {
        let Some(bars) = &self.bars else { return };
        let mut shown = self.tasks.values().filter(|task| task.bar.is_some()).count();
        for task in self.tasks.values_mut() {
            if task.bar.is_none() && shown < MAX_BARS && task.since.elapsed() > PATIENCE {
                task.bar = Some(bar(bars, task));
                shown += 1;
            }
        }
    }
}

/// Whether a terminal gets bars. A dumb one cannot move the cursor; the logs of CI keep every frame, if they look
/// like a terminal at all.
fn wants_bars(progress: Progress) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let dumb = set("TERM").is_some_and(|term| term == "dumb");
    let ci = set("CI").is_some_and(|ci| ci != "false" && ci != "0");
    !dumb && (progress == Progress::Tty || progress == Progress::Auto && !ci)
}

/// Without this a bar that was on screen when it ended may leave its line behind.
fn take_off(bars: &MultiProgress, bar: &ProgressBar) {
    bar.finish_and_clear();
    bars.remove(bar);
}

/// `building hello`, `loading into docker`.
fn what(task: &Running) -> String {
    // Some of Nix's own titles have a verb: `building derivations`.
    if task.title.split_once(' ').is_some_and(|(word, _)| word.ends_with("ing")) {
        return task.title.clone();
    }
    let verb = match task.kind {
        TaskKind::Evaluate => "evaluating",
        TaskKind::Build | TaskKind::Builds => "building",
        TaskKind::Copy => "copying",
        TaskKind::Download => "downloading",
        TaskKind::Validate => "checking",
        TaskKind::Write => "writing",
        TaskKind::Load => "loading into",
        _ => "working on",
    };
    format!("{verb} {}", task.title)
}

fn doing(task: &Running) -> String {
    let phase = task.phase.as_ref().map(|phase| format!(", {phase}")).unwrap_or_default();
    let share = task
        .total
        .filter(|total| *total > 0)
        .map(|total| format!(", {} %", task.done.saturating_mul(100) / total));
    format!("{}{phase}{}", what(task), share.unwrap_or_default())
}

/// A new bar below the others. What is measured comes first, so that names are what a narrow terminal cuts.
fn bar(bars: &MultiProgress, task: &Running) -> ProgressBar {
    let (bar, template) = match task.total {
        Some(total) if task.kind.counts_bytes() => {
            (ProgressBar::new(total), "{bar:12} {decimal_bytes}/{decimal_total_bytes}")
        }
        None if task.kind.counts_bytes() => (ProgressBar::no_length(), "{decimal_bytes}"),
        Some(total) => (ProgressBar::new(total), "{bar:12} {pos}/{len}"),
        None => (ProgressBar::no_length(), ""),
    };
    // Added before anything is set: a bar of its own would draw itself where nobody clears it.
    let bar = bars.add(bar);
    bar.set_style(style(&format!("{{spinner}} {{elapsed:>4}} {template}{{wide_msg}}")));
    let phase = task.phase.as_ref().map(|phase| format!(", {phase}")).unwrap_or_default();
    let gap = if template.is_empty() { "" } else { " " };
    bar.set_message(format!("{gap}{}{phase}", what(task)));
    bar.set_position(task.done);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_said_with_one_verb() {
        for (kind, title, said) in [
            (TaskKind::Build, "hello", "building hello"),
            (TaskKind::Builds, "building derivations", "building derivations"),
            (TaskKind::Evaluate, "evaluating derivation 'x'", "evaluating derivation 'x'"),
            (TaskKind::Load, "docker", "loading into docker"),
            (TaskKind::Download, "fetching source from x", "fetching source from x"),
        ] {
            let since = Instant::now();
            let task =
                Running { kind, title: title.into(), total: None, done: 0, phase: None, since, bar: None };
            assert_eq!(what(&task), said);
        }
    }
}
