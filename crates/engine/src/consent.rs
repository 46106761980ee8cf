//! Consent: nothing changes this machine before somebody has seen what it is and agreed.
//!
//! What was agreed to on the command line comes with the job ([`Agreed`]); for the rest somebody is asked ([`Consent`]). Who
//! that is, and whether anybody is there, is the caller's affair: this crate neither prints nor reads a terminal.

use std::path::Path;

use async_trait::async_trait;
use nixoci_core::codes::PENDING;
use nixoci_core::config::Runtime;
use nixoci_core::plan::{ProvisionPlan, Step, StepState};
use nixoci_core::platform::NixSystem;
use nixoci_core::{Error, Remedy, Result, shell};

use crate::Engine;
use crate::choose::Choice;
use crate::codes::{NOT_ENTRUSTED, NOT_REMOVED, NOT_WRITTEN};
use crate::job::{Entrust, Job};

/// What was agreed to beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Nothing is to be made ready, whatever else was agreed to (`--no-provision`).
    pub never: bool,
    /// What needs no root (`--yes`).
    pub yes: bool,
    /// Steps that need root (`--allow-root`).
    pub root: bool,
}

/// What is about to be done to this machine.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The steps that are to be done.
    Provision {
        /// Of which backend.
        backend: &'a str,
        /// All of its steps, those that are done already among them.
        plan: &'a ProvisionPlan,
    },
    /// What provisioning did is undone.
    Remove {
        /// Of which backend.
        backend: &'a str,
        /// What goes, in words.
        what: &'a [String],
    },
    /// A project's expressions, which a backend's own Nix evaluates, get the user's credentials.
    Entrust(&'a Entrust),
    /// Images of a container runtime that nixoci did not load lose their names to the project's.
    Replace {
        /// Of which runtime.
        runtime: Runtime,
        /// Their names.
        names: &'a [String],
        /// The project's file, which has the image loaded.
        file: &'a Path,
    },
    /// A file of the user's is changed.
    Write {
        /// Which.
        file: &'a Path,
        /// How, as a unified diff.
        diff: &'a str,
    },
}

/// Whoever agrees to changes.
#[async_trait]
pub trait Consent: Send + Sync {
    /// Shows what is about to be done; it was agreed to beforehand.
    fn show(&self, change: Change<'_>);

    /// Shows what is about to be done, and asks whether to. `None` where nobody can answer.
    ///
    /// # Errors
    /// [`nixoci_core::codes::CANCELLED`]; whatever keeps the answer from being read.
    async fn ask(&self, change: Change<'_>) -> Result<Option<bool>>;
}

/// Nobody is there to be asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

#[async_trait]
impl Consent for Nobody {
    fn show(&self, _: Change<'_>) {}

    async fn ask(&self, _: Change<'_>) -> Result<Option<bool>> {
        Ok(None)
    }
}

impl Agreed {
    /// Whether nobody has to be asked. Leave for root is no leave for the rest, and the other way round: they are different
    /// things to agree to.
    fn covers(self, change: Change<'_>) -> bool {
        match change {
            Change::Provision { plan, .. } => {
                plan.pending().all(|step| if step.needs_root { self.root } else { self.yes })
            }
            Change::Remove { .. } | Change::Write { .. } => self.yes,
            Change::Entrust(_) | Change::Replace { .. } => false,
        }
    }
}

/// Why something may not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Forbidden,
    Declined,
    NobodyAsked,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Refusal::Forbidden => "--no-provision forbids it",
            Refusal::Declined => "the answer was no",
            Refusal::NobodyAsked => "nobody agreed to that, and nobody can be asked here",
        }
    }
}

async fn refusal(engine: &Engine<'_>, change: Change<'_>, agreed: Agreed) -> Result<Option<Refusal>> {
    if agreed.never {
        return Ok(Some(Refusal::Forbidden));
    }
    if agreed.covers(change) {
        engine.consent.show(change);
        return Ok(None);
    }
    Ok(match engine.consent.ask(change).await? {
        Some(true) => None,
        Some(false) => Some(Refusal::Declined),
        None => Some(Refusal::NobodyAsked),
    })
}

/// Whether evaluating on this backend hands the project credentials that it has not been given yet.
pub(crate) fn has_to_entrust<'a>(
    engine: &Engine<'_>,
    choice: &Choice,
    job: &'a Job,
) -> Result<Option<&'a Entrust>> {
    let takes =
        engine.registry.require(&choice.name)?.descriptor().credentials && choice.backend.takes_credentials();
    Ok(job.credentials.as_ref().filter(|_| takes))
}

