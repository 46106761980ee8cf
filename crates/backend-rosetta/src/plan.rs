//! What it takes to have a builder for both CPUs.

use std::path::Path;

use nixoci_core::backend::Cx;
use nixoci_core::event::{Event, Stage};
use nixoci_core::host::Host;
use nixoci_core::plan::{ProvisionPlan, Step, StepState};
use nixoci_core::platform::NixSystem;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Remedy, Result};
use nixoci_nix::mac::{Manager, SetUp, refusal, set_up, wrong_system};
use nixoci_nix::sudo;

use crate::Rosetta;
use crate::error::{INTEL, MISSING, NONE};

/// What macOS installs. Source: Nix, `src/libstore/globals.cc`, which looks for the same file.
const RUNTIME: &str = "/Library/Apple/usr/libexec/oah/libRosettaRuntime";
/// What installs it.
pub(crate) const INSTALL: &str = "sudo softwareupdate --install-rosetta --agree-to-license";
/// The step that nixoci carries out.
pub(crate) const ROSETTA: &str = "rosetta";

/// An Intel Mac is told what to use instead.
pub(crate) fn require_apple_silicon(host: &Host) -> Result<()> {
    nixoci_nix::mac::require_mac(host)?;
    if host.system.cpu() == "aarch64" {
        return Ok(());
    }
    Err(Error::new(&INTEL, "Rosetta runs on Apple silicon only, and this is an Intel Mac")
        .remedy(Remedy::command(
            "linux/amd64 is this Mac's own: build it with its Linux builder",
            "nixoci build --backend darwin-builder --platform linux/amd64",
        ))
        .remedy(Remedy::lines(
            "for linux/arm64, name a machine that builds it, in nixoci.toml",
            "[backend.remote]\nbuilders = [{ host = \"me@box\" }]",
        )))
}

pub(crate) fn is_installed(host: &Host) -> bool {
    host.read(Path::new(RUNTIME), 1).is_ok()
}

/// Whether Rosetta matters for this system and is not there.
pub(crate) fn lacks_rosetta(host: &Host, system: &NixSystem) -> bool {
    system.cpu() == "x86_64" && !is_installed(host)
}

pub(crate) fn missing() -> Error {
    Error::new(&MISSING, MISSING.title).remedy(Remedy::command("install it", INSTALL))
}

pub(crate) async fn plan(cx: &Cx<'_>, rosetta: &Rosetta, want: &[NixSystem]) -> Result<ProvisionPlan> {
    require_apple_silicon(cx.host)?;
    let mut steps = Vec::new();
    if want.iter().any(|system| lacks_rosetta(cx.host, system)) {
        steps.push(install_rosetta());
    }
    for system in want {
        steps.push(builder(cx, rosetta, system).await?);
    }
    Ok(ProvisionPlan { steps, instead: Vec::new() })
}

fn install_rosetta() -> Step {
    Step {
        effects: vec!["Apple's software update installs it on this Mac".to_owned()],
        needs_root: true,
        commands: vec![INSTALL.to_owned()],
        ..Step::new(ROSETTA, "install Rosetta", "x86_64 programs are translated by it", StepState::Pending)
    }
}

async fn builder(cx: &Cx<'_>, rosetta: &Rosetta, system: &NixSystem) -> Result<Step> {
    let machines = rosetta.builders.machines(cx).await?;
    let mut step = Step::new(
        format!("builder-{system}"),
        format!("a builder for both CPUs builds for {system}"),
        "a Mac cannot build Linux derivations itself",
        StepState::Satisfied,
    );
    let mut refused = None;
    for machine in machines.iter().filter(|machine| machine.systems.contains(system)) {
        match refusal(cx, machine).await {
            None => {
                match rosetta.builders.way(cx, system).await {
                    Ok(way) => step.title = format!("{} ({})", step.title, way.words()),
                    Err(error) => step.state = StepState::Blocked { error },
                }
                return Ok(step);
            }
            Some(error) => refused = Some(error),
        }
    }
    step.state = match refused {
        Some(error) => StepState::Blocked { error },
        None if !machines.is_empty() => StepState::Blocked { error: wrong_system(cx.host, machines, system) },
        None => {
            let SetUp { effects, commands } = set_up(Manager::of(cx).await, system, true, &rosetta.vm);
            (step.effects, step.commands, step.needs_root) = (effects, commands, true);
            StepState::Pending
        }
    };
    Ok(step)
}

/// Has Apple's software update install it.
pub(crate) async fn install(cx: &Cx<'_>) -> Result<()> {
    let text = "installing Rosetta".to_owned();
    cx.observer.observe(Event::Stage { stage: Stage::Provision, system: None, text });
    let command = Command::new("softwareupdate").args(["--install-rosetta", "--agree-to-license"]);
    sudo::run(cx, &command).await.map_err(|error| error.context("Rosetta was not installed"))?;
    if is_installed(cx.host) { Ok(()) } else { Err(missing()) }
}

/// Setting up a builder is the administrator's.
pub(crate) fn by_hand(step: &Step) -> Error {
    let error = Error::new(&NONE, NONE.title)
        .because("setting one up changes the whole machine: that is for its administrator");
    step.commands.iter().enumerate().fold(error, |error, (place, command)| {
        error.remedy(Remedy::command(format!("step {}", place + 1), command))
    })
}
