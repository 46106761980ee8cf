//! The other end of a library's process: calls, their events, their ends.
//!
//! Everything that comes from there is another program's word: it is bounded, it is made harmless for terminals, and whatever is wrong
//! with it is an error that names the plugin.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::event::Observer;
use nixoci_core::runner::{Command, Exit, GRACE, Process, Stream};
use nixoci_core::{Error, Result, ResultExt, codes as core_codes};
use nixoci_nix::Lines;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::codes::{DIED, GARBLED, NO_ANSWER};
use super::frames::{FromPlugin, ToPlugin, line};
use super::library::HostVersion;
use super::raw::to_raw;
use super::verify::verify;
use super::{Library, serve};
use crate::wire::{MESSAGE_LIMIT, Request};

/// How long loading, describing and making a backend may take: none of it waits for anything.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How much later than the grace a call that was asked to end may end.
const AFTER_GRACE: Duration = Duration::from_millis(300);
/// How long what is in a dead process's pipes is read for.
const DRAIN: Duration = Duration::from_millis(300);
/// Events that wait to be heard, in one call.
const EVENTS: usize = 64;
/// Lines that are kept of what a plugin prints.
const TAIL: usize = 20;
const TAIL_LINE_LIMIT: usize = 4 << 10;

/// How nixoci starts itself again to load a library.
#[derive(Clone, Debug)]
pub struct Host {
    /// nixoci.
    pub exe: PathBuf,
    /// The arguments with which it is a watchdog.
    pub watchdog: Vec<OsString>,
}

/// Where a library is run.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a process of its own, once it has been found to be the one that is meant.
    Isolated(Host, Library),
    /// In this process. A crash is this process's: for tests.
    Here(PathBuf, HostVersion),
}

/// What a call hears.
enum Heard {
    Event(Box<RawValue>),
    Log(u32, String),
    /// It is wrong, and there is nothing else to hear.
    Wrong(String),
    /// It is worth a word, and nothing is lost.
    Odd(String),
    Done(u32, Box<RawValue>),
}

/// Hears what happens in a call.
pub(super) trait Hearer: Send {
    fn event(&mut self, event: &RawValue);
    fn log(&mut self, level: u32, text: &str);
    fn warn(&mut self, text: String);
}

/// A loaded library with which one can talk. Its process ends when nobody holds it.
pub(super) struct Client {
    shared: Arc<Shared>,
    out: mpsc::UnboundedSender<Vec<u8>>,
    next: AtomicU64,
}

struct Shared {
    name: String,
    calls: Mutex<HashMap<u64, mpsc::Sender<Heard>>>,
    /// Answers to what is no call.
    control: mpsc::Sender<FromPlugin>,
    death: OnceLock<Error>,
    /// What it has printed last.
    tail: Mutex<VecDeque<Vec<u8>>>,
    /// It is to end at once.
    kill: CancellationToken,
    /// Nobody holds it any more.
    forgotten: CancellationToken,
    /// Nothing more comes from it.
    deaf: CancellationToken,
    ended: Notify,
}

