//! Whether a Mac's builder can be used, and waking those that sleep.

use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::event::{Event, Stage};
use nixoci_core::{Error, Remedy, Result, codes as core_codes};
use tokio::time::{Instant, sleep};

use super::Known;
use super::codes::ASLEEP;
use crate::machines::Machine;
use crate::ssh::SshHost;

/// nix-rosetta-builder takes about ten seconds on a fast machine.
const BOOT: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(500);

/// Why a builder does not answer; nothing if it does, or if asking would start it.
pub async fn refusal(cx: &Cx<'_>, machine: &Machine) -> Option<Error> {
    if wakes(machine) {
        return None;
    }
    Some(help(machine, SshHost::from(machine).refusal(cx).await?))
}

/// As [`refusal`], and whether its host key is the one in Nix's list.
pub(super) async fn trouble(cx: &Cx<'_>, machine: &Machine) -> Option<Error> {
    if wakes(machine) {
        return None;
    }
    let host = SshHost::from(machine);
    let error = match host.refusal(cx).await {
        Some(error) => error,
        None => host.other_key(cx).await?,
    };
    Some(help(machine, error))
}

/// Whether it may sleep until somebody connects.
pub(super) fn wakes(machine: &Machine) -> bool {
    Known::named(machine.host()).is_some_and(|known| known.wakes)
}

fn help(machine: &Machine, error: Error) -> Error {
    match Known::named(machine.host()) {
        Some(known) => known.help(error),
        None => by_root(machine, error),
    }
}

/// Root is who connects, with root's keys and configuration.
fn by_root(machine: &Machine, error: Error) -> Error {
    error.remedy(Remedy::command(
        "see how far ssh gets as root, who connects",
        SshHost::from(machine).by_hand_as_root().args(["-v", "true"]).to_string(),
    ))
}

/// Connects until the machine's ssh server speaks. The first connection starts it.
///
/// # Errors
/// [`ASLEEP`] with what was seen last.
pub(super) async fn wake(cx: &Cx<'_>, machine: &Machine) -> Result<()> {
    let Some(known) = Known::named(machine.host()).filter(|known| known.wakes) else { return Ok(()) };
    let host = SshHost::from(machine);
    let deadline = Instant::now() + BOOT;
    let mut told = false;
    loop {
        let Some(error) = host.refusal(cx).await else { return Ok(()) };
        if !told {
            told = true;
            let text = format!("waking up {}", known.host);
            cx.observer.observe(Event::Stage { stage: Stage::Provision, system: None, text });
        }
        if Instant::now() > deadline {
            let why = error.report().causes.join(": ");
            let text = format!("{} did not wake up within {} s", known.host, BOOT.as_secs());
            return Err(known.help(Error::new(&ASLEEP, text).because(error).because(why)));
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = cx.cancel.cancelled() => return Err(Error::new(&core_codes::CANCELLED, "waiting was stopped")),
        }
    }
}

/// Nix says that it could not connect to machines, and hides why: we look, as far as one can see from outside.
pub(crate) async fn explain(cx: &Cx<'_>, able: &[&Machine], error: Error) -> Error {
    if error.is(&crate::codes::BUILDER_LOST) {
        let lost = able.iter().filter_map(|machine| Known::named(machine.host()));
        return lost.fold(error, |error, known| known.help(error));
    }
    if error.is(&crate::codes::DISK_FULL) {
        return disk_full(able, error);
    }
    if !error.is(&crate::codes::BUILDER) {
        return error;
    }
    for machine in able {
        if let Some(cause) = SshHost::from(*machine).cause(cx).await {
            let cause = error.report().causes.iter().fold(cause, Error::because);
            return help(machine, cause);
        }
    }
    error
}

/// What the user's own ssh says is not hidden; what helps with a builder of the Mac's is added.
pub(crate) fn unreached(able: &[&Machine], error: Error) -> Error {
    let known = able.iter().find_map(|machine| Known::named(machine.host()));
    match known {
        Some(known) if error.code().starts_with("nixoci::ssh::") => known.help(error),
        _ => error,
    }
}

/// Nix does not say whose disk it is.
fn disk_full(able: &[&Machine], error: Error) -> Error {
    let vm = able.iter().find(|machine| Known::named(machine.host()).is_some());
    let Some(machine) = vm else { return error };
    let there =
        |command: &[&str]| SshHost::from(*machine).by_hand_as_root().args(command.to_vec()).to_string();
    error
        .remedy(Remedy::command("if it is the builder's: see how full it is", there(&["df", "-h", "/nix", "/tmp"])))
        .remedy(Remedy::command("empty its store", there(&["nix-collect-garbage", "-d"])))
        .remedy(Remedy::lines(
            "or give it a bigger disk, in MiB, in your nix-darwin configuration (a disk that is there does not grow: remove it, and \
             restart the builder)",
            "nix.linux-builder.config.virtualisation.darwin-builder.diskSize = 61440;\n\
             # sudo darwin-rebuild switch; sudo rm /var/lib/linux-builder/nixos.qcow2",
        ))
}