/// Has the user agree to that; whether that was necessary.
///
/// # Errors
/// [`NOT_ENTRUSTED`].
pub(crate) async fn to_entrust(engine: &Engine<'_>, choice: &Choice, job: &Job) -> Result<bool> {
    let Some(entrust) = has_to_entrust(engine, choice, job)? else { return Ok(false) };
    let reason = match engine.consent.ask(Change::Entrust(entrust)).await? {
        Some(true) => return Ok(true),
        Some(false) => "the answer was no",
        None => "nobody can be asked here",
    };
    let text = format!("{} has not been given your credentials yet", entrust.source);
    let error = Error::new(&NOT_ENTRUSTED, text)
        .because(format!("{} evaluates it with {}", choice.name, entrust.names.join(", ")))
        .because(reason);
    Err(error
        .remedy(Remedy::command("if you trust its authors, in this command", "--trust-project"))
        .remedy(Remedy::advice("or answer the question on a terminal once"))
        .remedy(Remedy::advice(
            "or, if it needs nothing private, take [credentials] out of your config.toml",
        )))
}

/// Has somebody agree to a plan's steps.
///
/// # Errors
/// [`PENDING`] with the steps, and the command that agrees to them.
pub(crate) async fn to_provision(
    engine: &Engine<'_>,
    choice: &Choice,
    plan: &ProvisionPlan,
    want: &[NixSystem],
    agreed: Agreed,
) -> Result<()> {
    let backend = choice.name.as_str();
    // What is left to the administrator is nothing to agree to.
    let mut ours = plan.clone();
    ours.steps.retain(|step| !matches!(step.state, StepState::Pending) || choice.backend.carries_out(step));
    let Some(refusal) = refusal(engine, Change::Provision { backend, plan: &ours }, agreed).await? else {
        return Ok(());
    };
    let titles: Vec<&str> = plan.pending().map(|step| step.title.as_str()).collect();
    let error = Error::new(&PENDING, format!("{backend} must be made ready first"))
        .because(format!("to do: {}", titles.join(", ")))
        .because(refusal.reason());
    // There is nothing to agree to where nixoci would do nothing.
    let agree = ours.pending().next().is_some();
    let agree = agree.then(|| Remedy::command("agree to that", command(backend, &ours, want)));
    let steps = plan.pending().enumerate().map(|(place, step)| by_hand(place + 1, step));
    Err(agree.into_iter().chain(steps).chain(plan.instead.iter().cloned()).fold(error, Error::remedy))
}

/// Has somebody agree to what would let a build that failed end well. Where nobody agrees, the build has failed.
///
/// # Errors
/// [`nixoci_core::codes::CANCELLED`].
pub(crate) async fn to_amend(
    engine: &Engine<'_>,
    backend: &str,
    plan: &ProvisionPlan,
    agreed: Agreed,
) -> Result<bool> {
    Ok(refusal(engine, Change::Provision { backend, plan }, agreed).await?.is_none())
}

/// The command that agrees to all of a plan.
fn command(backend: &str, plan: &ProvisionPlan, want: &[NixSystem]) -> String {
    let platform = |system: &NixSystem| system.to_oci().map_or(system.to_string(), |oci| oci.to_string());
    let platforms: Vec<String> = want.iter().map(platform).collect();
    let mut command = shell!("nixoci provision --backend {} --platform {}", backend, platforms.join(","));
    if plan.pending().any(|step| !step.needs_root) {
        command.push_str(" --yes");
    }
    if plan.pending().any(|step| step.needs_root) {
        command.push_str(" --allow-root");
    }
    command
}

fn by_hand(number: usize, step: &Step) -> Remedy {
    let root = if step.needs_root { " (needs root)" } else { "" };
    let text = format!("by hand, step {number}: {}{root}", step.title);
    if step.commands.is_empty() {
        Remedy::advice(text)
    } else {
        Remedy::command(text, step.commands.join("\n"))
    }
}

/// Has somebody agree that what provisioning did is undone.
///
/// # Errors
/// [`NOT_REMOVED`] with the command that agrees to it.
pub(crate) async fn to_remove(
    engine: &Engine<'_>,
    backend: &str,
    what: &[String],
    agreed: Agreed,
) -> Result<()> {
    let Some(refusal) = refusal(engine, Change::Remove { backend, what }, agreed).await? else {
        return Ok(());
    };
    let command = shell!("nixoci provision --backend {} --remove --yes", backend);
    Err(Error::new(&NOT_REMOVED, format!("nothing of {backend} was removed"))
        .because(refusal.reason())
        .remedy(Remedy::command("agree to that", command)))
}

/// Has somebody agree that a file of theirs is changed.
///
/// # Errors
/// `nixoci::provision::not_written` with the command that agrees to it.
pub async fn to_write(engine: &Engine<'_>, file: &Path, diff: &str, agreed: Agreed) -> Result<()> {
    let Some(refusal) = refusal(engine, Change::Write { file, diff }, agreed).await? else {
        return Ok(());
    };
    Err(Error::new(&NOT_WRITTEN, format!("{} was not changed", file.display()))
        .because(refusal.reason())
        .remedy(Remedy::command("agree to the change", shell!("nixoci provision --write {} --yes", file))))
}
