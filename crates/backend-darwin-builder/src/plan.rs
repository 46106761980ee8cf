//! What it takes to have a Linux builder on this Mac.

use nixoci_core::backend::Cx;
use nixoci_core::plan::{ProvisionPlan, Step, StepState};
use nixoci_core::platform::NixSystem;
use nixoci_core::runner::{Command, output};
use nixoci_core::{Error, Remedy, Result};
use nixoci_nix::Machine;

use crate::error::NO_BUILDER;
use crate::{offers, reach};

/// How this Mac's Nix is managed: by that a builder is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    NixDarwin,
    Determinate,
    Nobody,
}

pub(crate) async fn plan(cx: &Cx<'_>, machines: &[Machine], want: &[NixSystem]) -> Result<ProvisionPlan> {
    let mut steps = Vec::new();
    for system in want {
        steps.push(step(cx, machines, system).await);
    }
    Ok(ProvisionPlan { steps })
}

async fn step(cx: &Cx<'_>, machines: &[Machine], system: &NixSystem) -> Step {
    let mut step = Step {
        id: format!("builder-{system}"),
        title: format!("a Linux builder builds for {system}"),
        why: "a Mac cannot build Linux derivations itself".to_owned(),
        state: StepState::Satisfied,
        effects: Vec::new(),
        needs_root: false,
        commands: Vec::new(),
    };
    let able: Vec<&Machine> = machines.iter().filter(|machine| machine.systems.contains(system)).collect();
    let mut refused = None;
    for machine in &able {
        match reach::refusal(cx, machine).await {
            None => return step,
            Some(error) => refused = Some(error),
        }
    }
    let own_cpu = system.cpu() == cx.host.system.cpu();
    step.state = match refused {
        Some(error) => StepState::Blocked { error },
        None if !machines.is_empty() || !own_cpu => {
            StepState::Blocked { error: offers::wrong_system(cx.host, machines, system) }
        }
        None => {
            step.needs_root = true;
            (step.effects, step.commands) = set_up(manager(cx).await, system);
            StepState::Pending
        }
    };
    step
}

async fn manager(cx: &Cx<'_>) -> Manager {
    let version = Command::new("determinate-nixd").arg("version");
    if output(cx.runner, &version, cx.cancel).await.is_ok() {
        return Manager::Determinate;
    }
    match cx.runner.find("darwin-rebuild").await {
        Some(_) => Manager::NixDarwin,
        None => Manager::Nobody,
    }
}

/// What is to be done, and what it changes.
///
/// Sources: nix-darwin `modules/nix/linux-builder.nix`; Determinate `modules/nix-darwin/default.nix`; nixpkgs
/// `doc/packages/darwin-builder.section.md`.
fn set_up(manager: Manager, system: &NixSystem) -> (Vec<String>, Vec<String>) {
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<String>>();
    match manager {
        Manager::NixDarwin => (
            lines(&["a virtual machine with NixOS that launchd runs, with 3 GiB of memory and 20 GiB of disk"]),
            lines(&[
                "# in your nix-darwin configuration; first without any other setting: the stock builder comes from the cache\n\
                 nix.linux-builder.enable = true;",
                "sudo darwin-rebuild switch",
            ]),
        ),
        Manager::Determinate => (
            lines(&["a virtual machine with NixOS that launchd runs"]),
            lines(&[
                "# in your nix-darwin configuration, with Determinate's module\n\
                 determinateNix.nixosVmBasedLinuxBuilder.enable = true;",
                "sudo darwin-rebuild switch",
            ]),
        ),
        Manager::Nobody => (
            lines(&[
                "a virtual machine with NixOS, for as long as its terminal is open",
                "Nix's list of builders, and ssh's configuration of the whole machine",
            ]),
            vec![
                "nix run nixpkgs#darwin.linux-builder    # in another terminal; asks for your password once".to_owned(),
                format!(
                    "echo 'ssh-ng://builder@linux-builder {system} /etc/nix/builder_ed25519 1 1 kvm,benchmark,big-parallel - \
                     {HOST_KEY}' | sudo tee -a /etc/nix/machines"
                ),
                "printf 'Host linux-builder\\n  User builder\\n  Hostname localhost\\n  HostKeyAlias linux-builder\\n  Port 31022\\n  \
                 IdentityFile /etc/nix/builder_ed25519\\n' | sudo tee /etc/ssh/ssh_config.d/100-linux-builder.conf"
                    .to_owned(),
                "sudo launchctl kickstart -k system/org.nixos.nix-daemon".to_owned(),
            ],
        ),
    }
}

/// The host key of every linux-builder, as Nix's list wants it: it is no secret, and the same everywhere.
/// Source: nixpkgs `nixos/modules/profiles/keys/ssh_host_ed25519_key.pub`.
const HOST_KEY: &str = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUpCV2N4Yi9CbGFxdDFhdU90RStGOFFVV3JVb3RpQzVxQkorVXVFV2RWQ2Igcm9vdEBuaXhvcwo=";

/// nixoci does not change how a machine is set up.
pub(crate) fn by_hand(step: &Step) -> Error {
    let error = Error::new(&NO_BUILDER, NO_BUILDER.title)
        .because("setting one up changes the whole machine: that is for its administrator");
    step.commands.iter().enumerate().fold(error, |error, (place, command)| {
        error.remedy(Remedy::command(format!("step {}", place + 1), command))
    })
}