impl Client {
    /// Loads a library.
    ///
    /// # Errors
    /// Those of [`verify`], and what the process says; [`DIED`], [`NO_ANSWER`].
    pub(super) async fn load(cx: &Cx<'_>, name: &str, source: &Source) -> Result<(Client, Control)> {
        let (control, answers) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            calls: Mutex::default(),
            control,
            death: OnceLock::new(),
            tail: Mutex::default(),
            kill: CancellationToken::new(),
            forgotten: CancellationToken::new(),
            deaf: CancellationToken::new(),
            ended: Notify::new(),
        });
        let (out, lines) = mpsc::unbounded_channel();
        match source {
            Source::Isolated(host, library) => {
                let process = spawn(cx, host, library).await?;
                tokio::spawn(supervise(Arc::clone(&shared), process, lines));
            }
            Source::Here(path, version) => {
                let (ours, theirs) = std::os::unix::net::UnixStream::pair()
                    .or_error(&core_codes::PROCESS, || "a socket cannot be made")?;
                serve::serve_here(path.clone(), *version, theirs)?;
                ours.set_nonblocking(true).or_error(&core_codes::PROCESS, || "a socket cannot be used")?;
                let ours = tokio::net::UnixStream::from_std(ours)
                    .or_error(&core_codes::PROCESS, || "a socket cannot be used")?;
                let (read, write) = ours.into_split();
                tokio::spawn(write_lines(write, lines));
                tokio::spawn(listen(Arc::clone(&shared), read));
            }
        }
        let client = Client { shared, out, next: AtomicU64::new(1) };
        let mut control = Control { answers };
        match client.answer(cx, &mut control).await? {
            FromPlugin::Loaded => Ok((client, control)),
            FromPlugin::Failed { error } => {
                Err(error.context(format!("the plugin `{name}` cannot be loaded")))
            }
            other => Err(client.garbled(&format!("{other:?} instead of a greeting"))),
        }
    }

    /// Asks what is no call.
    pub(super) async fn ask(
        &self,
        cx: &Cx<'_>,
        control: &mut Control,
        frame: &ToPlugin,
    ) -> Result<FromPlugin> {
        self.send(frame);
        self.answer(cx, control).await
    }

    async fn answer(&self, cx: &Cx<'_>, control: &mut Control) -> Result<FromPlugin> {
        let ended = self.shared.ended.notified();
        tokio::select! {
            biased;
            Some(answer) = control.answers.recv() => match answer {
                FromPlugin::Wrong { what, .. } => Err(self.garbled(&what)),
                answer => Ok(answer),
            },
            () = ended => Err(self.died()),
            () = cx.cancel.cancelled() => Err(Error::new(&core_codes::CANCELLED, "stopped")),
            () = tokio::time::sleep(START_LIMIT) => Err(self.no_answer("what it is asked first", START_LIMIT)),
        }
    }

    fn send(&self, frame: &ToPlugin) {
        if let Ok(line) = line(frame) {
            let _ = self.out.send(line);
        }
    }

    /// Whether its process has ended.
    pub(super) fn is_dead(&self) -> bool {
        self.shared.death.get().is_some() || self.shared.kill.is_cancelled()
    }

    /// Has it ended at once.
    pub(super) fn kill(&self) {
        self.shared.kill.cancel();
    }

    /// Makes a call and hears it to its end: its status, and its answer. With `patience`, it may be silent for that long.
    ///
    /// # Errors
    /// [`core_codes::CANCELLED`], [`DIED`], [`NO_ANSWER`], [`GARBLED`].
    pub(super) async fn call(
        &self,
        cx: &Cx<'_>,
        request: &Request,
        patience: Option<Duration>,
        hearer: &mut dyn Hearer,
    ) -> Result<(u32, Box<RawValue>)> {
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, mut heard) = mpsc::channel(EVENTS);
        self.shared.calls().insert(call, sender);
        let _open = Open { client: self, call };
        if let Some(error) = self.shared.death.get() {
            return Err(error.clone());
        }
        let request_json = to_raw(request).map_err(|why| Error::new(&core_codes::BUG, why))?;
        self.send(&ToPlugin::Start { call, request: request_json });
        let far = Instant::now() + Duration::from_secs(86_400 * 365);
        let silence = |from: Instant| patience.map_or(far, |patience| from + patience);
        let (mut quiet_until, mut end_by) = (silence(Instant::now()), None);
        loop {
            tokio::select! {
                heard = hear(&mut heard, cx.observer) => match heard {
                    Some(Heard::Done(status, answer)) => return Ok((status, answer)),
                    Some(Heard::Event(event)) => {
                        hearer.event(&event);
                        // Of a log nobody knows which call it is about.
                        quiet_until = silence(Instant::now());
                    }
                    Some(Heard::Log(level, text)) => hearer.log(level, &text),
                    Some(Heard::Odd(what)) => hearer.warn(format!("the plugin `{}`: {what}", self.shared.name)),
                    Some(Heard::Wrong(what)) => {
                        self.kill();
                        return Err(self.garbled(&what));
                    }
                    None => return Err(self.died()),
                },
                () = cx.cancel.cancelled(), if end_by.is_none() => {
                    self.send(&ToPlugin::Cancel { call });
                    end_by = Some(Instant::now() + GRACE + AFTER_GRACE);
                }
                () = sleep_until(end_by.unwrap_or(far)), if end_by.is_some() => {
                    self.kill();
                    hearer.warn(format!("the plugin `{}` did not stop when asked: its process was ended", self.shared.name));
                    return Err(Error::new(&core_codes::CANCELLED, "stopped"));
                }
                () = sleep_until(quiet_until), if patience.is_some() && end_by.is_none() => {
                    self.kill();
                    return Err(self.no_answer(request.method(), patience.unwrap_or_default()));
                }
            }
        }
    }

    pub(super) fn garbled(&self, what: &str) -> Error {
        let message = format!("the plugin `{}` says something that cannot be understood", self.shared.name);
        Error::new(&GARBLED, message).because(nixoci_nix::log_line(what)).log(self.shared.tail())
    }

    fn no_answer(&self, what: &str, limit: Duration) -> Error {
        self.kill();
        let message = format!("the plugin `{}` does not answer", self.shared.name);
        let why = format!(
            "it was asked for `{what}`, and was silent for {} s: its process was ended",
            limit.as_secs()
        );
        Error::new(&NO_ANSWER, message).because(why).log(self.shared.tail())
    }

    fn died(&self) -> Error {
        let gone =
            || Error::new(&DIED, format!("the process of the plugin `{}` has ended", self.shared.name));
        self.shared.death.get().cloned().unwrap_or_else(gone)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It ends in order; whoever watches its process sees to it that it does.
        self.send(&ToPlugin::Destroy);
        self.shared.forgotten.cancel();
    }
}

