use std::sync::Arc;

use async_trait::async_trait;
use nixoci_core::backend::CheckVerdict;
use nixoci_core::event::Silent;
use nixoci_core::host::{Dirs, Host};
use nixoci_core::runner::{Command, Process, Runner};
use nixoci_core::temporary::{TemporaryFiles, Unguarded};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::version::Version;

/// A place where no process ever starts.
#[derive(Debug)]
struct Stuck;

#[async_trait]
impl Runner for Stuck {
    async fn spawn(&self, _: &Command) -> Result<Box<dyn Process>> {
        std::future::pending().await
    }
    async fn find(&self, _: &str) -> Option<PathBuf> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_builder_that_never_answers_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let host = Host {
        system: "x86_64-linux".parse().unwrap(),
        home: None,
        uid: 1000,
        env: BTreeMap::new(),
        cpus: 1,
    };
    let dirs = Dirs { cache: place("cache"), config: place("config"), state: place("state") };
    let (cancel, temporary): (_, Arc<dyn TemporaryFiles>) = (CancellationToken::new(), Arc::new(Unguarded));
    let cx = Cx {
        cancel: &cancel,
        observer: &Silent,
        runner: &Stuck,
        host: &host,
        dirs: &dirs,
        temporary: &temporary,
        credentials: &nixoci_core::credentials::NONE,
        stall_timeout: nixoci_core::stall::DEFAULT_LIMIT,
    };
    let nix = Nix::new("/nix".into(), Version::parse("nix (Nix) 2.34.8").unwrap());
    let want: NixSystem = "x86_64-linux".parse().unwrap();
    let found = checks(&cx, &nix, std::slice::from_ref(&want)).await.unwrap();
    let detail = "a tiny build for x86_64-linux failed: nothing came back within 300 s";
    assert_eq!((found[0].verdict, found[0].detail.as_str()), (CheckVerdict::Bad, detail));
}

/// What the kernel looks at.
fn machine(elf: &[u8]) -> u16 {
    let short = |at: usize| u16::from_le_bytes([elf[at], elf[at + 1]]);
    let long = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().unwrap());
    let quad = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().unwrap());
    assert_eq!(&elf[..8], b"\x7fELF\x02\x01\x01\0");
    assert_eq!((short(16), quad(32), short(54), short(56)), (2, 64, 56, 2), "a program with two segments");
    // One that is the whole file, and one that keeps the stack from being executable; no interpreter: it is static.
    assert_eq!((long(64), long(68), quad(72), quad(96)), (1, 5, 0, elf.len() as u64));
    assert_eq!((long(120), long(124)), (0x6474_e551, 6));
    let (base, entry) = (quad(80), quad(24));
    assert!(entry >= base + 176 && entry < base + elf.len() as u64);
    assert_eq!(base % quad(112), 0);
    short(18)
}

#[test]
fn the_programs_are_static_and_for_their_machine() {
    let machines = PROGRAMS.map(|(name, bytes)| (name, machine(bytes)));
    assert_eq!(machines, [("x86_64-linux", 62), ("aarch64-linux", 183)]);
}

#[test]
fn the_program_for_this_machine_does_what_it_is_for() {
    let own: NixSystem = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS).parse().unwrap();
    if program(&own).is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), &own).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let builder = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let builder = builder.filter(|path| *path != file).find(|path| path.extension().is_none()).unwrap();
    assert!(text.contains(builder.file_name().unwrap().to_str().unwrap()), "{text}");
    let out = dir.path().join("out");
    let run = |words: &[&str]| std::process::Command::new(&builder).args(words).status().unwrap().code();
    assert_eq!(run(&[out.to_str().unwrap(), "a word"]), Some(0));
    assert_eq!(std::fs::read(&out).unwrap(), b"a word");
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o444);
    for wrong in [&[out.to_str().unwrap(), "again"][..], &["/no/such/dir/out", "x"], &["x"], &[]] {
        assert_eq!(run(wrong), Some(1), "{wrong:?}");
    }
}

#[test]
fn a_cpu_without_a_program_is_built_by_the_shell() {
    let text = expression(None);
    assert!(text.contains("builder = \"/bin/sh\"") && text.contains(r#"printf %s \"$nonce\" > \"$out\""#));
    assert!(program(&"riscv64-linux".parse().unwrap()).is_none());
    assert_ne!(nonce(), nonce());
}

#[test]
fn what_is_damaged_mends() {
    let dir = tempfile::tempdir().unwrap();
    let system = "aarch64-linux".parse().unwrap();
    let file = write(dir.path(), &system).unwrap();
    std::fs::write(&file, "{").unwrap();
    assert_eq!(write(dir.path(), &system).unwrap(), file);
    assert!(std::fs::read_to_string(&file).unwrap().contains("derivation"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
}
