//! Forecasting and building: one `nix build` in the normal case.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nixoci_core::artifact::StorePath;
use nixoci_core::backend::{Cx, Forecast, Verdict};
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::{Command, Exit, GRACE, Process, Stream};
use nixoci_core::{Error, Remedy, Result, ResultExt, codes as core_codes, shell};
use tokio::io::AsyncReadExt;

use crate::cli::{self, Mode, Target};
use crate::diagnose::{Subject, diagnose};
use crate::driver::Nix;
use crate::lines::{LINE_LIMIT, Lines, caught_up};
use crate::log::Log;
use crate::lookup::{self, Candidate};
use crate::place::Place;
use crate::plan::Plan;
use crate::record::Record;
use crate::store::{BuildResult, parse_build, result_names};
use crate::{codes, log};

/// What a build made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The output.
    pub path: StorePath,
    /// The derivation that made it, unless a plain store path was asked for.
    pub drv: Option<StorePath>,
    /// The full attribute that was built (`packages.x86_64-linux.container`).
    pub attribute: Option<String>,
    /// Which of [`BuildRequest::prefer`] was found and built instead of the output itself.
    pub preferred: Option<String>,
}

impl Nix {
    /// What a build would do: evaluates, and asks Nix for its plan. Builds nothing, except what the evaluation
    /// itself needs.
    ///
    /// # Errors
    /// As [`Nix::build`], without those of building.
    pub async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest) -> Result<Forecast> {
        let candidates = lookup::candidates(request, cx.host)?;
        // Another machine's store cannot plan before it has the derivations, and a forecast sends nothing.
        let here = if let Place::Machine(_) = self.place() { &self.at(Place::Own) } else { self };
        let (candidate, result, mut record) = here.first(cx, request, candidates, &Mode::DryRun).await?;
        if let (Place::Machine(_), Some(output)) = (self.place(), &result.path)
            && self.path_info(cx, std::slice::from_ref(output), false).await.is_ok()
        {
            record.plan = Plan::default();
        }
        Ok(Forecast {
            drv: result.drv,
            attribute: candidate.target.attribute().map(str::to_owned),
            output: result.path,
            will_build: unique(record.plan.build),
            will_fetch: unique(record.plan.fetch),
            download_bytes: record.plan.download_bytes,
            cost: None,
            known: None,
            verdict: Verdict::Go,
        })
    }

    /// Evaluates on this host, without building or asking any store for outputs: the derivation, and the attribute that was
    /// found. Nothing for what takes more than that, and for what is wrong: a build says what.
    ///
    /// # Errors
    /// [`nixoci_core::codes::CANCELLED`].
    pub(crate) async fn evaluate(
        &self,
        cx: &Cx<'_>,
        request: &BuildRequest,
    ) -> Result<Option<(StorePath, Option<String>)>> {
        let Ok(candidates) = lookup::candidates(request, cx.host) else { return Ok(None) };
        for candidate in candidates {
            let attribute = candidate.target.attribute().map(str::to_owned);
            let Some(command) = cli::derivation_path(self, &candidate.target, &request.flags) else { break };
            let run = self.run(cx, &command).await?;
            if run.exit.success() {
                let drv = run.stdout.trim().parse().ok().filter(StorePath::is_derivation);
                return Ok(drv.map(|drv| (drv, attribute)));
            }
            if !lookup::is_missing(&run.record, &candidate.target) {
                break;
            }
        }
        Ok(None)
    }

    /// Builds, and makes `root` a garbage collector root of the output: a symlink to it.
    ///
    /// One Nix process, unless an attribute is not where it is looked up first. A forecast spares the lookup.
    ///
    /// # Errors
    /// What keeps Nix from evaluating ([`codes::NO_ATTRIBUTE`] and others, exit 41) or building
    /// ([`codes::BUILD_FAILED`] and others, exit 40), [`codes::PLATFORM`],
    /// [`nixoci_core::codes::CANCELLED`].
    pub async fn build(
        &self,
        cx: &Cx<'_>,
        request: &BuildRequest,
        forecast: &Forecast,
        root: &Path,
    ) -> Result<Built> {
        let mut candidates = lookup::candidates(request, cx.host)?;
        if let Some(known) = &forecast.attribute {
            candidates.retain(|candidate| candidate.target.attribute() == Some(known));
        }
        if let (Place::Machine(_) | Place::Own, Some(drv), [candidate]) =
            (self.place(), &forecast.drv, candidates.as_mut_slice())
            && drv.as_path().exists()
        {
            candidate.evaluated = Some(drv.clone());
        }
        let (candidate, result, _) = self.first(cx, request, candidates, &Mode::Root(root)).await?;
        let path = result.path.ok_or_else(|| Error::new(&codes::UNEXPECTED, "Nix names no output path"))?;
        let attribute = candidate.target.attribute().map(str::to_owned);
        Ok(Built { path, drv: result.drv, attribute, preferred: candidate.preferred })
    }

    /// Runs `nix build` for one candidate after the other until one exists.
    async fn first(
        &self,
        cx: &Cx<'_>,
        request: &BuildRequest,
        candidates: Vec<Candidate>,
        mode: &Mode<'_>,
    ) -> Result<(Candidate, BuildResult, Record)> {
        let mut missing = None;
        for candidate in candidates {
            // What is evaluated already is not evaluated again.
            let evaluated = candidate.evaluated.clone().map(Target::Store);
            let target = evaluated.as_ref().unwrap_or(&candidate.target);
            let command = cli::build(self, target, &request.flags, mode);
            let run = self.run(cx, &command).await?;
            if run.exit.success() {
                exactly_one(&run.stdout, &candidate.target)?;
                let result = parse_build(&run.stdout).map_err(|why| self.unexpected(&command, &why))?;
                return Ok((candidate, result, run.record));
            }
            let subject = Subject::build(cx.host, request, &candidate.target).at(self.place());
            let error = diagnose(&run.record, &subject);
            if !lookup::is_missing(&run.record, &candidate.target) {
                return Err(error);
            }
            missing.get_or_insert(error);
        }
        let error =
            missing.unwrap_or_else(|| Error::new(&codes::NO_ATTRIBUTE, "nothing of that name can be built"));
        Err(self.explain_missing(cx, request, error).await)
    }

    /// Runs a Nix command that logs in internal-json, to its end.
    pub(crate) async fn run(&self, cx: &Cx<'_>, command: &Command) -> Result<Run> {
        let mut process = cx.runner.spawn(command).await?;
        let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
        let mut log = Log::new(cx.observer, Record::new(cx.dirs.state.join("logs")));
        let mut answer = Vec::new();
        let exit = tokio::select! {
            exit = to_the_end(process.as_mut(), stdout, stderr, &mut answer, &mut log) => exit?,
            () = cx.cancel.cancelled() => {
                process.stop(GRACE).await?;
                drop(log.finish(false));
                return Err(Error::new(&core_codes::CANCELLED, "the build was stopped"));
            }
        };
        let stdout = String::from_utf8_lossy(&answer).into_owned();
        Ok(Run { exit, stdout, record: log.finish(exit.success()) })
    }
}