/// Hears answers to what is no call.
pub(super) struct Control {
    answers: mpsc::Receiver<FromPlugin>,
}

/// What is heard next, once those who listen are ready for more: meanwhile the plugin waits.
async fn hear(heard: &mut mpsc::Receiver<Heard>, observer: &dyn Observer) -> Option<Heard> {
    nixoci_nix::caught_up(observer, &AtomicBool::new(false)).await;
    heard.recv().await
}

/// A call that is not over. Dropped before its end, it is asked to end, and what it still says is not heard.
struct Open<'a> {
    client: &'a Client,
    call: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.client.shared.calls().remove(&self.call).is_some() {
            self.client.send(&ToPlugin::Cancel { call: self.call });
        }
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Heard>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self) -> Vec<String> {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().map(|line| nixoci_nix::log_line(&String::from_utf8_lossy(line))).collect()
    }

    fn printed(&self, line: &[u8]) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_vec());
    }

    /// Gives a frame to whom it is for. Waits while that one has enough to hear.
    async fn route(&self, frame: FromPlugin) {
        let (call, heard) = match frame {
            FromPlugin::Event { call, event } => (Some(call), Heard::Event(event)),
            FromPlugin::Log { level, text } => (None, Heard::Log(level, text)),
            FromPlugin::Wrong { call: Some(call), what } => (Some(call), Heard::Wrong(what)),
            FromPlugin::Wrong { call: None, what } if !self.calls().is_empty() => (None, Heard::Odd(what)),
            FromPlugin::Flooded => {
                let text = "it logs more than anybody will read: the rest of it is dropped";
                (None, Heard::Odd(text.to_owned()))
            }
            FromPlugin::Done { call, status, answer } => {
                let sender = self.calls().remove(&call);
                if let Some(sender) = sender {
                    let _ = sender.send(Heard::Done(status, answer)).await;
                }
                return;
            }
            answer => {
                // Nobody asks twice at once; an answer to nobody is nothing.
                let _ = self.control.try_send(answer);
                return;
            }
        };
        // What is about no call is heard in the one that began last.
        let sender = {
            let calls = self.calls();
            let last = || calls.keys().max().copied();
            call.or_else(last).and_then(|call| calls.get(&call).cloned())
        };
        if let Some(sender) = sender {
            let _ = sender.send(heard).await;
        }
    }

    /// From now on every call ends with this error.
    fn die(&self, error: Error) {
        let _ = self.death.set(error);
        self.calls().clear();
        self.ended.notify_waiters();
        self.ended.notify_one();
    }
}

async fn spawn(cx: &Cx<'_>, host: &Host, library: &Library) -> Result<Box<dyn Process>> {
    let verified = {
        let (library, host, dirs) = (library.clone(), cx.host.clone(), cx.dirs.clone());
        // Reading and hashing some megabytes is no work for a thread that others wait for.
        let check = move || verify(&library.path, Some(&library.sha256), &host, &dirs);
        tokio::task::spawn_blocking(check).await.or_error(&core_codes::BUG, || "a check did not end")??
    };
    let command = Command::new(&host.exe)
        .arg(super::PLUGIN_HOST)
        .arg(&verified.path)
        .arg(&verified.sha256)
        .with_stdin();
    cx.runner.spawn(&command).await
}

