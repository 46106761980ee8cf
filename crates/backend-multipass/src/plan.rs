//! What it takes to have a virtual machine that builds.

use nixoci_core::backend::Cx;
use nixoci_core::plan::{ProvisionPlan, Step, StepState};
use nixoci_core::platform::NixSystem;
use nixoci_core::text::{bytes, count};
use nixoci_core::{Error, shell};
use nixoci_nix::guest::Facts;
use nixoci_nix::guest::installer::{Pinned, VERSION};

use crate::driver::State;
use crate::grow::Growth;
use crate::machine::{Machine, host_memory};
use crate::receipt::Receipt;
use crate::settings::{Settings, Transport};

pub(crate) const MACHINE: &str = "multipass-machine";
pub(crate) const NIX: &str = "multipass-nix";
pub(crate) const GROW: &str = "multipass-grow";

/// How things stand.
pub(crate) enum Standing {
    /// Multipass knows no such instance.
    Absent,
    /// It sleeps, and nixoci knows what it is.
    Asleep,
    /// It is in this state, and cannot be looked into.
    Shut(State),
    /// It runs, and this is what is in it.
    Awake(Facts),
    /// It cannot be used.
    Refused(Error),
}

pub(crate) async fn standing(cx: &Cx<'_>, machine: &Machine<'_>) -> nixoci_core::Result<Standing> {
    let receipt = Receipt::read(cx, &machine.settings.instance);
    Ok(match machine.state(cx).await? {
        None => Standing::Absent,
        Some(State::Running) => match machine.look_only(cx).await {
            Ok(facts) => Standing::Awake(facts),
            Err(error) => Standing::Refused(error),
        },
        Some(State::Stopped | State::Suspended) if is_current(receipt.as_ref(), machine.settings) => {
            Standing::Asleep
        }
        Some(State::Deleted) if receipt.is_none() => Standing::Refused(machine.deleted()),
        Some(State::Unknown) if receipt.is_none() => Standing::Refused(machine.not_ours()),
        Some(State::Unavailable) => Standing::Refused(machine.zone_off()),
        Some(state) => Standing::Shut(state),
    })
}

/// Whether what was set up is what is wanted now.
pub(crate) fn is_current(receipt: Option<&Receipt>, settings: &Settings) -> bool {
    receipt.is_some_and(|receipt| receipt.stamp == stamp(settings))
}

pub(crate) fn stamp(settings: &Settings) -> String {
    settings.set_up(None, None).stamp()
}

pub(crate) async fn plan(
    cx: &Cx<'_>,
    settings: &Settings,
    standing: Standing,
    growth: Option<Growth>,
) -> ProvisionPlan {
    let receipt = Receipt::read(cx, &settings.instance);
    let system = receipt.map_or_else(|| cx.host.system.to_linux(), |receipt| receipt.system);
    let mut steps = match standing {
        Standing::Absent => vec![launch(cx, settings).await, nix(settings, &system, StepState::Pending)],
        Standing::Asleep => {
            let name = &settings.instance;
            let asleep = || StepState::Unknown {
                would_need: format!("the virtual machine {name}, which is off; a build starts it"),
            };
            vec![
                machine(format!("the virtual machine {name} is there"), asleep()),
                nix(settings, &system, asleep()),
            ]
        }
        Standing::Shut(state) => vec![
            wake(settings, &state),
            nix(settings, &system, StepState::Unknown { would_need: "the virtual machine".to_owned() }),
        ],
        Standing::Awake(facts) => {
            let current = facts.stamp == stamp(settings) && !facts.nix.is_empty();
            vec![
                machine(described(settings, &facts), StepState::Satisfied),
                match (current, facts.nix.is_empty()) {
                    (true, _) => nix(settings, &facts.system, StepState::Satisfied),
                    (false, true) => nix(settings, &facts.system, StepState::Pending),
                    // Nix is there, so that nothing is downloaded.
                    (false, false) => Step {
                        effects: Vec::new(),
                        title: "set Nix there up as this nixoci and its settings want it".to_owned(),
                        ..nix(settings, &facts.system, StepState::Pending)
                    },
                },
            ]
        }
        Standing::Refused(error) => {
            vec![machine(
                format!("the use of the virtual machine {}", settings.instance),
                StepState::Blocked { error },
            )]
        }
    };
    steps.extend(growth.map(|growth| growth.step(settings)));
    ProvisionPlan { steps, instead: Vec::new() }
}

fn described(settings: &Settings, facts: &Facts) -> String {
    let gib = |bytes: u64| bytes.div_ceil(1 << 30);
    format!(
        "the virtual machine {} runs ({}, {}, {} GiB of memory, {} of {} GiB of disk free)",
        settings.instance,
        facts.release,
        count(facts.cpus.try_into().unwrap_or(usize::MAX), "CPU"),
        gib(facts.memory.total),
        facts.disk.free >> 30,
        gib(facts.disk.total)
    )
}

