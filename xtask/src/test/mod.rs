//! `cargo xtask test`: every test there is, the lab's included, or the ones that are named; one line at the end counts them.
//!
//! [nextest](https://nexte.st) runs them, each in a process of its own (`.config/nextest.toml` says what may run beside what). Tests
//! that need the lab are marked `#[ignore]`, so that a plain `cargo test` works on any machine and says what it left out. Here they run,
//! unless `--skip lab` says not to: nothing is left out silently.

mod hogs;
mod report;
pub(crate) mod select;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use self::hogs::Hogs;
use self::report::{Counts, Report};
use self::select::Selection;
use crate::lab::Lease;
use crate::lab::parts::Scope;
use crate::{cargo, lab, sh, tools, workspace};

/// The profile of `.config/nextest.toml` that knows the lab.
const PROFILE: &str = "lab";

/// The parts that a run can leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Tests on emulated hosts with real Nix and real Docker (needs root on a Debian machine)
    Lab,
    /// The examples in the documentation
    Doc,
}

/// The flags of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Only these: names of tests or a part of one (`multipass::from_nothing`), files (`crates/cli/tests/lab/images.rs`), crates (`core`), a test of
    /// one crate (`core:error::`)
    filters: Vec<String>,
    /// Parts to leave out (repeatable); anything else that cannot run here fails
    #[arg(long, value_enum)]
    skip: Vec<Part>,
    /// Lists the tests instead of running them
    #[arg(long)]
    list: bool,
    /// Runs each test this many times
    #[arg(long, value_name = "N")]
    times: Option<u32>,
    /// Keeps this many processors busy meanwhile
    #[arg(long, value_name = "N", default_value_t = 0)]
    hogs: u32,
    /// How many tests run at a time [default: as .config/nextest.toml says]
    #[arg(long, short, value_name = "N")]
    jobs: Option<u32>,
}

pub(crate) fn run(args: &Test) -> Result<i32> {
    let mut nextest =
        Nextest { program: tools::NEXTEST.ensure()?, selection: select::select(&args.filters)? };
    let with_lab = !args.skip.contains(&Part::Lab);
    if !nextest.selection.whole.is_empty() {
        nextest.build()?;
        let tests = nextest.names()?;
        nextest.selection.settle(&tests);
    }
    if args.list {
        return nextest.list();
    }
    let lease = prepare(&nextest, args, with_lab)?;
    let _hogs = Hogs::start(args.hogs)?;
    let mut report = nextest.run(args, lease.is_some())?;
    if !with_lab {
        report.counts.skipped += nextest.count_ignored()?;
    }
    drop(lease);
    if args.filters.is_empty() {
        if args.skip.contains(&Part::Doc) {
            sh::say("skipping the examples in the documentation");
        } else {
            report.counts.add(run_doc_tests()?);
        }
    }
    say_how_to_run_again(&report);
    println!("{}", report.counts);
    Ok(i32::from(report.counts.failed > 0))
}

/// Builds the test programs, and brings the lab up if one of the tests needs it.
fn prepare(nextest: &Nextest, args: &Test, with_lab: bool) -> Result<Option<Lease>> {
    let up = || {
        let hint = "the lab is not there (`--skip lab` runs the tests that do without)";
        lab::up(Scope::Whole).context(hint).map(Some)
    };
    if !with_lab {
        return nextest.build().map(|()| None);
    }
    if !args.filters.is_empty() {
        nextest.build()?;
        return if nextest.count_ignored()? > 0 { up() } else { Ok(None) };
    }
    // Everything: making the lab waits for the network where the compiler waits for the processor.
    let lease = thread::scope(|scope| {
        let built = scope.spawn(|| nextest.build());
        let lease = up();
        built.join().map_err(|_| anyhow!("a worker thread failed"))??;
        lease
    })?;
    lab::produce::ensure()?;
    lab::plugins::ensure()?;
    Ok(lease)
}

/// nextest, over some of the workspace's tests.
struct Nextest {
    program: PathBuf,
    selection: Selection,
}

/// The fields of the output of `nextest list` that are used here.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Listing {
    rust_suites: std::collections::BTreeMap<String, Suite>,
}

#[derive(Deserialize)]
struct Suite {
    #[serde(default)]
    testcases: std::collections::BTreeMap<String, Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Case {
    ignored: bool,
    filter_match: FilterMatch,
}

#[derive(Deserialize)]
struct FilterMatch {
    status: String,
}

impl Case {
    fn is_selected(&self) -> bool {
        self.filter_match.status == "matches"
    }
}

impl Nextest {
    /// A command of nextest's on the selection. It is found by cargo, or by its path.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.env("CARGO", cargo()).args(["nextest", name, "--profile", PROFILE]);
        command.args(&self.selection.targets);
        if let Some(filterset) = &self.selection.filterset {
            command.args(["--filterset", filterset]);
        }
        command.current_dir(workspace()).stdin(Stdio::null());
        command
    }