/// A file may yield several derivations, or none: Nix builds them all, and calls both a success.
fn exactly_one(answer: &str, target: &Target) -> Result<()> {
    let (Target::File { file, .. }, Some(names)) = (target, result_names(answer)) else { return Ok(()) };
    let here = std::env::current_dir().unwrap_or_default();
    let file = file.strip_prefix(&here).unwrap_or(file);
    let shown = file.display();
    let one = Remedy::command("name one", shell!("nixoci build -f {} ATTRIBUTE", file));
    match names.as_slice() {
        [_] => Ok(()),
        [] if file.file_name().is_some_and(|name| name == "flake.nix") => {
            // A word that begins with neither a dot nor a slash would be looked up in the flake registry.
            let dir = Path::new(".").join(file.parent().unwrap_or(Path::new("")));
            let dir: PathBuf = dir.components().collect();
            let attribute = format!("{}#ATTRIBUTE", dir.display());
            Err(Error::new(&codes::NOT_A_DERIVATION, format!("`{shown}` is a flake, and not for -f"))
                .remedy(Remedy::command("build it as a flake", shell!("nixoci build {}", attribute))))
        }
        [] => {
            Err(Error::new(&codes::NOT_A_DERIVATION, format!("`{shown}` yields nothing that can be built"))
                .because("there is no derivation in it, at least not at its top")
                .remedy(one))
        }
        several => {
            let text = format!("`{shown}` yields {} things that can be built", several.len());
            Err(Error::new(&codes::NOT_A_DERIVATION, text).because(several.join(", ")).remedy(one))
        }
    }
}

/// What a Nix command that logs in internal-json came to.
pub(crate) struct Run {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) record: Record,
}

/// Results are a few hundred bytes.
const ANSWER_LIMIT: u64 = 16 << 20;

async fn to_the_end(
    process: &mut dyn Process,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    answer: &mut Vec<u8>,
    log: &mut log::Log<'_>,
) -> Result<Exit> {
    let ended = AtomicBool::new(false);
    let read = async {
        let answer = async {
            match stdout {
                Some(stdout) => stdout.take(ANSWER_LIMIT).read_to_end(answer).await.map(drop),
                None => Ok(()),
            }
        };
        let log = async {
            let Some(stderr) = stderr else { return Ok(()) };
            let mut lines = Lines::new(stderr, LINE_LIMIT);
            while let Some(line) = lines.next().await? {
                log.hear(line);
                caught_up(log.observer(), &ended).await;
            }
            Ok(())
        };
        tokio::try_join!(answer, log)
    };
    tokio::pin!(read);
    let exit = tokio::select! {
        biased;
        result = &mut read => {
            result.or_error(&core_codes::PROCESS, || "what Nix says could not be read")?;
            return process.wait().await;
        }
        exit = process.wait() => exit?,
    };
    ended.store(true, Ordering::Relaxed);
    // What Nix wrote before its end is still in the pipes; but a process it left behind, such as a shared ssh
    // connection, may hold them open for ever.
    let _ = tokio::time::timeout(Duration::from_secs(1), read).await;
    Ok(exit)
}

fn unique(paths: Vec<StorePath>) -> Vec<StorePath> {
    let mut seen = HashSet::new();
    paths.into_iter().filter(|path| seen.insert(path.clone())).collect()
}
