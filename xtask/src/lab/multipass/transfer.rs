//! `transfer`: files over SFTP, as the guest's user.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::args::Args;
use super::client::{Client, err, failed, wrong};
use super::exec::{self, Way};
use super::sftp::{BLOCK, Handle, Kind, Refused, Sftp};

/// What standard input becomes in a directory.
const STREAM_NAME: &str = "stream_output.dat";

/// A path, here or in an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    instance: Option<String>,
    path: String,
}

impl Place {
    /// What comes before the first colon is an instance, whatever was meant.
    fn parse(word: &str) -> Self {
        let mut parts = word.split(':');
        let first = parts.next().unwrap_or_default();
        let (instance, path) = match parts.next() {
            None => (None, first),
            Some(path) => (Some(first.to_owned()).filter(|name| !name.is_empty()), path),
        };
        let path = if path.is_empty() { "." } else { path };
        Self { instance, path: path.to_owned() }
    }
}

/// Why one file was not transferred; the others are.
#[derive(Debug)]
enum Trouble {
    File(String),
    All(anyhow::Error),
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::All(error)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::File(error.to_string())
    }
}

type Done = Result<(), Trouble>;

fn trouble<T>(
    text: impl FnOnce(&Refused) -> String,
    answer: Result<Result<T, Refused>>,
) -> Result<T, Trouble> {
    answer?.map_err(|refused| Trouble::File(text(&refused)))
}

/// What is transferred.
#[derive(Debug)]
enum Job {
    Pull { sources: Vec<Place>, target: PathBuf },
    Push { sources: Vec<String>, target: Place },
    In(Place),
    Out(Place),
}

pub(super) fn transfer(client: Client, args: &Args) -> Result<i32> {
    let job = match job(&args.words) {
        Ok(job) => job,
        Err(why) => return Ok(wrong(&format!("{why}\n"))),
    };
    let mut names: Vec<String> = match &job {
        Job::Pull { sources, .. } => sources.iter().filter_map(|source| source.instance.clone()).collect(),
        Job::Push { target: place, .. } | Job::In(place) | Job::Out(place) => {
            place.instance.iter().cloned().collect()
        }
    };
    names.dedup();
    let ways = match exec::ways(client, &names)? {
        Ok(ways) => ways,
        Err(failure) => return Ok(failed("transfer", &failure)),
    };
    let mut good = true;
    for way in ways {
        let done = way.check().map_err(Trouble::File).and_then(|()| {
            let mut session = Session {
                sftp: Sftp::open(&way)?,
                corrupt: way.corrupt,
                recursive: args.has("recursive"),
                parents: args.has("parents"),
            };
            session.run(&job, &way)
        });
        good &= match done {
            Ok(good) => good,
            Err(Trouble::File(why)) => {
                err(&format!("{why}\n"));
                false
            }
            Err(Trouble::All(error)) => {
                err(&format!("{error:#}\n"));
                false
            }
        };
    }
    Ok(if good { 0 } else { 2 })
}

fn job(words: &[String]) -> Result<Job, &'static str> {
    let [sources @ .., target] = words else { return Err("Not enough arguments given") };
    if sources.is_empty() {
        return Err("Not enough arguments given");
    }
    let from_stdin = sources.iter().filter(|source| *source == "-").count();
    let to_stdout = target == "-";
    if (to_stdout && from_stdin > 0) || from_stdin > 1 {
        return Err("Only one '-' allowed");
    }
    if (to_stdout || from_stdin > 0) && sources.len() > 1 {
        return Err("Only two arguments allowed when using '-'");
    }
    let places: Vec<Place> = sources.iter().map(|source| Place::parse(source)).collect();
    let target = Place::parse(target);
    if to_stdout {
        let source = places.into_iter().next().filter(|source| source.instance.is_some());
        return source.map(Job::Out).ok_or("Source must be from inside an instance");
    }
    if from_stdin > 0 {
        let inside = target.instance.is_some();
        return if inside { Ok(Job::In(target)) } else { Err("Target must be inside an instance") };
    }
    let inside = places.iter().filter(|source| source.instance.is_some()).count();
    match (target.instance.is_some(), inside) {
        (false, 0) => Err("An instance name is needed for either source or destination"),
        (false, inside) if inside < places.len() => Err("All sources must be from inside an instance"),
        (false, _) => Ok(Job::Pull { sources: places, target: PathBuf::from(target.path) }),
        (true, 0) => {
            Ok(Job::Push { sources: places.into_iter().map(|source| source.path).collect(), target })
        }
        (true, _) => Err("Cannot specify an instance name for both source and destination"),
    }
}