fn machine(title: String, state: StepState) -> Step {
    Step::new(MACHINE, title, "the image is built there: a Mac cannot build Linux derivations itself", state)
}

async fn launch(cx: &Cx<'_>, settings: &Settings) -> Step {
    let (cpus, memory) = (settings.cpus(cx), settings.memory(host_memory(cx).await));
    let title = format!("launch the virtual machine {} with Ubuntu {}", settings.instance, settings.image);
    let mut step = machine(title, StepState::Pending);
    let idle = if settings.idle.0.is_zero() {
        "it runs until somebody stops it".to_owned()
    } else {
        format!("it switches itself off when nobody has used it for {}", settings.idle)
    };
    step.effects = vec![
        format!(
            "Ubuntu's image is downloaded once (about 600 MB), and a virtual machine runs with {}, {memory} of memory and up to {} of disk",
            count(cpus.try_into().unwrap_or(usize::MAX), "CPU"),
            settings.disk
        ),
        "its disk takes what is in it: about 3 GB with Nix, and what was built".to_owned(),
        format!("{idle}; `nixoci provision --backend multipass --stop` and `--remove` put it away"),
    ];
    step.commands = vec![shell!(
        "multipass launch {} --name {} --cpus {} --memory {} --disk {} --timeout {} --cloud-init -",
        settings.image,
        settings.instance,
        cpus.to_string(),
        memory.argument(),
        settings.disk.argument(),
        settings.timeout.to_string()
    )];
    step
}

fn wake(settings: &Settings, state: &State) -> Step {
    let name = &settings.instance;
    let (title, commands) = match state {
        State::Deleted => (
            format!("recover the virtual machine {name}, and start it"),
            vec![shell!("multipass recover {}", name), shell!("multipass start {}", name)],
        ),
        State::Unknown => (
            format!("switch the virtual machine {name} off and on, which does not answer"),
            vec![shell!("multipass stop --force {}", name), shell!("multipass start {}", name)],
        ),
        State::Changing => {
            (format!("wait for the virtual machine {name}, which is starting or stopping"), Vec::new())
        }
        _ => (format!("start the virtual machine {name}"), vec![shell!("multipass start {}", name)]),
    };
    Step { commands, ..machine(title, StepState::Pending) }
}

/// The step that installs Nix, in a guest of this system.
fn nix(settings: &Settings, system: &NixSystem, state: StepState) -> Step {
    let qemu = if settings.emulate { ", and qemu for the other CPU's programs" } else { "" };
    let how = match (&settings.installer, settings.has_old_package()) {
        (Some(installer), _) => format!("install Nix there with {installer}"),
        (None, Some(true)) => format!("install Nix {VERSION} there with NixOS's installer"),
        (None, Some(false)) => "install Nix there, from Ubuntu's package".to_owned(),
        (None, None) => {
            "install Nix there, from the release's package, or with NixOS's installer if that is too old"
                .to_owned()
        }
    };
    let is_pending = matches!(state, StepState::Pending);
    let title = match is_pending {
        true => format!("{how}{qemu}"),
        false => format!("Nix is installed there, and set up{qemu}"),
    };
    let why = match settings.transport {
        Transport::Guest => "it evaluates and builds in the virtual machine: this machine needs no Nix",
        Transport::Store => "this machine's Nix evaluates, and builds in its store by ssh",
    };
    let downloaded = |pinned: Pinned| {
        let size = bytes(pinned.size);
        format!("{} ({size}, SHA-256 {}) is downloaded there, and run as root", pinned.url(), pinned.sha256)
    };
    let effects = settings.fallback(system).filter(|_| is_pending).map(downloaded);
    Step { effects: effects.into_iter().collect(), ..Step::new(NIX, title, why, state) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_downloaded_and_run_is_in_the_plan() {
        let step = |image: &str, installer: Option<&str>| {
            let settings = Settings {
                image: image.to_owned(),
                installer: installer.map(str::to_owned),
                ..Settings::default()
            };
            nix(&settings, &"aarch64-linux".parse().unwrap(), StepState::Pending)
        };
        for old in ["22.04", "24.04", "noble", "release:24.04", "daily:jammy"] {
            let step = step(old, None);
            assert_eq!(step.title, "install Nix 2.35.2 there with NixOS's installer", "{old}");
            let [effect] = &step.effects[..] else { panic!("{step:?}") };
            assert!(
                effect.contains("2.35.2/nix-installer-aarch64-linux (32.5 MB, SHA-256 a1b35e56"),
                "{effect}"
            );
        }
        assert!(step("26.04", None).effects.is_empty());
        let unknown = step("file:///image", None);
        assert!(unknown.title.contains("if that is too old") && unknown.effects.len() == 1, "{unknown:?}");
        let given = step("24.04", Some("/installer"));
        assert!(given.title == "install Nix there with /installer" && given.effects.is_empty(), "{given:?}");
    }
}
