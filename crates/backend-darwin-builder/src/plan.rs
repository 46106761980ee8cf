//! What it takes to have a Linux builder on this Mac.

use nixoci_core::backend::Cx;
use nixoci_core::plan::{ProvisionPlan, Step, StepState};
use nixoci_core::platform::NixSystem;
use nixoci_core::{Error, Remedy, Result};
use nixoci_nix::Machine;
use nixoci_nix::mac::{MacBuilders, Manager, SetUp, Vm, refusal, set_up, wrong_system};

use crate::error::NO_BUILDER;

pub(crate) async fn plan(
    cx: &Cx<'_>,
    builders: &MacBuilders,
    vm: &Vm,
    want: &[NixSystem],
) -> Result<ProvisionPlan> {
    let (machines, external) = (builders.machines(cx).await?, builders.external(cx).await?);
    let mut steps = Vec::new();
    for system in want {
        let by_program = external.iter().find(|builder| builder.systems.contains(system));
        if let Some(builder) = by_program {
            steps.push(satisfied(system, &builder.program));
            continue;
        }
        let mut step = step(cx, machines, system, vm).await;
        if matches!(step.state, StepState::Satisfied) {
            match builders.way(cx, system).await {
                Ok(way) => step.title = format!("{} ({})", step.title, way.words()),
                Err(error) => step.state = StepState::Blocked { error },
            }
        }
        steps.push(step);
    }
    Ok(ProvisionPlan { steps, instead: Vec::new() })
}

/// Nix has the program build.
fn satisfied(system: &NixSystem, program: &str) -> Step {
    let title = format!("{program} builds for {system} (external-builders)");
    builds(system, title)
}

fn builds(system: &NixSystem, title: String) -> Step {
    let why = "a Mac cannot build Linux derivations itself";
    Step::new(format!("builder-{system}"), title, why, StepState::Satisfied)
}

async fn step(cx: &Cx<'_>, machines: &[Machine], system: &NixSystem, vm: &Vm) -> Step {
    let mut step = builds(system, format!("a Linux builder builds for {system}"));
    let able: Vec<&Machine> = machines.iter().filter(|machine| machine.systems.contains(system)).collect();
    let mut refused = None;
    for machine in &able {
        match refusal(cx, machine).await {
            None => return step,
            Some(error) => refused = Some(error),
        }
    }
    let own_cpu = system.cpu() == cx.host.system.cpu();
    step.state = match refused {
        Some(error) => StepState::Blocked { error },
        None if !machines.is_empty() || !own_cpu => {
            StepState::Blocked { error: wrong_system(cx.host, machines, system) }
        }
        None => {
            step.needs_root = true;
            let SetUp { effects, commands } = set_up(Manager::of(cx).await, system, false, vm);
            (step.effects, step.commands) = (effects, commands);
            StepState::Pending
        }
    };
    step
}

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

    use nixoci_nix::mac::codes::WRONG_SYSTEM;

    use super::*;

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
        step(&world.cx(), &machines, &want.parse().unwrap(), &Vm::default()).await
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
