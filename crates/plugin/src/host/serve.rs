//! The process that loads a library: frames in, the library's functions, frames out.
//!
//! It does nothing else, so whatever a plugin does to its process is done to this one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use nixoci_core::runner::GRACE;
use nixoci_core::{Error, Result, ResultExt, codes as core_codes, shell};
use signal_hook::consts::SIGINT;

use super::codes::{CHANGED, LIBRARY};
use super::frames::{FromPlugin, ToPlugin, line};
use super::library::{HostVersion, Listener, Loaded, Made};
use super::raw::raw;
use super::verify::hash_of;

/// More than this is logged by nobody who wants to be read, in bytes a process.
const LOG_LIMIT: u64 = 16 << 20;

/// What a line costs beyond its text: empty ones are work, too.
const LOG_LINE_COST: u64 = 32;

/// An event beyond this is a mistake, in bytes: the longest ones hold a line of a log.
const EVENT_LIMIT: usize = 256 << 10;

/// What is kept of one line of a log, in bytes.
const LOG_LINE_LIMIT: usize = 8 << 10;

/// The body of the hidden command: a library's path and its SHA-256.
pub fn plugin_host_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Ctrl-C at the terminal is nixoci's to hear, and it tells us. A handler that does nothing, rather than
    // ignoring: that would be passed on to what the plugin starts.
    let _ = signal_hook::flag::register(SIGINT, Arc::default());
    die_of_faults();
    match (streams(), args.as_slice()) {
        (Ok((input, output)), [path, sha256]) => {
            let load = || load(Path::new(path), &sha256.to_string_lossy());
            serve(load, File::from(input), File::from(output), || std::process::abort());
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

/// Rust's handler, which tells of a stack that overflows, lets a process live on that somebody else sends such a signal.
fn die_of_faults() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: no handler is installed, but one taken away, before anything of the plugin's runs.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Standard input and output, as nobody else in this process can find them: what a plugin prints goes to standard error.
fn streams() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let away = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    let streams = (away(rustix::stdio::stdin())?, away(rustix::stdio::stdout())?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(streams)
}

fn load(path: &Path, sha256: &str) -> Result<Loaded> {
    let found = hash_of(path).or_error(&LIBRARY, || format!("{} cannot be read", path.display()))?;
    if found != sha256 {
        return Err(Error::new(&CHANGED, "the plugin's copy in nixoci's cache is damaged")
            .because(format!("{} has the SHA-256 {found}", path.display()))
            .remedy(nixoci_core::Remedy::command("take it away", shell!("rm {}", path))));
    }
    Loaded::open(path, HostVersion::default())
}

/// Serves one library over two streams, until the input ends or says so. `hangs` is called some time after the input has ended,
/// should this not have returned by then.
fn serve(
    load: impl FnOnce() -> Result<Loaded>,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    hangs: fn(),
) {
    let out = Arc::new(Out::new(Box::new(output)));
    match load() {
        Ok(loaded) => {
            out.say(&FromPlugin::Loaded);
            converse(loaded, &out, frames(input, hangs));
        }
        Err(error) => out.say(&FromPlugin::Failed { error }),
    }
}

/// The frames that come in. They are read by a thread of their own: should a plugin keep a call to it from returning, the end of
/// the input is still heard.
fn frames(input: impl Read + Send + 'static, hangs: fn()) -> mpsc::Receiver<ToPlugin> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(input).split(b'\n') {
            let frame = line.ok().and_then(|line| serde_json::from_slice(&line).ok());
            // What nixoci sends is what we know: anything else is the end of it.
            let Some(frame) = frame else { break };
            if sender.send(frame).is_err() {
                return;
            }
        }
        // nixoci is gone. The other thread ends in order, if it can.
        drop(sender);
        std::thread::sleep(GRACE * 2);
        hangs();
    });
    receiver
}

fn converse(loaded: Loaded, out: &Arc<Out>, frames: mpsc::Receiver<ToPlugin>) {
    let mut made: Option<Made> = None;
    for frame in frames {
        match (frame, &made) {
            (ToPlugin::Describe, _) => out.say(&described(loaded.describe())),
            (ToPlugin::Create { hello }, None) => {
                match loaded.create(hello.get().as_bytes(), Box::new(Arc::clone(out))) {
                    Ok(instance) => {
                        made = Some(instance);
                        out.say(&FromPlugin::Created);
                    }
                    Err(said) => {
                        out.say(&FromPlugin::Refused { error: said.and_then(|said| raw(&said).ok()) })
                    }
                }
            }
            (ToPlugin::Start { call, request }, Some(made)) => {
                out.open(call);
                if !made.start(call, request.get().as_bytes()) {
                    out.close(call);
                    out.wrong(Some(call), "it does not begin a call");
                }
            }
            (ToPlugin::Cancel { call }, Some(made)) => {
                if out.is_open(call) {
                    made.cancel(call);
                }
            }
            (ToPlugin::Destroy, _) => break,
            _ => out.wrong(None, "a frame that does not come at this time"),
        }
    }
    if let Some(made) = made {
        end(made, out);
    }
}