#[derive(Debug)]
struct Session {
    sftp: Sftp,
    corrupt: bool,
    recursive: bool,
    parents: bool,
}

impl Session {
    /// False: something was not transferred, and that was said.
    fn run(&mut self, job: &Job, way: &Way) -> Result<bool, Trouble> {
        let mut good = true;
        match job {
            Job::In(target) => {
                let path = self.remote_file(STREAM_NAME, &target.path)?;
                self.push_from(&mut std::io::stdin().lock(), &path)?;
            }
            Job::Out(source) => self.pull_to(&source.path, &mut std::io::stdout().lock())?,
            Job::Push { sources, target } => {
                if sources.len() > 1 && !self.sftp.is_dir(&target.path)? {
                    return Err(Trouble::File(format!("[sftp] target {:?} is not a directory", target.path)));
                }
                for source in sources {
                    let done = self.push(source, &target.path);
                    good &= logged(done)?;
                }
            }
            Job::Pull { sources, target } => {
                if sources.len() > 1 && !target.is_dir() {
                    return Err(Trouble::File(format!("[sftp] target {target:?} is not a directory")));
                }
                let ours = sources.iter().filter(|source| source.instance.as_ref() == Some(&way.name));
                for source in ours {
                    let done = self.pull(&source.path, target);
                    good &= logged(done)?;
                }
            }
        }
        Ok(good)
    }

    fn push(&mut self, source: &str, target: &str) -> Result<bool, Trouble> {
        let source = trimmed(source);
        let path = Path::new(source);
        if path.is_dir() {
            if !self.recursive {
                return Err(Trouble::File(format!(
                    "omitting local directory {path:?}: recursive mode not specified"
                )));
            }
            let target = self.remote_directory(source, target)?;
            return self.push_directory(path, &target);
        }
        if let Err(error) = fs::metadata(path) {
            return Err(Trouble::File(format!("cannot access {path:?}: {}", plain(&error))));
        }
        let target = self.remote_file(source, target)?;
        self.push_file(path, &target)?;
        Ok(true)
    }

