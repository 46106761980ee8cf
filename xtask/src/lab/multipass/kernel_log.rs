//! What a guest's journal has of the kernel: that its memory ran out, and who was killed for it.
//!
//! There is one kernel, the machine's. Its log names the control group whose memory ran out, and so the guest. Where it
//! cannot be read, the control groups' counters and the processes that are gone say nearly the same.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::guard;
use super::daemon::Daemon;
use super::instance;

const KERNEL: &str = "/dev/kmsg";
/// Where a guest's `journalctl` reads: each line is when, in seconds, and what. It goes with the boot.
const FILE: &str = "run/lab/kernel.log";
/// No record of the kernel's is longer.
const RECORD: usize = 8192;

/// Writes into guests' logs from now on.
pub(super) fn keep(daemon: &Daemon) {
    let daemon = daemon.clone();
    thread::spawn(move || match from_now_on() {
        Ok(log) => follow(&daemon, log),
        Err(_) => count(&daemon),
    });
}

fn from_now_on() -> std::io::Result<File> {
    let mut log = File::open(KERNEL)?;
    log.seek(SeekFrom::End(0))?;
    Ok(log)
}

fn follow(daemon: &Daemon, mut log: File) {
    let mut deaths = Deaths::of(&format!("/{}/{}", guard::cgroup(&daemon.state), instance::GROUP));
    let mut record = [0; RECORD];
    loop {
        match log.read(&mut record) {
            Ok(length) => {
                let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                if let Some((guest, line)) = deaths.learn(&text) {
                    note(daemon, &guest, &line);
                }
            }
            // Some records were overwritten before we got to them.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            Err(_) => return,
        }
    }
}

/// Writes a line into a guest's log.
fn note(daemon: &Daemon, guest: &str, line: &str) {
    let Some(keeper) = daemon.get(guest).and_then(|instance| instance.keeper) else { return };
    let file = Path::new("/proc").join(keeper.to_string()).join("root").join(FILE);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(file) {
        let _ = writeln!(file, "{}.{:06} {line}", now.as_secs(), now.subsec_micros());
    }
}

/// What the kernel's log says of deaths, of which it takes two records to know whose they are.
#[derive(Debug)]
struct Deaths {
    groups: String,
    /// Who is about to be killed, by number, and in which guest.
    next: BTreeMap<String, String>,
}

impl Deaths {
    /// Those in the guests whose groups begin like this.
    fn of(groups: &str) -> Self {
        Self { groups: groups.to_owned(), next: BTreeMap::new() }
    }

    /// Takes a record of `/dev/kmsg`: whose log it belongs into, and as what.
    fn learn(&mut self, record: &str) -> Option<(String, String)> {
        let (_, text) = record.lines().next()?.split_once(';')?;
        if let Some(facts) = text.strip_prefix("oom-kill:") {
            let fact = |name: &str| {
                facts
                    .split(',')
                    .find_map(|fact| fact.strip_prefix(name)?.strip_prefix('='))
                    .unwrap_or_default()
            };
            let (_, guest) = fact("oom_memcg").rsplit_once(&self.groups)?;
            self.next.insert(fact("pid").to_owned(), guest.to_owned());
            return Some((guest.to_owned(), text.to_owned()));
        }
        let (_, killed) = text.split_once("Killed process ")?;
        let guest = self.next.remove(killed.split(' ').next()?)?;
        Some((guest, text.to_owned()))
    }
}

/// A process that may be about to be killed.
#[derive(Debug, Clone)]
struct Process {
    resident: u64,
    /// How the kernel describes one that it killed.
    text: String,
}

