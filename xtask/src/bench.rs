//! `cargo xtask bench`: nixoci beside the tools people have, on the same input, in the same run.
//!
//! The machines are noisy and shared, so single numbers mean little: runs of both sides alternate, and what counts is the
//! ratio of the medians. Everything runs in the lab, as a user would type it; preparation is not timed.

pub(crate) mod builders;
pub(crate) mod images;
mod paired;
mod plugins;
mod workload;

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// One comparison.
struct Case {
    name: &'static str,
    goal: &'static str,
    /// Runs before every timed command.
    prepare: &'static str,
    ours: &'static str,
    peer: Option<&'static str>,
    /// The longest time allowed for ours, given the peer's.
    limit: fn(Duration) -> Duration,
}

const NIX: &str = "nix --extra-experimental-features 'nix-command flakes' --no-warn-dirty";
const ROUNDS: usize = 21;

fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "an image under 2 MB, nothing to rebuild, nothing cached: to a file",
            goal: "1.1 x `nix build` + 50 ms",
            prepare: "rm -rf ~/.cache/nixoci/images /tmp/bench; mkdir /tmp/bench",
            ours: "nixoci build -q path:/tmp/hello#container -o archive:/tmp/bench/x.tar",
            peer: Some("$NIX build path:/tmp/hello#packages.x86_64-linux.container --no-link"),
            limit: |peer| peer.mul_f64(1.1) + Duration::from_millis(50),
        },
        Case {
            name: "the cowsay image, nothing to rebuild, nothing cached: to a file",
            goal: "1.1 x (`nix build` and `gzip -dc`) + 100 ms",
            prepare: "rm -rf ~/.cache/nixoci/images /tmp/bench; mkdir /tmp/bench",
            ours: "nixoci build -q path:/tmp/cowsay#container -o archive:/tmp/bench/x.tar",
            peer: Some(
                "$NIX build path:/tmp/cowsay#packages.x86_64-linux.container --out-link /tmp/bench/result && gzip -dc /tmp/bench/result > /tmp/bench/x.tar",
            ),
            limit: |peer| peer.mul_f64(1.1) + Duration::from_millis(100),
        },
        Case {
            name: "the cowsay image, unchanged and cached: to ./result",
            goal: "0.3 s",
            prepare: "",
            ours: "cd /tmp/bench && nixoci build -q path:/tmp/cowsay#container",
            peer: Some(
                "cd /tmp/bench && $NIX build path:/tmp/cowsay#packages.x86_64-linux.container --out-link nix-result",
            ),
            limit: |_| Duration::from_millis(300),
        },
        Case {
            name: "`nixoci --version`",
            goal: "10 ms",
            prepare: "",
            ours: "nixoci --version",
            peer: Some("$NIX --version"),
            limit: |_| Duration::from_millis(10),
        },
    ]
}

/// Runs the comparisons that are asked for.
pub(crate) fn run(part: &[String]) -> Result<i32> {
    let _lease = crate::lab::up(crate::lab::parts::Scope::Whole)?;
    crate::sh::step("cargo build --release", || crate::demo::build(&["--package", "nixoci", "--release"]))?;
    match part.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {
            let missed = builds()?.max(images::run(None)?).max(builders::run(None)?);
            Ok(missed.max(plugins::run()?))
        }
        ["build"] => builds(),
        ["images"] => images::run(None),
        ["images", name] => images::run(Some(name)),
        ["plugins"] => plugins::run(),
        ["builders"] => builders::run(None),
        ["builders", word] => builders::run(Some(word)),
        _ => bail!(
            "`{}` is no benchmark: `build`, `images [WORD]`, `builders [WORD]`, `plugins`",
            part.join(" ")
        ),
    }
}

