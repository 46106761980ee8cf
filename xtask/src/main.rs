//! The project's own tools: `cargo xtask …`. Nothing in here is shipped.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for developers that talks on its terminal"
)]

mod bench;
mod codegen;
mod darwin;
mod demo;
mod fuzz;
mod lab;
mod sh;
mod test;
#[cfg(test)]
mod tidy;
mod tools;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// The project's own tools
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Makes a machine with Nix and Docker, builds an image with nixoci, and runs it
    Demo,
    /// Runs every test, or those that are named; the last line counts them
    Test(test::Test),
    /// Checks licenses and sources of everything that the product is made of
    Deny,
    /// Checks that the product compiles for macOS
    CheckDarwin,
    /// Writes docs/reference from what the program knows: commands, flags, codes, schemas
    Codegen {
        /// Only say whether it is current
        #[arg(long)]
        check: bool,
    },
    /// Times nixoci beside the commands people type today, in the lab; writes docs/benchmarks.md
    Bench {
        /// Which part: `build`, `plugins`, or `images` or `builders` with a word of the comparisons that are to run [default: all]
        part: Vec<String>,
    },
    /// Builds the fuzz targets and runs each for a while
    Fuzz(fuzz::Fuzz),
    /// The part of `bench` that runs on an emulated host
    #[command(hide = true)]
    BenchInside {
        /// Which comparison of builders
        #[arg(long)]
        builders: Option<usize>,
        /// Which image comparison; without it those of builds
        case: Option<usize>,
        /// Where the images lie
        images: Option<PathBuf>,
    },
    /// The test lab: emulated hosts with real Nix and real Docker
    #[command(subcommand)]
    Lab(lab::Lab),
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<i32> {
    match &args.command {
        Task::Demo => demo::run(),
        Task::Test(args) => test::run(args),
        Task::Deny => tools::deny(),
        Task::Codegen { check } => codegen::run(*check),
        Task::CheckDarwin => darwin::run(),
        Task::Bench { part } => bench::run(part),
        Task::Fuzz(args) => fuzz::run(args),
        Task::BenchInside { builders: Some(case), .. } => bench::builders::run_inside(*case),
        Task::BenchInside { case: Some(case), images: Some(images), .. } => {
            bench::images::run_inside(*case, images)
        }
        Task::BenchInside { .. } => bench::run_inside(),
        Task::Lab(command) => lab::run(command),
    }
}

/// The cargo that runs us, else the one on PATH.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The checkout this program was built from.
fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
