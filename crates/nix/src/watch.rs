//! The watchdog: a small process that ends what nixoci started when nixoci can no longer do it itself.
//!
//! It holds the reading end of a pipe. While nixoci lives, it writes there which process groups run and which
//! temporary files exist; when nixoci dies, by whatever means, the pipe closes, and the watchdog ends the groups
//! and removes the files. Nix left alone would build on.
//!
//! The protocol, one line each: `+PGID` a group began, `-PGID` it ended, `f PATH` a temporary file or
//! directory may come to exist, `F PATH` it is no longer to be removed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata, TryLockError};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use nixoci_core::temporary::TemporaryFiles;

use crate::group::{group_is_alive, signal_group};

/// How long a file may stay locked before its lock is taken for another process's: a killed process gives its own
/// back after its pipe has closed, on a busy machine much later.
const LOCKED: Duration = Duration::from_secs(5);

/// Ends what nixoci started after nixoci was killed. Cheap to clone; its process starts with the first thing
/// there is to watch.
#[derive(Clone)]
pub struct Watchdog(Arc<Inner>);

struct Inner {
    exe: PathBuf,
    args: Vec<OsString>,
    state: Mutex<State>,
}

enum State {
    Idle,
    /// The process is being started by another thread; this is what it has to be told.
    Starting(Vec<u8>),
    Running(ChildStdin, Child),
    Failed(String),
}

impl Watchdog {
    /// A watchdog whose process is started as `exe` with `args`: nixoci itself, with the hidden subcommand
    /// whose body is [`watchdog_main`].
    pub fn new(exe: PathBuf, args: Vec<OsString>) -> Self {
        Watchdog(Arc::new(Inner { exe, args, state: Mutex::new(State::Idle) }))
    }

    /// Has a temporary file or directory removed if nixoci is killed before the guard is dropped; see
    /// [`TemporaryFiles::guard`].
    #[must_use = "the file is guarded only as long as the guard lives"]
    pub fn guard_file(&self, path: &Path) -> FileGuard {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.tell(&file_line(b'f', path.as_os_str()));
        FileGuard { watchdog: self.clone(), path }
    }

    /// Why the watchdog does not run, if it was needed and could not be started or has died.
    pub fn failure(&self) -> Option<String> {
        match &*self.0.lock() {
            State::Failed(why) => Some(why.clone()),
            _ => None,
        }
    }

    pub(crate) fn guard_group(&self, pid: Pid) -> GroupGuard {
        self.tell(format!("+{}\n", pid.as_raw_nonzero()).as_bytes());
        GroupGuard { watchdog: self.clone(), pid }
    }

    /// Never blocks: a pipe holds thousands of lines, and the other side reads at once.
    fn tell(&self, line: &[u8]) {
        let mut state = self.0.lock();
        match &mut *state {
            State::Idle => {
                *state = State::Starting(line.to_owned());
                let inner = Arc::clone(&self.0);
                // On another thread, because starting a process costs a millisecond that a build should not
                // wait for.
                std::thread::spawn(move || inner.start());
            }
            State::Starting(waiting) => waiting.extend_from_slice(line),
            State::Running(pipe, _) => {
                if let Err(error) = pipe.write_all(line) {
                    *state = State::Failed(error.to_string());
                }
            }
            State::Failed(_) => {}
        }
    }
}

impl TemporaryFiles for Watchdog {
    fn guard(&self, path: &Path) -> Box<dyn Send + Sync> {
        Box::new(self.guard_file(path))
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watchdog({})", self.0.exe.display())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) {
        let started = std::process::Command::new(&self.exe)
            .args(&self.args)
            .stdin(Stdio::piped())
            // It must not keep the pipes open that nixoci's own output goes to, nor a mounted directory busy.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn();
        let mut state = self.lock();
        let waiting = match &mut *state {
            State::Starting(waiting) => std::mem::take(waiting),
            _ => Vec::new(),
        };
        *state = match started {
            Err(error) => State::Failed(error.to_string()),
            Ok(mut child) => match child.stdin.take() {
                None => State::Failed("it has no pipe".to_owned()),
                Some(mut pipe) => match pipe.write_all(&waiting) {
                    Ok(()) => State::Running(pipe, child),
                    Err(error) => State::Failed(error.to_string()),
                },
            },
        };
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Running(pipe, mut child) = std::mem::replace(state, State::Idle) {
            drop(pipe);
            std::thread::spawn(move || child.wait());
        }
    }
}