    /// Compiles what the selection needs. cargo speaks for itself when it fails.
    fn build(&self) -> Result<()> {
        let status =
            self.command("run").args(["--no-run", "--cargo-quiet"]).status().context("cannot run nextest")?;
        if !status.success() {
            bail!("the tests do not compile");
        }
        // This executable also runs the lab.
        if !std::env::current_exe()?.exists() {
            bail!(
                "the build of the tests has replaced xtask: it was compiled with other features than by itself (xtask/Cargo.toml \
                 says how that is avoided)"
            );
        }
        Ok(())
    }

    fn list(&self) -> Result<i32> {
        let status = self.command("list").args(["--run-ignored", "all", "--cargo-quiet"]).status()?;
        Ok(status.code().unwrap_or(1))
    }

    /// How many of the selected tests need the lab.
    fn count_ignored(&self) -> Result<u64> {
        Ok(self.ignored()?.len() as u64)
    }

    /// The names of the selected tests that need the lab.
    fn ignored(&self) -> Result<Vec<String>> {
        Ok(self
            .cases()?
            .filter(|(_, case)| case.ignored && case.is_selected())
            .map(|(name, _)| name)
            .collect())
    }

    /// The names of all tests in the programs that were built.
    fn names(&self) -> Result<Vec<String>> {
        Ok(self.cases()?.map(|(name, _)| name).collect())
    }

    /// Every test in the programs that were built, whether it is selected or not.
    fn cases(&self) -> Result<impl Iterator<Item = (String, Case)>> {
        let mut list = self.command("list");
        list.args(["--run-ignored", "all", "--cargo-quiet", "--message-format", "json"]);
        let output = list.stderr(Stdio::inherit()).output()?;
        let listing: Listing =
            serde_json::from_slice(&output.stdout).context("nextest does not list the tests")?;
        Ok(listing.rust_suites.into_values().flat_map(|suite| suite.testcases))
    }

    fn run(&self, args: &Test, with_lab: bool) -> Result<Report> {
        let junit = workspace().join("target/nextest").join(PROFILE).join("junit.xml");
        let _ = std::fs::remove_file(&junit);
        let mut run = self.command("run");
        run.args(["--cargo-quiet", "--no-fail-fast"]);
        if with_lab {
            run.args(["--run-ignored", "all"]);
            run.env("NIXOCI_LAB", std::env::current_exe()?);
            // Made for a minute whenever a crate has changed: not for tests that do without.
            let tests = self.ignored()?;
            let need = |word: &str| tests.iter().any(|name| name.contains(word));
            if need("formats::") || need("produce") {
                run.env(lab::produce::VARIABLE, lab::produce::ensure()?);
            }
            if need("plugins::") {
                run.env(lab::plugins::VARIABLE, lab::plugins::ensure()?);
            }
        }
        if let Some(times) = args.times {
            run.args(["--stress-count", &times.to_string()]);
        }
        if let Some(jobs) = args.jobs {
            run.args(["--test-threads", &jobs.to_string()]);
        }
        let status = run.status().context("cannot run nextest")?;
        let report = Report::read(&junit);
        match report {
            Ok(report) if status.success() == report.failed.is_empty() => Ok(report),
            // No test was chosen, or one did not even start: nextest has said what is wrong.
            _ => bail!("nextest ended with {status}"),
        }
    }
}

/// The examples in the documentation, which nextest does not know.
fn run_doc_tests() -> Result<Counts> {
    let mut child = Command::new(cargo())
        .args(["test", "--quiet", "--workspace", "--no-fail-fast", "--doc"])
        .current_dir(workspace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let mut counts = Counts::default();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        let program = Counts::parse_libtest(&line);
        // Most crates have no examples, and say so in four lines.
        let is_empty = line.is_empty() || line == "running 0 tests" || program == Some(Counts::default());
        if !is_empty {
            println!("{line}");
        }
        if let Some(program) = program {
            counts.add(program);
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        // An example that does not compile: no line tells of it.
        sh::say(format!("cargo test ended with {status}"));
        counts.failed += 1;
    }
    Ok(counts)
}

fn say_how_to_run_again(report: &Report) {
    if report.failed.is_empty() {
        return;
    }
    sh::say("\nfailed (each line runs that test again):");
    for name in &report.failed {
        sh::say(format!("  cargo xtask test {name}"));
    }
    sh::say("");
}
