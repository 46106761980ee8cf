//! `cargo xtask bench plugins`: what it costs that a backend is a library in a process of its own.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{release_binary, write_report};
use crate::{cargo, lab, sh, workspace};

/// What was measured, what it may be, and whether it is.
struct Row {
    what: &'static str,
    found: String,
    goal: &'static str,
    met: bool,
}

/// Measures on this machine: no Nix takes part.
pub(super) fn run() -> Result<i32> {
    let libraries = lab::plugins::ensure()?;
    let mut measure = Command::new(cargo());
    measure.args(["run", "--quiet", "--release", "--package", "nixoci-plugin", "--features", "host"]);
    measure.args(["--example", "measure", "--"]).arg(release_binary()?).arg(libraries);
    measure.current_dir(workspace());
    let text = sh::step("measuring plugins", || sh::quiet(&mut measure))?;
    let rows = rows(&text)?;
    let mut table = String::from("| what | median | goal | |\n|---|---|---|---|\n");
    for Row { what, found, goal, met } in &rows {
        let verdict = if *met { "met" } else { "**missed**" };
        table.push_str(&format!("| {what} | {found} | {goal} | {verdict} |\n"));
    }
    println!("{table}");
    write_report("bench plugins", &table)?;
    Ok(i32::from(rows.iter().any(|row| !row.met)))
}

fn rows(text: &str) -> Result<Vec<Row>> {
    let mut lines = text.lines();
    let mut number = || -> Result<f64> { Ok(lines.next().context("a line is missing")?.parse()?) };
    let (start, call) = (number()?, number()?);
    let Some((socket, pipe)) = lines.next().and_then(|line| line.split_once(' ')) else {
        bail!("no rates in {text}");
    };
    let (socket, pipe): (f64, f64) = (socket.parse()?, pipe.parse()?);
    Ok(vec![
        Row {
            what: "a library is checked, copied once, loaded in a process of its own, and gives its first answer",
            found: format!("{:.1} ms", start / 1e3),
            goal: "50 ms",
            met: start <= 50_000.0,
        },
        Row {
            what: "a call (`offers`), there and back",
            found: format!("{:.0} µs", call / 1e3),
            goal: "300 µs",
            met: call <= 300_000.0,
        },
        Row {
            what: "NAR bytes through the socket, beside `head -c` through a pipe",
            found: format!("{:.2} GB/s, {:.2} of the pipe's", socket / 1e9, socket / pipe),
            goal: "0.8 of the pipe's",
            met: socket >= 0.8 * pipe,
        },
    ])
}