fn described((status, answer): (u32, Option<Vec<u8>>)) -> FromPlugin {
    match answer.as_deref().map(raw) {
        Some(Err(what)) => FromPlugin::Wrong { call: None, what: format!("the description: {what}") },
        Some(Ok(answer)) => FromPlugin::Described { status, answer: Some(answer) },
        None => FromPlugin::Described { status, answer: None },
    }
}

/// Ends what goes on, and then the backend.
fn end(made: Made, out: &Out) {
    out.all_open().into_iter().for_each(|call| made.cancel(call));
    out.wait_until_closed(GRACE);
    made.destroy();
}

/// The way out: frames of whatever thread, one after the other.
struct Out {
    stream: Mutex<Box<dyn Write + Send>>,
    calls: Mutex<BTreeSet<u64>>,
    fewer: Condvar,
    logged: AtomicU64,
}

impl Out {
    fn new(stream: Box<dyn Write + Send>) -> Self {
        Out {
            stream: Mutex::new(stream),
            calls: Mutex::default(),
            fewer: Condvar::new(),
            logged: AtomicU64::new(0),
        }
    }

    /// Blocks while nixoci does not read: what a plugin says faster than that waits in the plugin.
    fn say(&self, frame: &FromPlugin) {
        let line = line(frame).unwrap_or_default();
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // A nixoci that is gone is noticed by whoever reads.
        let _ = stream.write_all(&line).and_then(|()| stream.flush());
    }

    fn wrong(&self, call: Option<u64>, what: impl Into<String>) {
        self.say(&FromPlugin::Wrong { call, what: what.into() });
    }

    fn calls(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, call: u64) {
        self.calls().insert(call);
    }

    /// Whether it was open.
    fn close(&self, call: u64) -> bool {
        let was = self.calls().remove(&call);
        self.fewer.notify_all();
        was
    }

    fn is_open(&self, call: u64) -> bool {
        self.calls().contains(&call)
    }

    fn all_open(&self) -> Vec<u64> {
        self.calls().iter().copied().collect()
    }

    fn wait_until_closed(&self, limit: Duration) {
        let waited = self.fewer.wait_timeout_while(self.calls(), limit, |calls| !calls.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Listener for Arc<Out> {
    fn log(&self, level: u32, text: &[u8]) {
        let size = text.len() as u64 + LOG_LINE_COST;
        let before = self.logged.fetch_add(size, Ordering::Relaxed);
        if before > LOG_LIMIT {
            return;
        }
        if before + size > LOG_LIMIT {
            return self.say(&FromPlugin::Flooded);
        }
        let text = String::from_utf8_lossy(&text[..text.len().min(LOG_LINE_LIMIT)]).into_owned();
        self.say(&FromPlugin::Log { level, text });
    }

    fn event(&self, call: u64, event: &[u8]) {
        if !self.is_open(call) {
            return;
        }
        match raw(event) {
            Ok(event) if event.get().len() > EVENT_LIMIT => {
                self.wrong(Some(call), format!("an event: it is longer than {} KiB", EVENT_LIMIT >> 10));
            }
            Ok(event) => self.say(&FromPlugin::Event { call, event }),
            Err(what) => self.wrong(Some(call), format!("an event: {what}")),
        }
    }

    fn done(&self, call: u64, status: u32, answer: &[u8]) {
        if !self.close(call) {
            return self.wrong(None, format!("it has answered call {call} more than once"));
        }
        // An answer that says nothing is none.
        let answer = if answer.is_empty() { b"null" } else { answer };
        match raw(answer) {
            Ok(answer) => self.say(&FromPlugin::Done { call, status, answer }),
            Err(what) => self.wrong(Some(call), format!("an answer: {what}")),
        }
    }

    fn impossible(&self, call: Option<u64>) {
        if let Some(call) = call {
            self.close(call);
        }
        self.wrong(call, "bytes at no address");
    }
}

/// A library served by a thread of this process: for tests, which a crash may end.
pub(super) fn serve_here(
    path: PathBuf,
    version: HostVersion,
    stream: std::os::unix::net::UnixStream,
) -> Result<()> {
    let input = stream.try_clone().or_error(&core_codes::PROCESS, || "a socket cannot be shared")?;
    std::thread::spawn(move || serve(|| Loaded::open(&path, version), input, stream, || ()));
    Ok(())
}