/// Looks at the groups' counters, and at who is gone when one has risen.
fn count(daemon: &Daemon) {
    let mut seen: BTreeMap<i32, Seen> = BTreeMap::new();
    loop {
        for instance in daemon.names().iter().filter_map(|name| daemon.get(name)) {
            let Some(keeper) = instance.keeper else { continue };
            let group = instance::group(&instance.name);
            for line in seen.entry(keeper).or_default().look(kills(&group), processes(&group)) {
                note(daemon, &instance.name, &line);
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// What was seen of a group.
#[derive(Debug, Default)]
struct Seen {
    told: u64,
    processes: BTreeMap<i32, Process>,
}

impl Seen {
    /// Looks again. Of those that are gone the biggest were killed; one may still be going, and is told of later.
    fn look(&mut self, kills: u64, processes: BTreeMap<i32, Process>) -> Vec<String> {
        let mut gone: Vec<_> =
            self.processes.iter().filter(|(pid, _)| !processes.contains_key(pid)).collect();
        gone.sort_by_key(|(_, process)| std::cmp::Reverse(process.resident));
        let new = usize::try_from(kills.saturating_sub(self.told)).unwrap_or_default();
        let lines: Vec<String> = gone
            .into_iter()
            .take(new)
            .map(|(pid, process)| {
                format!("Memory cgroup out of memory: Killed process {pid} {}", process.text)
            })
            .collect();
        self.told += lines.len() as u64;
        self.processes = processes;
        lines
    }
}

/// How many processes of a group were killed for its memory.
fn kills(group: &Path) -> u64 {
    let counter = |file: &str| {
        let text = fs::read_to_string(group.join(file)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
    };
    counter("memory.oom_control").or_else(|| counter("memory.events")).unwrap_or_default()
}

fn processes(group: &Path) -> BTreeMap<i32, Process> {
    let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    pids.lines().filter_map(|pid| Some((pid.parse().ok()?, process(pid)?))).collect()
}

fn process(pid: &str) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let first = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.split_whitespace().next().map(str::to_owned)
    };
    let [vm, anon, file, shmem, tables, uid] = ["VmSize", "RssAnon", "RssFile", "RssShmem", "VmPTE", "Uid"]
        .map(|name| first(name).unwrap_or_default());
    Some(Process {
        resident: anon.parse().ok()?,
        text: format!(
            "({}) total-vm:{vm}kB, anon-rss:{anon}kB, file-rss:{file}kB, shmem-rss:{shmem}kB, UID:{uid} \
             pgtables:{tables}kB oom_score_adj:0",
            first("Name")?
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_known_by_its_group() {
        let mut deaths = Deaths::of("/nixoci-lab-1/multipass-");
        let about = |lab: &str, pid: u32| {
            format!(
                "6,7,8,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
                 oom_memcg=/x/nixoci-lab-{lab}/multipass-a,task_memcg=/x/nixoci-lab-{lab}/multipass-a,task=tail,\
                 pid={pid},uid=1000\n SUBSYSTEM=x\n"
            )
        };
        let killed = |pid: u32| {
            format!(
                "3,7,8,-;Memory cgroup out of memory: Killed process {pid} (tail) total-vm:5kB, anon-rss:4kB\n"
            )
        };
        assert_eq!(deaths.learn(&about("2", 12)), None, "another lab's");
        assert_eq!(deaths.learn(&killed(12)), None);
        let (guest, line) = deaths.learn(&about("1", 13)).unwrap_or_default();
        assert!(guest == "a" && line.ends_with("pid=13,uid=1000"), "{guest}: {line}");
        assert_eq!(deaths.learn("6,7,8,-;eth0: Killed process of thought"), None);
        let (guest, line) = deaths.learn(&killed(13)).unwrap_or_default();
        assert!(guest == "a" && line.contains(": Killed process 13 (tail) "), "{guest}: {line}");
        assert_eq!(deaths.learn(&killed(13)), None, "once");
    }

    #[test]
    fn whom_a_counter_means_is_the_biggest_that_is_gone() {
        let process = |resident: u64| Process { resident, text: format!("(p{resident})") };
        let these = |sizes: &[(i32, u64)]| sizes.iter().map(|(pid, size)| (*pid, process(*size))).collect();
        let mut seen = Seen::default();
        let all: BTreeMap<_, _> = these(&[(1, 1), (2, 900), (3, 5)]);
        assert!(seen.look(0, all.clone()).is_empty());
        assert!(seen.look(1, all).is_empty(), "it is still going");
        let lines = seen.look(1, these(&[(1, 1)]));
        assert_eq!(lines, ["Memory cgroup out of memory: Killed process 2 (p900)"]);
        assert!(seen.look(1, these(&[])).is_empty(), "the others ended by themselves");
    }
}