/// Keeps a process group registered with the watchdog until it is known to have ended. Dropping it without
/// saying so leaves the group to the watchdog.
#[derive(Debug)]
pub(crate) struct GroupGuard {
    watchdog: Watchdog,
    pid: Pid,
}

impl GroupGuard {
    pub(crate) fn ended(self) {
        self.watchdog.tell(format!("-{}\n", self.pid.as_raw_nonzero()).as_bytes());
    }
}

/// Keeps a temporary file registered with the [`Watchdog`]; see [`Watchdog::guard_file`].
#[derive(Debug)]
pub struct FileGuard {
    watchdog: Watchdog,
    path: PathBuf,
}

impl FileGuard {
    /// The guarded path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FileGuard {
    fn drop(&mut self) {
        self.watchdog.tell(&file_line(b'F', self.path.as_os_str()));
    }
}

fn file_line(verb: u8, path: &OsStr) -> Vec<u8> {
    let mut line = vec![verb, b' '];
    for &byte in path.as_bytes() {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\\' => line.extend_from_slice(b"\\\\"),
            _ => line.push(byte),
        }
    }
    line.push(b'\n');
    line
}

fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => rest.next().map_or(b'\\', |&next| if next == b'n' { b'\n' } else { next }),
            _ => byte,
        });
    }
    OsString::from_vec(bytes).into()
}

/// What is to be ended and removed.
#[derive(Default)]
struct Watched {
    groups: BTreeSet<i32>,
    files: BTreeSet<PathBuf>,
}

impl Watched {
    fn hear(&mut self, line: &[u8]) {
        let group = || std::str::from_utf8(&line[1..]).ok()?.parse().ok();
        match line.first() {
            Some(b'+') => self.groups.extend(group()),
            Some(b'-') => drop(group().map(|group| self.groups.remove(&group))),
            Some(b'f') => drop(self.files.insert(unescape(&line[2..]))),
            Some(b'F') => drop(self.files.remove(&unescape(&line[2..]))),
            _ => {}
        }
    }

    fn end(self) {
        let groups: Vec<Pid> =
            self.groups.into_iter().filter(|&id| id > 1).filter_map(Pid::from_raw).collect();
        end_groups(&groups);
        let until = Instant::now() + LOCKED;
        let mut wait = |_: &Path| {
            std::thread::sleep(Duration::from_millis(10));
            Instant::now() < until
        };
        for file in self.files.into_iter().filter(|file| file.is_absolute()) {
            remove(&file, &mut wait);
        }
    }
}

/// Removes a file or directory, unless another process uses it. `wait` is called while the file is locked, and says whether to
/// try again.
fn remove(path: &Path, wait: &mut dyn FnMut(&Path) -> bool) {
    // Asks about the link itself, never what it points to.
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => drop(std::fs::remove_dir_all(path)),
        Ok(meta) if meta.is_file() => remove_unlocked(path, &meta, wait),
        Ok(_) => drop(std::fs::remove_file(path)),
        Err(_) => {}
    }
}

/// Another nixoci that waited for the lock of a killed one goes on in the same file, and must keep it.
fn remove_unlocked(path: &Path, found: &Metadata, wait: &mut dyn FnMut(&Path) -> bool) {
    let Ok(file) = File::open(path) else { return drop(std::fs::remove_file(path)) };
    while let Err(TryLockError::WouldBlock) = file.try_lock() {
        if !wait(path) {
            return;
        }
    }
    // While we waited, the file may have become something else, and another one may have come to its path.
    let same = |there: &Metadata| (there.dev(), there.ino()) == (found.dev(), found.ino());
    if std::fs::symlink_metadata(path).is_ok_and(|there| same(&there)) {
        let _ = std::fs::remove_file(path);
    }
}

