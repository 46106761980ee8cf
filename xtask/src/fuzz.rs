//! `cargo xtask fuzz`: builds the fuzz targets and runs each for a while.
//!
//! libFuzzer with the compiler of everyone: no nightly, no sanitizer. Rust's own checks (bounds, overflow, debug assertions)
//! are on, and an allocator counts what the code under test holds (`fuzz/src/lib.rs`). What a run learned and what it found
//! are in the lab's cache, nothing is in the checkout.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::lab::cache::Cache;
use crate::lab::host;
use crate::{cargo, sh, workspace};

/// The flags that make the compiler count edges and comparisons, as cargo-fuzz passes them; and no warnings, as elsewhere.
const COVERAGE: [&str; 8] = [
    "-Dwarnings",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
    "-Cforce-frame-pointers=yes",
];

/// For the whole process. What Rust code holds is counted exactly (`fuzz/src/lib.rs`) and ends at 128 MiB; this is for what
/// an allocator of ours does not see, C code's memory. libFuzzer itself takes 25 to 45 MiB (its tables, its corpus), and
/// twice that while it writes a report: 128 and 96.
const WHOLE_PROCESS_MIB: u32 = 224;
/// Longer inputs teach nothing new, and slow the rest down.
const LONGEST_INPUT: u32 = 64 << 10;
/// Seconds that one input may take: all of them are small.
const SLOWEST_INPUT: u32 = 10;

/// The flags of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Fuzz {
    /// Which target [default: every one]
    target: Option<String>,
    /// How long each one runs
    #[arg(long, default_value = "60")]
    seconds: u32,
}

pub(crate) fn run(args: &Fuzz) -> Result<i32> {
    let all = targets()?;
    let wanted: Vec<&String> =
        all.iter().filter(|name| args.target.as_ref().is_none_or(|target| target == *name)).collect();
    if wanted.is_empty() {
        bail!("there is no such target: there are {}", all.join(", "));
    }
    let cache = Cache::open()?;
    // libFuzzer is C++.
    host::ensure_programs(&[("c++", "g++")], &cache.path("logs/apt.log"))?;
    let programs = sh::step("building the fuzz targets", build)?;
    let failed = fuzz_all(&cache, &programs, &wanted, args.seconds)?;
    if failed.is_empty() {
        return Ok(0);
    }
    sh::say(format!("found something: {}", failed.join(", ")));
    Ok(1)
}

/// Runs the targets, as many at a time as there are processors (each uses one); those that found something.
fn fuzz_all<'a>(cache: &Cache, programs: &Path, names: &[&'a String], seconds: u32) -> Result<Vec<&'a str>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<&'a str>> {
        let mut failed = Vec::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !fuzz(cache, programs, name, seconds)? {
                failed.push(name.as_str());
            }
        }
        Ok(failed)
    };
    thread::scope(|scope| {
        let count = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        let mut failed = Vec::new();
        for worker in workers {
            failed.extend(worker.join().map_err(|_| anyhow!("a worker thread failed"))??);
        }
        Ok(failed)
    })
}

/// The targets, by the names of their files.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace().join("fuzz/targets"))? {
        if let Some(name) = entry?.path().file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all of them; the directory they lie in.
fn build() -> Result<PathBuf> {
    let version = sh::quiet(Command::new("rustc").arg("-vV").current_dir(workspace()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    // Beside what cargo builds of the workspace, wherever that is: CI keeps it from one checkout to the next.
    let target_dir = crate::lab::target_dir()?.join("fuzz");
    let status = Command::new(cargo())
        .args(["build", "--quiet", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"])
        // A named target: build scripts and macros run without instrumentation then.
        .args(["--target", host, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"))
        .current_dir(workspace())
        .status()?;
    if !status.success() {
        bail!(
            "cargo build ended with {status}. If a crate's dependencies changed: cargo update --workspace --manifest-path \
             fuzz/Cargo.toml"
        );
    }
    Ok(target_dir.join(host).join("release"))
}

/// Runs one target; whether it found nothing.
fn fuzz(cache: &Cache, programs: &Path, name: &str, seconds: u32) -> Result<bool> {
    let dir = cache.path(&format!("fuzz/{name}"));
    let (corpus, found) = (dir.join("corpus"), dir.join("found"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&found)?;
    // Two checkouts must not fuzz into one directory at once.
    let _lock = cache.lock(&format!("locks/fuzz-{name}"))?;
    let seeds = seeds(name, &dir)?;
    let log = dir.join("log");
    let mut fuzzer = Command::new(programs.join(name));
    fuzzer.arg(format!("-max_total_time={seconds}"));
    fuzzer.arg(format!("-max_len={LONGEST_INPUT}")).arg(format!("-timeout={SLOWEST_INPUT}"));
    fuzzer.arg(format!("-rss_limit_mb={WHOLE_PROCESS_MIB}"));
    fuzzer.arg(format!("-artifact_prefix={}/", found.display()));
    fuzzer.arg("-print_final_stats=1").arg(&corpus).arg(&seeds).current_dir(&dir);
    sh::say(format!("  fuzzing {name} for {seconds} s ..."));
    let outcome = sh::logged(&mut fuzzer, &log);
    let text = fs::read_to_string(&log).unwrap_or_default();
    let stat = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map_or("?", str::trim);
    sh::say(format!(
        "  fuzzing {name}: {} inputs, peak {} MiB, {} s at most for one",
        stat("stat::number_of_executed_units:"),
        stat("stat::peak_rss_mb:"),
        stat("stat::slowest_unit_time_sec:"),
    ));
    if let Err(error) = outcome {
        sh::say(format!(
            "{error:#}\nthe input is in {}: give it to {}",
            found.display(),
            programs.join(name).display()
        ));
        return Ok(false);
    }
    Ok(true)
}

/// What a target starts from: what is in the repository, with what is compressed unpacked beside it.
fn seeds(name: &str, dir: &Path) -> Result<PathBuf> {
    let to = dir.join("seeds");
    crate::lab::cache::remove_all(&to)?;
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(workspace().join("fuzz/seeds").join(name))? {
        let path = entry?.path();
        let file = path.file_name().context("a seed has no name")?;
        fs::copy(&path, to.join(file))?;
        if path.extension().is_some_and(|extension| extension == "gz") {
            let plain = fs::File::create(to.join(path.file_stem().unwrap_or(file)))?;
            let status = Command::new("gzip").arg("-dc").arg(&path).stdout(plain).status()?;
            if !status.success() {
                bail!("gzip -dc {}: {status}", path.display());
            }
        }
    }
    Ok(to)
}
