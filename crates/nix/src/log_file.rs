//! The whole log of a run of Nix, in a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nixoci_core::secrets::scrub;

/// A log file that exists once something is written to it that is nowhere else. Failing to write a log fails
/// nothing else.
#[derive(Debug, Default)]
pub(crate) struct LogFile {
    dir: Option<PathBuf>,
    open: Option<(PathBuf, BufWriter<File>)>,
    /// What was mentioned before the file came to be.
    mentioned: String,
    written: u64,
}

/// No build log that anybody reads is longer.
const FILE_LIMIT: u64 = 256 << 20;
const FILES_KEPT: usize = 30;
const MENTIONED_LIMIT: usize = 64 << 10;

impl LogFile {
    /// A log file in `dir`.
    pub(crate) fn new(dir: PathBuf) -> Self {
        LogFile { dir: Some(dir), ..LogFile::default() }
    }

    /// Where it is, if it is.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.open.as_ref().map(|(path, _)| path.as_path())
    }

    /// Adds what the user is told anyway: not worth a file of its own.
    pub(crate) fn mention(&mut self, text: &str) {
        let text = &*scrub(text);
        if self.open.is_some() {
            self.write(text);
        } else if self.mentioned.len() + text.len() < MENTIONED_LIMIT {
            self.mentioned.push_str(text);
            self.mentioned.push('\n');
        }
    }

    /// Adds a line.
    pub(crate) fn write(&mut self, line: &str) {
        let line = &*scrub(line);
        if self.open.is_none() {
            self.open = self.dir.take().and_then(|dir| create(&dir));
            let before = std::mem::take(&mut self.mentioned);
            if let Some((_, file)) = &mut self.open {
                let _ = file.write_all(before.as_bytes());
            }
        }
        let Some((_, file)) = &mut self.open else { return };
        let before = self.written;
        self.written += line.len() as u64 + 1;
        if self.written <= FILE_LIMIT {
            let _ = writeln!(file, "{line}");
        } else if before <= FILE_LIMIT {
            let _ = writeln!(file, "(the log goes on; nixoci keeps no more than {} MiB)", FILE_LIMIT >> 20);
        }
    }

    /// Brings it to the disk.
    pub(crate) fn flush(&mut self) {
        if let Some((_, file)) = &mut self.open {
            let _ = file.flush();
        }
    }
}

fn create(dir: &Path) -> Option<(PathBuf, BufWriter<File>)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // Build logs may hold what a project keeps private.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).ok()?;
    remove_old(dir);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("{seconds}-{}-{number}.log", std::process::id()));
    let file = File::options().write(true).create_new(true).open(&path).ok()?;
    Some((path, BufWriter::new(file)))
}

fn remove_old(dir: &Path) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut logs: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    // Names begin with the time in seconds, which has as many digits for the next centuries.
    logs.sort();
    let surplus = (logs.len() + 1).saturating_sub(FILES_KEPT);
    for path in logs.into_iter().take(surplus) {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_logs_go() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..100 {
            std::fs::write(dir.path().join(format!("17000000{number:02}-1-0.log")), "x").unwrap();
        }
        std::fs::write(dir.path().join("mine.txt"), "x").unwrap();
        let mut file = LogFile::new(dir.path().to_owned());
        file.write("new");
        file.flush();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), FILES_KEPT + 1);
        assert!(file.path().unwrap().exists() && dir.path().join("mine.txt").exists());
    }

    #[test]
    fn what_is_only_mentioned_makes_no_file_but_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(dir.path().to_owned());
        file.mention("error: x");
        assert_eq!(file.path(), None);
        file.write("t> building");
        file.mention("error: y");
        file.flush();
        let text = std::fs::read_to_string(file.path().unwrap()).unwrap();
        assert_eq!(text, "error: x\nt> building\nerror: y\n");
    }

    #[test]
    fn a_log_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(dir.path().to_owned());
        file.write("x");
        file.written = FILE_LIMIT;
        file.write("too much");
        file.write("too much");
        file.flush();
        let text = std::fs::read_to_string(file.path().unwrap()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_directory_that_cannot_be_written_does_no_harm() {
        let mut file = LogFile::new("/dev/null/x".into());
        file.write("x");
        file.write("y");
        assert_eq!(file.path(), None);
    }
}