/// Owns the process: nothing of it is left when this ends.
async fn supervise(
    shared: Arc<Shared>,
    mut process: Box<dyn Process>,
    lines: mpsc::UnboundedReceiver<Vec<u8>>,
) {
    let (Some(stdin), Some(stdout), stderr) =
        (process.take_stdin(), process.take_stdout(), process.take_stderr())
    else {
        return shared.die(Error::new(&core_codes::BUG, "a process without streams"));
    };
    let writer = tokio::spawn(write_lines(stdin, lines));
    let reader = tokio::spawn(hear_frames(Arc::clone(&shared), stdout));
    let printer = tokio::spawn(hear_lines(Arc::clone(&shared), stderr));
    let exit = tokio::select! {
        exit = process.wait() => exit.ok(),
        // It has closed its end, or said what is none: it has no more to say.
        () = shared.deaf.cancelled() => timeout(GRACE, process.wait()).await.ok().and_then(Result::ok),
        () = let_go(&shared) => process.stop(Duration::ZERO).await.ok(),
    };
    // A child of the plugin's may hold the pipes open: what a dead process has left in them is there at once.
    let _ = timeout(DRAIN, shared.deaf.cancelled()).await;
    let _ = timeout(DRAIN, printer).await;
    // What it has started and left behind is in its group.
    let _ = process.stop(GRACE / 2).await;
    shared.die(death(&shared, exit));
    reader.abort();
    writer.abort();
}

/// Waits until its process is to be ended: at once, or because nobody has held it for long enough to end by itself.
async fn let_go(shared: &Shared) {
    let forgotten = async {
        shared.forgotten.cancelled().await;
        tokio::time::sleep(GRACE * 2).await;
    };
    tokio::select! {
        () = shared.kill.cancelled() => {}
        () = forgotten => {}
    }
}

fn death(shared: &Shared, exit: Option<Exit>) -> Error {
    let how = match exit {
        Some(Exit::Signal(signal)) => format!("a signal ended it: {}", signal_name(signal)),
        Some(Exit::Code(code)) => format!("it has ended itself, with exit code {code}"),
        None => "it closed the connection, and was ended".to_owned(),
    };
    Error::new(&DIED, format!("the process of the plugin `{}` has ended", shared.name))
        .because(how)
        .log(shared.tail())
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV, it used memory that is none",
        libc::SIGBUS => "SIGBUS, it used memory that is none",
        libc::SIGABRT => "SIGABRT, it gave up",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL, it was killed",
        libc::SIGTERM => "SIGTERM",
        libc::SIGPIPE => "SIGPIPE",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

async fn write_lines(mut stream: impl AsyncWrite + Unpin, mut lines: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if stream.write_all(&line).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

async fn hear_frames(shared: Arc<Shared>, stdout: Stream) {
    if let Some(what) = frames(&shared, stdout).await {
        shared.kill.cancel();
        let message = format!("the plugin `{}` has garbled the connection to its process", shared.name);
        let _ = shared.death.set(Error::new(&GARBLED, message).because(what));
    }
    shared.deaf.cancel();
}

/// Hears frames to the end of the stream; why they were none, if that was the end.
async fn frames(shared: &Shared, stream: impl AsyncRead + Unpin) -> Option<String> {
    // A frame is a message and some words around it.
    let mut lines = Lines::new(stream, MESSAGE_LIMIT + 1024);
    while let Ok(Some(line)) = lines.next().await {
        match serde_json::from_slice(line) {
            Ok(frame) => shared.route(frame).await,
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}

async fn listen(shared: Arc<Shared>, stream: impl AsyncRead + Unpin) {
    let why = frames(&shared, stream).await.unwrap_or_else(|| "it closed the connection".to_owned());
    let error = Error::new(&DIED, format!("the plugin `{}` has ended", shared.name)).because(why);
    shared.die(error);
}

async fn hear_lines(shared: Arc<Shared>, stderr: Option<Stream>) {
    let Some(stderr) = stderr else { return };
    let mut lines = Lines::new(stderr, TAIL_LINE_LIMIT);
    while let Ok(Some(line)) = lines.next().await {
        shared.printed(line);
    }
}
