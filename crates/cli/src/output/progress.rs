//! What happens, on standard error: bars on a terminal, plain lines with a heartbeat off it, JSON lines for
//! programs.
//!
//! Events arrive from any thread; one thread of this module takes them in order and is the only one to write.

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use nixoci_core::event::{Event, Level, Observer, TaskId, TaskKind};

use super::printer::{Printer, Verbosity};
use crate::args::Format;

const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const BLUE: Style = AnsiColor::Blue.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// No silence longer than this without saying what is going on.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Bars appear only for work that takes longer than this: a flicker tells nobody anything.
const PATIENCE: Duration = Duration::from_millis(250);
/// More bars than this fill the screen without telling more.
const MAX_BARS: usize = 8;

/// The user's view of what happens.
pub(crate) struct Ui {
    sender: Mutex<Option<Sender<Note>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Note {
    Event(Event),
    Suspend(Sender<()>),
}

impl Ui {
    /// Starts the thread that writes. `logs` shows builders' logs.
    pub(crate) fn start(printer: Printer, logs: bool) -> Self {
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || Writer::new(printer, logs).run(&receiver));
        Ui { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) }
    }

    /// Takes the bars off the screen, so that a child may have it. Returns once they are gone.
    pub(crate) fn suspend(&self) {
        let (done, wait) = channel();
        self.send(Note::Suspend(done));
        let _ = wait.recv();
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

    fn send(&self, note: Note) {
        if let Ok(sender) = self.sender.lock() {
            sender.as_ref().map(|sender| sender.send(note));
        }
    }
}

impl Observer for Ui {
    fn observe(&self, event: Event) {
        self.send(Note::Event(event));
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
    logs: bool,
    bars: Option<MultiProgress>,
    tasks: HashMap<TaskId, Running>,
    stage: String,
    /// What was told once: Nix repeats its remarks whenever it is asked something again.
    told: HashSet<String>,
    last_word: Instant,
    begin: Instant,
}

impl Writer {
    fn new(printer: Printer, logs: bool) -> Self {
        let fancy = printer.format != Format::Jsonl
            && printer.verbosity >= Verbosity::Normal
            && std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Writer {
            printer,
            logs,
            bars: fancy.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))),
            tasks: HashMap::new(),
            stage: String::new(),
            told: HashSet::new(),
            last_word: Instant::now(),
            begin: Instant::now(),
        }
    }

    fn run(mut self, receiver: &Receiver<Note>) {
        loop {
            let wait = if self.bars.is_some() { PATIENCE } else { Duration::from_secs(1) };
            match receiver.recv_timeout(wait) {
                Ok(Note::Event(event)) => self.event(event),
                Ok(Note::Suspend(done)) => {
                    self.clear();
                    self.bars = None;
                    self.printer.verbosity = self.printer.verbosity.min(Verbosity::Quiet);
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.clear();
    }

    fn clear(&mut self) {
        for task in self.tasks.values_mut() {
            if let Some(bar) = task.bar.take() {
                bar.finish_and_clear();
            }
        }
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }

    fn event(&mut self, event: Event) {
        if self.printer.format == Format::Jsonl {
            // The event's own `type` stays: it is what readers dispatch on.
            if let Ok(text) = serde_json::to_string(&event) {
                self.printer.out(&format!("{text}\n"));
            }
            return;
        }
        match event {
            Event::Stage { text, .. } => self.stage(text),
            Event::Started { task, kind, title, total, .. } => self.started(task, kind, title, total),
            Event::Progress { task, done, total } => self.progress(task, done, total),
            Event::Phase { task, name } => self.phase(task, name),
            Event::Finished { task, ok } => self.finished(task, ok),
            Event::Log { task, line } => self.log(task, &line),
            Event::Message { level, text, remedies } => {
                self.message(level, &text);
                let shown = self.shows(level);
                for remedy in remedies.iter().filter(|_| shown) {
                    let command =
                        remedy.command.as_ref().map(|command| format!(": {command}")).unwrap_or_default();
                    self.say(&format!("  {BLUE}help:{BLUE:#} {}{command}", remedy.text));
                }
            }
            _ => {}
        }
        self.reveal();
    }

    fn stage(&mut self, text: String) {
        if self.printer.verbosity >= Verbosity::Normal && text != self.stage {
            self.say(&format!("{DIM}{text}{DIM:#}"));
        }
        self.stage = text;
    }

    fn started(&mut self, id: TaskId, kind: TaskKind, title: String, total: Option<u64>) {
        let plain = self.bars.is_none() && matches!(kind, TaskKind::Build);
        if plain && self.printer.verbosity >= Verbosity::Normal {
            self.say(&format!("building {title}"));
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
            bar.set_message(format!("{} {name}", task.title));
        }
        task.phase = Some(name);
    }

    fn finished(&mut self, id: TaskId, ok: bool) {
        let Some(task) = self.tasks.remove(&id) else { return };
        if let Some(bar) = task.bar {
            bar.finish_and_clear();
        }
        let took = task.since.elapsed();
        let worth = took > Duration::from_secs(1) && self.printer.verbosity >= Verbosity::Normal;
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

    fn shows(&self, level: Level) -> bool {
        self.printer.verbosity
            >= match level {
                Level::Warning => Verbosity::Quiet,
                Level::Info => Verbosity::Normal,
                Level::Debug => Verbosity::Verbose,
            }
    }

    fn message(&mut self, level: Level, text: &str) {
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
        let quiet = self.bars.is_some() || self.printer.verbosity < Verbosity::Normal;
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
                task.bar = Some(bars.add(bar(task)));
                shown += 1;
            }
        }
    }
}

fn doing(task: &Running) -> String {
    let what = match task.kind {
        TaskKind::Evaluate => "evaluating",
        TaskKind::Build | TaskKind::Builds => "building",
        TaskKind::Copy => "copying",
        TaskKind::Download => "downloading",
        TaskKind::Validate => "checking",
        TaskKind::Write => "writing",
        TaskKind::Load => "loading into",
        _ => "working on",
    };
    let phase = task.phase.as_ref().map(|phase| format!(", {phase}")).unwrap_or_default();
    let share = task
        .total
        .filter(|total| *total > 0)
        .map(|total| format!(", {} %", task.done.saturating_mul(100) / total));
    format!("{what} {}{phase}{}", task.title, share.unwrap_or_default())
}

fn bar(task: &Running) -> ProgressBar {
    let bar = match task.total {
        Some(total) if task.kind.counts_bytes() => ProgressBar::new(total)
            .with_style(style("{spinner} {msg:30!} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}")),
        _ if task.kind.counts_bytes() => {
            ProgressBar::no_length().with_style(style("{spinner} {msg:30!} {bytes} {bytes_per_sec}"))
        }
        Some(total) => ProgressBar::new(total).with_style(style("{spinner} {msg:30!} {pos}/{len} {elapsed}")),
        None => ProgressBar::no_length().with_style(style("{spinner} {msg:50} {elapsed}")),
    };
    bar.set_message(
        task.phase.as_ref().map_or_else(|| task.title.clone(), |phase| format!("{} {phase}", task.title)),
    );
    bar.set_position(task.done);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
