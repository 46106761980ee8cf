//! `cargo xtask test`: every test there is, the lab's included, and one line at the end that counts them.
//!
//! Tests that need the lab are marked `#[ignore]`, so that a plain `cargo test` works on any machine and says what it left
//! out. Here they run, unless `--skip lab` says not to: nothing is left out silently.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::{cargo, lab, sh, workspace};

/// What a run can leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Tests on emulated hosts with real Nix and real Docker (needs root on a Debian machine)
    Lab,
    /// The examples in the documentation
    Doc,
}

/// How many tests did what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

pub(crate) fn run(skip: &[Part]) -> Result<i32> {
    let mut total = Counts::default();
    let with_lab = !skip.contains(&Part::Lab);
    let lease = if with_lab {
        Some(lab::up().context("the lab is not there (`--skip lab` runs the tests that do without)")?)
    } else {
        None
    };

    // Examples of programs are built too: a test may want one.
    let mut tests = Command::new(cargo());
    tests.args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests", "--examples"]);
    if with_lab {
        tests.env("NIXOCI_LAB", std::env::current_exe()?);
        tests.env(lab::produce::VARIABLE, lab::produce::ensure()?);
        tests.env(lab::plugins::VARIABLE, lab::plugins::ensure()?);
        tests.args(["--", "--include-ignored"]);
    }
    total.add(count(&mut tests)?);
    if skip.contains(&Part::Doc) {
        sh::say("skipping the examples in the documentation");
    } else {
        total.add(count(Command::new(cargo()).args(["test", "--workspace", "--no-fail-fast", "--doc"]))?);
    }
    drop(lease);
    if total.failed > 0 {
        sh::say("some tests failed: see above");
    }
    println!("{total}");
    Ok(i32::from(total.failed > 0))
}

/// Runs cargo with its output on ours, and sums up what each test program says at its end.
fn count(command: &mut Command) -> Result<Counts> {
    let mut child = command
        .current_dir(workspace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let mut counts = Counts::default();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(program) = Counts::parse(&line) {
            counts.add(program);
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        // Something that does not compile, or a test program that died: no line tells of it.
        sh::say(format!("cargo test ended with {status}"));
        counts.failed += 1;
    }
    Ok(counts)
}

impl Counts {
    /// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s`
    fn parse(line: &str) -> Option<Self> {
        let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let number = |what: &str| {
            numbers.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse::<u64>().ok())
        };
        Some(Self { passed: number(" passed")?, failed: number(" failed")?, skipped: number(" ignored")? })
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "total: {} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_up_what_test_programs_say() {
        let mut total = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            if let Some(counts) = Counts::parse(line) {
                total.add(counts);
            }
        }
        assert_eq!(total, Counts { passed: 13, failed: 2, skipped: 1 });
        assert_eq!(total.to_string(), "total: 13 passed, 2 failed, 1 skipped");
    }
}
