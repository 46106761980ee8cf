//! What it takes to have a Linux builder on this Mac.

use nixoci_core::backend::Cx;
use nixoci_core::plan::{ProvisionPlan, Step, StepState};
use nixoci_core::platform::NixSystem;
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
    // Determinate first: nix-darwin's own settings for Nix are off beside it.
    for (program, manager) in
        [("determinate-nixd", Manager::Determinate), ("darwin-rebuild", Manager::NixDarwin)]
    {
        if cx.runner.find(program).await.is_some() {
            return manager;
        }
    }
    Manager::Nobody
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use async_trait::async_trait;
    use nixoci_core::runner::{Command, Process, Runner};
    use nixoci_testkit::World;

    use super::*;
    use crate::error::WRONG_SYSTEM;

    /// A Mac with these programs, none of which may be run.
    #[derive(Debug)]
    struct Programs(&'static [&'static str]);

    #[async_trait]
    impl Runner for Programs {
        async fn spawn(&self, command: &Command) -> Result<Box<dyn Process>> {
            panic!("{command} was run")
        }
        async fn find(&self, program: &str) -> Option<PathBuf> {
            self.0.contains(&program).then(|| program.into())
        }
    }

    async fn first_step(programs: &'static [&'static str], machines: &str, want: &str) -> Step {
        let world = World::new("aarch64-darwin", Box::new(Programs(programs))).unwrap();
        let machines = Machine::list(&world.host, &world.host.system, machines);
        let want: NixSystem = want.parse().unwrap();
        plan(&world.cx(), &machines, std::slice::from_ref(&want)).await.unwrap().steps.remove(0)
    }

    #[tokio::test]
    async fn the_steps_are_those_of_whoever_manages_the_mac() {
        for (programs, wanted) in [
            (&["darwin-rebuild"][..], "nix.linux-builder.enable = true;"),
            (
                &["darwin-rebuild", "determinate-nixd"],
                "determinateNix.nixosVmBasedLinuxBuilder.enable = true;",
            ),
            (&[], "nix run nixpkgs#darwin.linux-builder"),
        ] {
            let step = first_step(programs, "", "aarch64-linux").await;
            assert!(matches!(step.state, StepState::Pending) && step.needs_root, "{step:?}");
            assert!(step.commands[0].contains(wanted), "{step:?}");
            // It is root in disguise, and needless.
            assert!(!step.commands.concat().contains("trusted-users"));
            assert!(by_hand(&step).is(&NO_BUILDER));
        }
    }

    #[tokio::test]
    async fn a_builder_of_another_cpu_needs_more_than_a_builder() {
        let registered = "ssh-ng://builder@linux-builder aarch64-linux /etc/nix/builder_ed25519";
        let step = first_step(&["darwin-rebuild"], registered, "x86_64-linux").await;
        let StepState::Blocked { error } = step.state else { panic!("{step:?}") };
        assert!(error.is(&WRONG_SYSTEM));
        assert_eq!(error.report().causes, ["linux-builder builds for aarch64-linux"]);
        assert!(error.report().remedies[0].command.as_ref().unwrap().contains("linux-builder-vz"));
    }

    #[tokio::test]
    async fn a_builder_that_a_connection_would_start_is_not_asked() {
        // Not even ssh is: our runner does not run it.
        let registered = "ssh-ng://rosetta-builder aarch64-linux,x86_64-linux";
        assert!(matches!(first_step(&[], registered, "x86_64-linux").await.state, StepState::Satisfied));
    }
}
