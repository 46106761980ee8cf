//! `lab fault`: what happens to a machine while it works, to the connections of one alone.
//!
//! All machines of a lab share one numbering of processes. Which are a machine's is told by their ancestors, and, for those
//! that have lost them, by the mount namespace, which is the machine's root. What keeps the machine going is spared: the lab
//! would end with it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::builder;
use super::cache::Cache;
use super::state::State;
use crate::sh;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its ssh sessions are killed, and all that runs in them; new ones are welcome
    Sessions,
    /// Nix's daemon loses the processes that serve its clients, and their builds; new clients are welcome
    Daemon,
}

impl Fault {
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        match words {
            [word] if word == "sessions" => Ok(Self::Sessions),
            [word] if word == "daemon" => Ok(Self::Daemon),
            _ => bail!("it takes `sessions` or `daemon`"),
        }
    }
}

/// A process as the machine of the lab sees it.
#[derive(Debug)]
struct Process {
    pid: i32,
    parent: i32,
    name: String,
    /// Its mount namespace.
    space: Option<PathBuf>,
}

pub(crate) fn run(machine: &str, fault: Fault) -> Result<i32> {
    let builder = builder::parse(machine)?;
    let state = State::of(&Cache::open()?)?;
    if !state.is_up()? {
        bail!("the lab is not up: run `cargo xtask lab up`");
    }
    let victims = victims(&processes()?, state.pid(&builder.pid_file())?, fault);
    if victims.is_empty() {
        bail!("nothing to kill on {machine}");
    }
    for victim in &victims {
        // One that has gone by itself, or with its parent, is gone as well.
        if let Some(pid) = Pid::from_raw(*victim) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    sh::say(format!("killed {} processes on {machine}", victims.len()));
    Ok(0)
}

/// Those to kill on the machine of this keeper, ancestors first: what is killed starts nothing new.
fn victims(all: &[Process], keeper: i32, fault: Fault) -> Vec<i32> {
    let kept = |name: &str| {
        let of_keeper = all.iter().filter(|process| process.parent == keeper && process.name == name);
        of_keeper.map(|process| process.pid).collect::<Vec<i32>>()
    };
    let serving = descendants(all, &kept("nix-daemon"));
    if fault == Fault::Daemon {
        return serving;
    }
    let mut victims = descendants(all, &kept("sshd"));
    let space = all.iter().find(|process| process.pid == keeper).and_then(|keeper| keeper.space.as_ref());
    let others: HashSet<i32> = serving.into_iter().chain(victims.iter().copied()).collect();
    let orphans = all.iter().filter(|process| {
        process.space.as_ref() == space
            && process.pid != keeper
            && process.parent != keeper
            && !others.contains(&process.pid)
    });
    victims.extend(orphans.map(|process| process.pid));
    victims
}

/// The children of these, and theirs, and so on.
fn descendants(all: &[Process], of: &[i32]) -> Vec<i32> {
    let mut found: Vec<i32> = Vec::new();
    let mut generation = of.to_vec();
    while !generation.is_empty() {
        let children = all.iter().filter(|process| generation.contains(&process.parent));
        generation = children.map(|process| process.pid).filter(|pid| !found.contains(pid)).collect();
        found.extend(&generation);
    }
    found
}

fn processes() -> Result<Vec<Process>> {
    let entries = fs::read_dir("/proc")?.flatten();
    // A process may go while we look.
    Ok(entries.filter_map(|entry| process(&entry.path())).collect())
}

fn process(dir: &Path) -> Option<Process> {
    let pid = dir.file_name()?.to_str()?.parse().ok()?;
    // PID (NAME) STATE PARENT ..., and a name may hold anything.
    let stat = fs::read_to_string(dir.join("stat")).ok()?;
    let (before, after) = stat.rsplit_once(')')?;
    let parent = after.split_whitespace().nth(1)?.parse().ok()?;
    let (_, name) = before.split_once('(')?;
    Some(Process { pid, parent, name: name.to_owned(), space: fs::read_link(dir.join("ns/mnt")).ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_to_kill() {
        let process = |pid, parent, name: &str, space: &str| Process {
            pid,
            parent,
            name: name.to_owned(),
            space: Some(PathBuf::from(space)),
        };
        let all = [
            process(1, 0, "init", "init"),
            process(2, 1, "xtask", "dodo"),
            process(3, 2, "nix-daemon", "dodo"),
            process(4, 2, "sshd", "dodo"),
            process(5, 4, "sshd-session", "dodo"),
            process(6, 5, "nix-daemon", "dodo"),
            process(7, 3, "nix-daemon", "dodo"),
            process(8, 7, "sh", "sandbox"),
            process(9, 1, "sleep", "dodo"),
            process(10, 1, "xtask", "bee"),
            process(11, 10, "sshd", "bee"),
            process(12, 11, "sshd-session", "bee"),
        ];
        assert_eq!(victims(&all, 2, Fault::Sessions), [5, 6, 9]);
        assert_eq!(victims(&all, 2, Fault::Daemon), [7, 8]);
        assert_eq!(victims(&all, 10, Fault::Sessions), [12]);
    }
}
