//! Process groups: signalling them, and finding out whether anybody is left.

use std::path::Path;

use rustix::process::{Pid, Signal};

/// Sends a signal to everybody in a group. That nobody is there any more is no error.
pub(crate) fn signal_group(pid: Pid, signal: Signal) {
    let _ = rustix::process::kill_process_group(pid, signal);
}

/// Whether anything in a group can still be ended by us. macOS answers EPERM for a group of zombies, and a
/// group that belongs to somebody else is not ours to end.
///
/// Linux counts zombies as members, and where the first process of a container does not reap orphans they stay
/// for ever; so there `/proc` is asked as well. Without it the answer is merely too careful.
pub(crate) fn group_is_alive(pid: Pid) -> bool {
    rustix::process::test_kill_process_group(pid).is_ok() && !only_zombies(pid, Path::new("/proc"))
}

fn only_zombies(group: Pid, proc: &Path) -> bool {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let processes =
        entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let mut found = false;
    for process in processes {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let Some((state, its_group)) = state_and_group(&stat) else { continue };
        if its_group == group.as_raw_nonzero().get() {
            found = true;
            if !matches!(state, 'Z' | 'X') {
                return false;
            }
        }
    }
    // Nobody at all means that this /proc shows other processes than ours.
    found
}

/// `PID (NAME) STATE PPID PGRP …`; the name may hold anything, parentheses included.
fn state_and_group(stat: &str) -> Option<(char, i32)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proc(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (pid, stat) in entries {
            std::fs::create_dir(dir.path().join(pid)).unwrap();
            std::fs::write(dir.path().join(pid).join("stat"), stat).unwrap();
        }
        dir
    }

    #[test]
    fn zombies_are_not_alive() {
        let group = Pid::from_raw(40).unwrap();
        let dead = [("41", "41 (sl) eep)) Z 1 40 7 0"), ("50", "50 (sh) S 1 50 7 0"), ("self", "")];
        assert!(only_zombies(group, proc(&dead).path()));
        let alive = [("41", "41 (sleep) Z 1 40 7 0"), ("42", "42 (sleep) S 1 40 7 0")];
        assert!(!only_zombies(group, proc(&alive).path()));
        assert!(!only_zombies(group, proc(&[("50", "50 (sh) S 1 50 7 0")]).path()));
        assert!(!only_zombies(group, Path::new("/no/such/proc")));
    }
}
