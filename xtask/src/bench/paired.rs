//! What comparisons in pairs share: the rounds on an emulated host, and the table of what came out.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use serde::de::DeserializeOwned;

use super::{release_binary, write_report};
use crate::sh;

/// A comparison as a reader sees it.
pub(super) struct Shown {
    pub(super) name: &'static str,
    pub(super) ours: String,
    pub(super) peer: String,
}

/// Measures the comparisons whose names contain the word, and prints a table. If those are all, the table goes into
/// docs/benchmarks.md, between the marks of `cargo xtask bench PART`, with the commands below it. `measure` makes the line of
/// the comparison with this number, and says whether the goal was met.
pub(super) fn report(
    part: &str,
    head: &str,
    word: Option<&str>,
    cases: &[Shown],
    measure: impl Fn(usize) -> Result<(String, bool)>,
) -> Result<i32> {
    let mut table = head.to_owned();
    let mut commands = String::from("\n```console\n");
    let mut missed = 0;
    for (number, case) in cases.iter().enumerate() {
        if word.is_some_and(|word| !case.name.contains(word)) {
            continue;
        }
        let (line, met) = sh::step(case.name, || measure(number))?;
        missed += i32::from(!met);
        sh::say(&line);
        table.push_str(&line);
        writeln!(commands, "# {}\n$ {}\n$ {}", case.name, case.ours, case.peer)?;
    }
    commands.push_str("```\n");
    println!("{table}");
    if word.is_none() {
        write_report(&format!("bench {part}"), &format!("{table}{commands}"))?;
    }
    Ok(i32::from(missed > 0))
}

/// Runs this program as `bench-inside` on an emulated host with these properties, and reads what it prints.
pub(super) fn on_host<T: DeserializeOwned>(host: &[&str], inside: &[&OsStr]) -> Result<T> {
    let output = Command::new(std::env::current_exe()?)
        .args(["lab", "exec", "--no-build"])
        .args(host)
        .arg("--cwd")
        .arg(crate::workspace())
        .arg("--")
        .arg(std::env::current_exe()?)
        .arg("bench-inside")
        .args(inside)
        .env("NIXOCI_BIN", release_binary()?)
        .env("NIXOCI_TRUST_PROJECT", "true")
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("it failed on the host");
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs ours (0) and the peer's (1) in turn. The first round brings what everything is made of to where it is needed, and is not
/// counted. Who goes first changes from round to round.
pub(super) fn pairs<T: Copy + Default>(
    rounds: usize,
    mut run: impl FnMut(usize) -> Result<T>,
) -> Result<Vec<(T, T)>> {
    let mut pairs = Vec::new();
    for round in 0..=rounds {
        let mut pair = [T::default(); 2];
        for side in [round % 2, (round + 1) % 2] {
            pair[side] = run(side)?;
        }
        if round > 0 {
            pairs.push((pair[0], pair[1]));
        }
    }
    Ok(pairs)
}