/// SIGINT first: Nix then ends its builders, which as root live in other sessions and under other users, and
/// which nobody could find once Nix is killed.
fn end_groups(groups: &[Pid]) {
    // On a busy machine Nix needs seconds for that. What ends sooner is not waited for.
    const WAITS: [(Signal, Duration); 2] =
        [(Signal::INT, Duration::from_secs(5)), (Signal::TERM, Duration::from_secs(2))];
    let alive = || groups.iter().copied().filter(|&group| group_is_alive(group));
    for (signal, wait) in WAITS {
        alive().for_each(|group| signal_group(group, signal));
        let start = Instant::now();
        while start.elapsed() < wait && alive().next().is_some() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    alive().for_each(|group| signal_group(group, Signal::KILL));
}

/// The body of the hidden subcommand: reads what there is to watch until the pipe closes, then ends it.
/// Blocks; returns when nothing is left to do.
pub fn watchdog_main(input: impl Read) {
    // Whoever stops nixoci by name or by group must not stop the one who cleans up after it. A handler that
    // only sets a flag is the nearest to ignoring a signal that needs no unsafe code.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    let mut watched = Watched::default();
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    while let Ok(1..) = input.read_until(b'\n', &mut line) {
        // A line without its end was cut off by the death of the writer.
        if line.pop() == Some(b'\n') {
            watched.hear(&line);
        }
        line.clear();
    }
    watched.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watchdog_that_cannot_start_says_so_and_harms_nothing() {
        let watchdog = Watchdog::new("/no/such/program".into(), Vec::new());
        // On this thread, so that the outcome is there when it returns.
        *watchdog.0.lock() = State::Starting(Vec::new());
        watchdog.0.start();
        assert!(watchdog.failure().is_some());
        let runner = crate::HostRunner::new(Some(watchdog));
        let command = nixoci_core::runner::Command::new("echo").arg("x");
        let never = tokio_util::sync::CancellationToken::new();
        let answer = nixoci_core::runner::output(&runner, &command, &never).await.unwrap();
        assert_eq!(answer.stdout, b"x\n");
    }

    #[test]
    fn a_path_survives_the_wire_whatever_is_in_it() {
        for path in ["/a b", "/a\nb", "/a\\nb", "/a\\\nb\\"] {
            let line = file_line(b'f', OsStr::new(path));
            assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1, "{path:?}");
            assert_eq!(unescape(&line[2..line.len() - 1]), Path::new(path));
        }
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let mut watched = Watched::default();
        for line in ["+12", "+13", "-12", "f /x", "f /y", "F /x", "?", "", "+", "-x"] {
            watched.hear(line.as_bytes());
        }
        assert_eq!(watched.groups.into_iter().collect::<Vec<_>>(), [13]);
        assert_eq!(watched.files.into_iter().collect::<Vec<_>>(), [Path::new("/y")]);
    }

    #[test]
    fn files_that_are_still_registered_at_the_end_go() {
        let dir = tempfile::tempdir().unwrap();
        let [gone, gone_dir, kept, target, link] =
            ["gone", "dir", "kept", "target", "link"].map(|name| dir.path().join(name));
        for file in [&gone, &kept, &target] {
            std::fs::write(file, "x").unwrap();
        }
        std::fs::create_dir(&gone_dir).unwrap();
        std::fs::write(gone_dir.join("in"), "x").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut script = Vec::new();
        for file in [&gone, &gone_dir, &kept, &link] {
            script.extend(file_line(b'f', file.as_os_str()));
        }
        script.extend(file_line(b'F', kept.as_os_str()));
        // The writer died in the middle of this line.
        script.extend_from_slice(format!("f {}", target.display()).as_bytes());
        watchdog_main(script.as_slice());
        assert!(!gone.exists() && !gone_dir.exists() && link.symlink_metadata().is_err());
        assert!(kept.exists() && target.exists());
    }

    #[test]
    fn a_file_that_another_process_has_locked_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let [theirs, late] = ["theirs", "late"].map(|name| dir.path().join(name));
        let [lock, late_lock] = [&theirs, &late].map(|path| File::create(path).unwrap());
        lock.lock().unwrap();
        late_lock.lock().unwrap();
        // A dying process gives its lock back after its pipe.
        let mut late_lock = Some(late_lock);
        let mut waits = 0;
        let mut wait = |path: &Path| {
            waits += 1;
            if path == late { late_lock.take().is_some() } else { waits < 3 }
        };
        for path in [&late, &theirs] {
            remove(path, &mut wait);
        }
        assert!(theirs.exists() && !late.exists());
        assert_eq!(waits, 3, "once for the one that was given back, twice for the other");
    }
}
