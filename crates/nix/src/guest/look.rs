//! What there is in a guest, found out by one command.

use nixoci_core::backend::Cx;
use nixoci_core::platform::NixSystem;
use nixoci_core::runner::{Command, Output, output};
use nixoci_core::{Error, Result};

use super::GuestRunner;
use super::codes::NOT_SET_UP;

const LOOK: &str = include_str!("look.sh");

/// Bytes of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Those that are free.
    pub free: u64,
    /// All of them.
    pub total: u64,
}

/// What there is in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whether nixoci made it.
    pub ours: bool,
    /// What nixoci called it when it made it; empty where that was before there were ids.
    pub id: String,
    /// What it was set up as; empty when it was not, or not to the end.
    pub stamp: String,
    /// What its Nix says of its version; empty without one.
    pub nix: String,
    /// What it was told of proxies and certificates.
    pub environment: String,
    /// What it builds for.
    pub system: NixSystem,
    /// `Ubuntu 26.04 LTS`.
    pub release: String,
    /// How many CPUs it has.
    pub cpus: u32,
    /// Its clock, in seconds since 1970.
    pub time: u64,
    /// The disk that the store is on.
    pub disk: Space,
    /// Memory, without swap.
    pub memory: Space,
    /// Swap.
    pub swap: Space,
}

/// Looks into a guest, as its user.
///
/// # Errors
/// Those of the way into the guest; [`NOT_SET_UP`] if what it says is not understood.
pub async fn look(cx: &Cx<'_>, guest: &GuestRunner<'_>) -> Result<Facts> {
    Facts::read(&output(guest, &Facts::command(), cx.cancel).await?)
}

impl Facts {
    /// The command whose output [`Facts::read`] understands. It always succeeds, and prints less than 4 KiB.
    pub fn command() -> Command {
        Command::new("sh").args(["-c", LOOK])
    }

    /// Understands the output of [`Facts::command`].
    ///
    /// # Errors
    /// [`NOT_SET_UP`].
    pub fn read(answer: &Output) -> Result<Facts> {
        let text = answer.stdout_text();
        parse(&text).ok_or_else(|| {
            let error = Error::new(&NOT_SET_UP, "the virtual machine does not say what there is in it");
            text.lines()
                .chain(answer.stderr_text().lines())
                .take(3)
                .fold(error, |error, line| error.because(crate::log_line(line)))
        })
    }
}

fn parse(text: &str) -> Option<Facts> {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', ':']).map(str::trim))
    };
    let kib = |name: &str| Some(value(name)?.split_whitespace().next()?.parse::<u64>().ok()? << 10);
    let machine = match value("machine")? {
        "arm64" => "aarch64",
        machine => machine,
    };
    // The file system, its size, what is used, what is free, in KiB.
    let disk: Vec<u64> =
        value("disk")?.split_whitespace().skip(1).take(3).filter_map(|word| word.parse().ok()).collect();
    let [total, _, free] = disk[..] else { return None };
    let owner: serde_json::Value = serde_json::from_str(value("owner")?).unwrap_or_default();
    let said = |key: &str| owner.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    Some(Facts {
        ours: said("owner") == "nixoci",
        id: said("id").to_owned(),
        stamp: value("stamp")?.to_owned(),
        nix: value("nix")?.to_owned(),
        environment: value("environment").unwrap_or_default().to_owned(),
        system: format!("{machine}-linux").parse().ok()?,
        release: value("release")?.to_owned(),
        cpus: value("cpus")?.parse().ok()?,
        time: value("time")?.parse().ok()?,
        disk: Space { free: free << 10, total: total << 10 },
        memory: Space { free: kib("MemAvailable")?, total: kib("MemTotal")? },
        swap: Space { free: kib("SwapFree").unwrap_or(0), total: kib("SwapTotal").unwrap_or(0) },
    })
}

/// What the kernel of a guest killed for want of memory since a moment of the guest's clock: names of programs.
///
/// # Errors
/// Those of the way into the guest.
pub async fn killed_since(cx: &Cx<'_>, guest: &GuestRunner<'_>, time: u64) -> Result<Vec<String>> {
    let since = format!("@{time}");
    let command = Command::new("env").args([
        "sudo",
        "-n",
        "journalctl",
        "-k",
        "-q",
        "--no-pager",
        "-o",
        "short-unix",
        "--since",
        &since,
    ]);
    let answer = output(guest, &command, cx.cancel).await?;
    Ok(answer.stdout_text().lines().filter_map(killed).collect())
}

/// `Out of memory: Killed process 1234 (cc1plus) total-vm:…`, and the same for a control group.
fn killed(line: &str) -> Option<String> {
    let lower = line.to_lowercase();
    let at = lower.find("out of memory: killed process ")?;
    let rest = &line[at..];
    let (open, close) = (rest.find('(')?, rest.find(')')?);
    rest.get(open + 1..close).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "owner {\"schema\":1,\"owner\":\"nixoci\",\"id\":\"ab\"}\nstamp v1 x\nnix nix (Nix) 2.34.3\nmachine aarch64\n\
        release Ubuntu 26.04 LTS\ncpus 4\ntime 1764092443\n\
        disk /dev/sda1 62914560 1048576 61865984 2% /\n\
        MemTotal:        8388608 kB\nMemAvailable:    7340032 kB\nSwapTotal:       4194304 kB\nSwapFree:        4194304 kB\n";

    #[test]
    fn what_a_guest_says_is_understood() {
        let facts = parse(TEXT).unwrap();
        assert!(facts.ours && facts.id == "ab" && facts.stamp == "v1 x" && facts.nix == "nix (Nix) 2.34.3");
        assert_eq!((facts.system.as_str(), facts.cpus), ("aarch64-linux", 4));
        assert_eq!(facts.disk, Space { free: 61_865_984 << 10, total: 60 << 30 });
        assert_eq!(facts.memory, Space { free: 7 << 30, total: 8 << 30 });
        let old = parse(&TEXT.replace(",\"id\":\"ab\"", "")).unwrap();
        assert!(old.ours && old.id.is_empty());
        let bare = TEXT.replace("{\"schema\":1,\"owner\":\"nixoci\",\"id\":\"ab\"}", "").replace("v1 x", "");
        let facts = parse(&bare).unwrap();
        assert!(!facts.ours && facts.stamp.is_empty());
        assert_eq!(parse("odd"), None);
    }

    #[test]
    fn what_the_kernel_killed_is_named() {
        for line in [
            "1764092443.1 vm kernel: Out of memory: Killed process 77 (cc1plus) total-vm:1kB",
            "1764092443.1 vm kernel: Memory cgroup out of memory: Killed process 77 (cc1plus) total-vm:1kB",
        ] {
            assert_eq!(killed(line).as_deref(), Some("cc1plus"));
        }
        assert_eq!(killed("1764092443.1 vm kernel: something else"), None);
    }

    proptest! {
        #[test]
        fn nothing_that_is_said_makes_it_panic(text in "(disk|time|cpus|Killed process|out of memory: |[()a-zé0-9 \n:@])*") {
            let _ = (parse(&text), text.lines().map(killed).count());
        }
    }
}