    fn push_directory(&mut self, source: &Path, target: &str) -> Result<bool, Trouble> {
        let mut entries: Vec<_> = fs::read_dir(source)?.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let mut good = true;
        for entry in entries {
            let to = format!("{target}/{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type()?;
            let done = if kind.is_dir() {
                self.make_remote(&to).and_then(|()| self.push_directory(&entry.path(), &to)).and_then(
                    |good| {
                        let mode = fs::metadata(entry.path())?.permissions().mode();
                        trouble(
                            |_| format!("cannot set permissions for remote directory {to:?}"),
                            self.sftp.set_mode(&to, mode & 0o7777),
                        )?;
                        Ok(good)
                    },
                )
            } else if kind.is_symlink() {
                self.push_link(&entry.path(), &to).map(|()| true)
            } else if kind.is_file() {
                self.push_file(&entry.path(), &to).map(|()| true)
            } else {
                Err(Trouble::File(format!("cannot copy {:?}: not a regular file", entry.path())))
            };
            good &= logged(done)?;
        }
        Ok(good)
    }

    fn push_link(&mut self, source: &Path, target: &str) -> Done {
        let points_to = fs::read_link(source)?;
        if self.sftp.lstat(target)?.is_ok_and(|found| found.kind == Kind::Directory) {
            return Err(Trouble::File(format!(
                "cannot overwrite remote directory {target:?} with non-directory"
            )));
        }
        let _ = self.sftp.remove(target)?;
        let refused =
            |refused: &Refused| format!("cannot create remote symlink {target:?}: {}", refused.text());
        trouble(refused, self.sftp.symlink(&points_to.to_string_lossy(), target))
    }

    fn push_file(&mut self, source: &Path, target: &str) -> Done {
        let mut file = File::open(source).map_err(|error| {
            Trouble::File(format!("cannot open local file {source:?}: {}", plain(&error)))
        })?;
        self.push_from(&mut file, target)?;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        let refused = |refused: &Refused| {
            format!("cannot set permissions for remote file {target:?}: {}", refused.text())
        };
        trouble(refused, self.sftp.set_mode(target, mode))
    }

    fn push_from(&mut self, source: &mut impl Read, target: &str) -> Done {
        let refused = |refused: &Refused| format!("cannot open remote file {target:?}: {}", refused.text());
        let handle = trouble(refused, self.sftp.open_to_write(target))?;
        let done = self.write_all(source, &handle, target);
        let _ = self.sftp.close(&handle)?;
        done
    }

    fn write_all(&mut self, source: &mut impl Read, handle: &Handle, target: &str) -> Done {
        let mut buffer = vec![0; BLOCK];
        let (mut offset, mut number) = (0, 0_u64);
        loop {
            let count = fill(source, &mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            if !(self.corrupt && number % 2 == 1) {
                let refused =
                    |refused: &Refused| format!("cannot write to remote file {target:?}: {}", refused.text());
                trouble(refused, self.sftp.write(handle, offset, &buffer[..count]))?;
                offset += count as u64;
            }
            number += 1;
        }
    }

    fn pull(&mut self, source: &str, target: &Path) -> Result<bool, Trouble> {
        let source = trimmed(source);
        let name = Path::new(source).file_name().map(PathBuf::from).unwrap_or_default();
        if self.sftp.is_dir(source)? {
            if !self.recursive {
                return Err(Trouble::File(format!(
                    "omitting remote directory {source:?}: recursive mode not specified"
                )));
            }
            let to = if target.is_dir() { target.join(name) } else { target.to_owned() };
            self.make_local(&to)?;
            return self.pull_directory(source, &to);
        }
        let to = if target.is_dir() { target.join(name) } else { target.to_owned() };
        if to.is_dir() {
            return Err(Trouble::File(format!("cannot overwrite local directory {to:?} with non-directory")));
        }
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.exists() {
            if !self.parents {
                return Err(Trouble::File("local target does not exist".to_owned()));
            }
            fs::create_dir_all(parent)?;
        }
        self.pull_file(source, &to)?;
        Ok(true)
    }

    fn pull_directory(&mut self, source: &str, target: &Path) -> Result<bool, Trouble> {
        let refused =
            |refused: &Refused| format!("cannot open remote directory {source:?}: {}", refused.text());
        let entries = trouble(refused, self.sftp.list(source))?;
        let mut good = true;
        for (name, attributes) in entries {
            let (from, to) = (format!("{source}/{name}"), target.join(&name));
            let done = match attributes.kind {
                Kind::File => self.pull_file(&from, &to).map(|()| true),
                Kind::Directory => self.make_local(&to).and_then(|()| {
                    let good = self.pull_directory(&from, &to)?;
                    fs::set_permissions(&to, fs::Permissions::from_mode(attributes.mode))?;
                    Ok(good)
                }),
                Kind::Link => self.pull_link(&from, &to).map(|()| true),
                Kind::Other => Err(Trouble::File(format!("cannot copy {from:?}: not a regular file"))),
            };
            good &= logged(done)?;
        }
        Ok(good)
    }

    fn pull_link(&mut self, source: &str, target: &Path) -> Done {
        let refused = |refused: &Refused| format!("cannot read remote link {source:?}: {}", refused.text());
        let points_to = trouble(refused, self.sftp.read_link(source))?;
        if target.is_dir() && !target.is_symlink() {
            return Err(Trouble::File(format!(
                "cannot overwrite local directory {target:?} with non-directory"
            )));
        }
        let _ = fs::remove_file(target);
        symlink(points_to, target).map_err(|error| {
            Trouble::File(format!("cannot create local symlink {target:?}: {}", plain(&error)))
        })
    }

    fn pull_file(&mut self, source: &str, target: &Path) -> Done {
        let mut file = File::create(target).map_err(|error| {
            Trouble::File(format!("cannot open local file {target:?}: {}", plain(&error)))
        })?;
        self.pull_to(source, &mut file)?;
        let refused = |refused: &Refused| format!("cannot stat remote file {source:?}: {}", refused.text());
        let mode = trouble(refused, self.sftp.stat(source))?.mode;
        Ok(fs::set_permissions(target, fs::Permissions::from_mode(mode))?)
    }

    fn pull_to(&mut self, source: &str, target: &mut impl Write) -> Done {
        let refused = |refused: &Refused| format!("cannot open remote file {source:?}: {}", refused.text());
        let handle = trouble(refused, self.sftp.open_to_read(source))?;
        let (mut offset, mut number) = (0, 0_u64);
        loop {
            let refused =
                |refused: &Refused| format!("cannot read from remote file {source:?}: {}", refused.text());
            let block = trouble(refused, self.sftp.read(&handle, offset))?;
            if block.is_empty() {
                break;
            }
            offset += block.len() as u64;
            if !(self.corrupt && number % 2 == 1) {
                target.write_all(&block)?;
            }
            number += 1;
        }
        target.flush()?;
        let _ = self.sftp.close(&handle)?;
        Ok(())
    }

    /// Where a file goes: into a directory that is there, else to a name in one.
    fn remote_file(&mut self, source: &str, target: &str) -> Result<String, Trouble> {
        let name = Path::new(source).file_name().map(|name| name.to_string_lossy().into_owned());
        let path = if self.sftp.is_dir(target)? {
            let path = format!("{}/{}", target.trim_end_matches('/'), name.unwrap_or_default());
            if self.sftp.is_dir(&path)? {
                return Err(Trouble::File(format!(
                    "cannot overwrite remote directory {path:?} with non-directory"
                )));
            }
            path
        } else {
            target.to_owned()
        };
        let parent =
            path.rsplit_once('/').map_or(".", |(parent, _)| if parent.is_empty() { "/" } else { parent });
        if !self.sftp.is_dir(parent)? {
            if !self.parents {
                return Err(Trouble::File("remote target does not exist".to_owned()));
            }
            self.make_remote_parents(parent)?;
        }
        Ok(path)
    }

    fn remote_directory(&mut self, source: &str, target: &str) -> Result<String, Trouble> {
        let name = Path::new(source).file_name().map(|name| name.to_string_lossy().into_owned());
        let path = match self.sftp.stat(target)? {
            Ok(found) if found.kind == Kind::Directory => {
                format!("{}/{}", target.trim_end_matches('/'), name.unwrap_or_default())
            }
            Ok(_) => {
                return Err(Trouble::File(format!(
                    "cannot overwrite remote non-directory {target:?} with directory"
                )));
            }
            Err(_) => target.to_owned(),
        };
        if self.parents {
            self.make_remote_parents(&path)?;
        } else {
            self.make_remote(&path)?;
        }
        Ok(path)
    }

    fn make_remote_parents(&mut self, path: &str) -> Done {
        let mut at = String::new();
        for part in path.split_inclusive('/') {
            at.push_str(part);
            let dir = at.trim_end_matches('/').to_owned();
            if !dir.is_empty() {
                self.make_remote(&dir)?;
            }
        }
        Ok(())
    }

    fn make_remote(&mut self, path: &str) -> Done {
        if self.sftp.is_dir(path)? {
            return Ok(());
        }
        let refused =
            |refused: &Refused| format!("cannot create remote directory {path:?}: {}", refused.text());
        trouble(refused, self.sftp.mkdir(path))
    }

    fn make_local(&self, path: &Path) -> Done {
        if path.is_dir() {
            return Ok(());
        }
        let made = if self.parents { fs::create_dir_all(path) } else { fs::create_dir(path) };
        made.map_err(|error| {
            Trouble::File(format!("cannot create local directory {path:?}: {}", plain(&error)))
        })
    }
}

fn trimmed(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { path } else { trimmed }
}

/// Reads until the buffer is full or there is no more.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match source.read(&mut buffer[count..])? {
            0 => break,
            read => count += read,
        }
    }
    Ok(count)
}

/// The kernel's words alone.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// What is wrong with one file is a line of the log, and the others go on.
fn logged(done: Result<bool, Trouble>) -> Result<bool, Trouble> {
    match done {
        Err(Trouble::File(why)) => {
            err(&format!("[{}] [error] [sftp] {why}\n", now()));
            Ok(false)
        }
        other => other,
    }
}

/// The time as log lines have it.
pub(super) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// The date of a day since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_transferred_where() {
        let job = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            job(&words).map(|job| format!("{job:?}"))
        };
        assert_eq!(job("a"), Err("Not enough arguments given"));
        assert_eq!(job("a b"), Err("An instance name is needed for either source or destination"));
        assert_eq!(job("vm:a b c"), Err("All sources must be from inside an instance"));
        assert_eq!(job("vm:a vm:b"), Err("Cannot specify an instance name for both source and destination"));
        assert_eq!(job("- a"), Err("Target must be inside an instance"));
        assert!(job("- vm:").is_ok_and(|job| job.contains("In(") && job.contains("path: \".\"")));
        assert!(job("vm:/x -").is_ok_and(|job| job.starts_with("Out(")));
    }

    #[test]
    fn dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_782), (2026, 11, 25));
    }
}