/// Runs every comparison with each Nix of the lab, prints a table, and writes it into docs/benchmarks.md.
fn builds() -> Result<i32> {
    let mut table = String::from(
        "| Nix | what | nixoci, median | peer, median | ratio | goal | |\n|---|---|---|---|---|---|---|\n",
    );
    let mut missed = 0;
    for nix in ["2.26", "2.34"] {
        for (name, goal, ours, peer, limit) in inside(nix)? {
            let ratio = ours.as_secs_f64() / peer.as_secs_f64();
            let verdict = if ours <= limit { "met" } else { "**missed**" };
            missed += i32::from(ours > limit);
            let (ours, peer) = (shown(ours), shown(peer));
            writeln!(table, "| {nix} | {name} | {ours} | {peer} | {ratio:.2} | {goal} | {verdict} |")?;
        }
    }
    println!("{table}");
    let mut commands = String::from("\n```console\n");
    for case in cases() {
        writeln!(commands, "# {}\n$ {}", case.name, case.ours)?;
        if let Some(peer) = case.peer {
            writeln!(commands, "$ {}", peer.replace("$NIX", NIX))?;
        }
    }
    commands.push_str("```\n");
    write_report("bench", &format!("{table}{commands}"))?;
    Ok(i32::from(missed > 0))
}

fn shown(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

type Row = (&'static str, &'static str, Duration, Duration, Duration);

/// Runs the comparisons on an emulated host. The timing is done there, by this program, so that entering the lab is
/// not measured.
fn inside(nix: &str) -> Result<Vec<Row>> {
    let output = Command::new(std::env::current_exe()?)
        .args(["lab", "exec", "--no-build", "--nix", nix, "--cwd"])
        .arg(crate::workspace())
        .arg("--")
        .arg(std::env::current_exe()?)
        .arg("bench-inside")
        .env("NIXOCI_BIN", release_binary()?)
        .env("NIXOCI_TRUST_PROJECT", "true")
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("the benchmark failed on Nix {nix}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let text = String::from_utf8(output.stdout)?;
    let mut rows = Vec::new();
    for (case, line) in cases().into_iter().zip(text.lines()) {
        let (ours, peer) = line.split_once(' ').context("a line of two numbers")?;
        let (ours, peer) = (Duration::from_micros(ours.parse()?), Duration::from_micros(peer.parse()?));
        rows.push((case.name, case.goal, ours, peer, (case.limit)(peer)));
    }
    Ok(rows)
}

/// What cargo built for release lies beside what it built for us.
fn release_binary() -> Result<std::path::PathBuf> {
    let own = std::env::current_exe()?;
    let target =
        own.parent().and_then(std::path::Path::parent).context("this program lies in no target directory")?;
    Ok(target.join("release/nixoci"))
}

/// The part that runs on the emulated host: prints both medians of every case in microseconds.
pub(crate) fn run_inside() -> Result<i32> {
    shell(
        "rm -rf /tmp/hello /tmp/cowsay /tmp/bench; cp -r examples/hello examples/cowsay /tmp; mkdir /tmp/bench",
    )?;
    for case in cases() {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        // The first round fills the file system's cache and Nix's store, and is not counted.
        for round in 0..=ROUNDS {
            let mut pairs = vec![(case.ours, &mut ours)];
            pairs.extend(case.peer.map(|command| (command, &mut peer)));
            for (command, times) in pairs {
                shell(case.prepare)?;
                let begin = Instant::now();
                shell(command)?;
                if round > 0 {
                    times.push(begin.elapsed());
                }
            }
        }
        println!("{} {}", median(ours).as_micros(), median(peer).as_micros());
    }
    Ok(0)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn median_of(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn shell(script: &str) -> Result<()> {
    let status = Command::new("/bin/sh")
        .args(["-c", &script.replace("$NIX", NIX)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { bail!("`{script}` failed") }
}

/// Puts a report between the marks of its command in docs/benchmarks.md.
fn write_report(command: &str, report: &str) -> Result<()> {
    let path = crate::workspace().join("docs/benchmarks.md");
    let text = std::fs::read_to_string(&path)?;
    let begin = format!("<!-- written by cargo xtask {command}: from here -->\n");
    let (head, rest) = text.split_once(&begin).context("docs/benchmarks.md has lost its marks")?;
    let (_, tail) = rest.split_once(END).context("docs/benchmarks.md has lost its marks")?;
    std::fs::write(&path, format!("{head}{begin}{report}{END}{tail}"))?;
    Ok(())
}

const END: &str = "<!-- to here -->\n";
