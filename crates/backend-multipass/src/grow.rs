//! A bigger virtual machine, for a build that did not fit.

use nixoci_core::backend::{Amendment, Cx};
use nixoci_core::plan::{ProvisionPlan, Step, StepState};
use nixoci_core::{Error, Remedy, Result, shell};
use nixoci_nix::guest::Facts;
use nixoci_nix::guest::codes::{DISK_FULL, OUT_OF_MEMORY};

use crate::machine::Machine;
use crate::plan::GROW;
use crate::settings::{OnOom, Settings};
use crate::size::{GIB, Size};

/// What is to be bigger, and how big.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    Memory(Size),
    Disk(Size),
}

impl Growth {
    /// What would help against this error: twice as much memory, as far as this machine has it; twice as big a disk.
    pub(crate) fn against(error: &Error, facts: &Facts, host: Option<Size>) -> Option<Growth> {
        let whole = |bytes: u64| bytes.div_ceil(GIB) * GIB;
        if error.is(&OUT_OF_MEMORY) {
            let most = host.map_or(u64::MAX, |Size(bytes)| bytes / 4 * 3 / GIB * GIB);
            let wanted = whole(facts.memory.total * 2).min(most);
            // Less than half as much again would be for nothing.
            return (wanted >= facts.memory.total / 2 * 3).then_some(Growth::Memory(Size(wanted)));
        }
        error.is(&DISK_FULL).then_some(Growth::Disk(Size(whole(facts.disk.total * 2))))
    }

    /// What is bigger in the settings than in the machine. It says a little less than it has.
    pub(crate) fn wanted(settings: &Settings, facts: &Facts) -> Option<Growth> {
        let less = |has: u64, size: Size| has + has / 5 < size.0;
        let memory = settings.memory.filter(|memory| less(facts.memory.total, *memory)).map(Growth::Memory);
        memory.or_else(|| less(facts.disk.total, settings.disk).then_some(Growth::Disk(settings.disk)))
    }

    /// What is smaller in the settings than in the machine, which nixoci does not take away: what there is to say, and to type.
    pub(crate) fn smaller(settings: &Settings, facts: &Facts) -> Vec<(String, Vec<Remedy>)> {
        let name = &settings.instance;
        let more = |has: u64, size: Size| size.0 + size.0 / 5 < has;
        let text = |what: &str, size: Size, has: u64| {
            format!(
                "[backend.multipass] {what} = \"{}\", and the virtual machine {name} has {} all the same",
                size.argument(),
                Size(has)
            )
        };
        let memory = settings.memory.filter(|size| more(facts.memory.total, *size)).map(|size| {
            let take =
                Remedy::command("take the rest away", Growth::Memory(size).commands(settings).join(" && "));
            (text("memory", size, facts.memory.total), vec![take])
        });
        // One that grew for a build has more than what nobody set.
        let is_set = settings.disk != Settings::default().disk;
        let disk = (is_set && more(facts.disk.total, settings.disk)).then(|| {
            let anew =
                "nixoci provision --backend multipass --remove && nixoci provision --backend multipass";
            let remedy =
                Remedy::command("a disk does not shrink: for a smaller one, make the machine anew", anew);
            (text("disk", settings.disk, facts.disk.total), vec![remedy])
        });
        memory.into_iter().chain(disk).collect()
    }

    fn setting(self) -> (&'static str, Size) {
        match self {
            Growth::Memory(size) => ("memory", size),
            Growth::Disk(size) => ("disk", size),
        }
    }

    fn commands(self, settings: &Settings) -> Vec<String> {
        let (key, size) = self.setting();
        let name = &settings.instance;
        vec![
            shell!("multipass stop {}", name),
            shell!("multipass set {}", format!("local.{name}.{key}={}", size.argument())),
            shell!("multipass start {}", name),
        ]
    }

    pub(crate) fn step(self, settings: &Settings) -> Step {
        let (key, size) = self.setting();
        let what = if key == "memory" { "of memory" } else { "of disk" };
        let title = format!("give the virtual machine {} {size} {what}", settings.instance);
        Step {
            effects: vec!["it is stopped and started; what was built so far is kept".to_owned()],
            commands: self.commands(settings),
            ..Step::new(GROW, title, "a build did not fit, or the settings say so", StepState::Pending)
        }
    }

    pub(crate) fn amendment(self, settings: &Settings) -> Option<Amendment> {
        let agreed = match settings.on_oom {
            OnOom::Ask => false,
            OnOom::Grow => true,
            OnOom::Fail => return None,
        };
        Some(Amendment {
            plan: ProvisionPlan { steps: vec![self.step(settings)], instead: Vec::new() },
            agreed,
        })
    }

    /// The commands, for somebody who does it by hand.
    pub(crate) fn remedies(self, settings: &Settings) -> Vec<Remedy> {
        let (key, size) = self.setting();
        vec![
            Remedy::command("enlarge it", self.commands(settings).join(" && ")),
            Remedy::lines(
                "or let nixoci do that, in nixoci.toml",
                format!("[backend.multipass]\non-oom = \"grow\"    # next: {key} = \"{}\"", size.argument()),
            ),
        ]
    }

    pub(crate) async fn carry_out(self, cx: &Cx<'_>, machine: &Machine<'_>) -> Result<()> {
        let (multipass, name) = (machine.multipass, machine.name());
        let (key, size) = self.setting();
        machine.connections.forget();
        multipass.stop(cx, name, false).await?;
        multipass.set(cx, name, key, &size.argument()).await?;
        multipass.start(cx, name).await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use nixoci_nix::guest::Space;

    use super::*;

    pub(crate) fn facts(memory: u64, disk: u64) -> Facts {
        let space = |total: u64| Space { free: 0, total };
        Facts {
            ours: true,
            id: String::new(),
            stamp: String::new(),
            nix: String::new(),
            environment: String::new(),
            system: "aarch64-linux".parse().unwrap(),
            release: String::new(),
            cpus: 1,
            time: 0,
            disk: space(disk),
            memory: space(memory),
            swap: space(0),
        }
    }

    #[test]
    fn what_is_to_be_smaller_is_told_and_left() {
        let mut settings = Settings::default();
        assert!(Growth::smaller(&settings, &facts(8 * GIB, 120 * GIB)).is_empty());
        (settings.memory, settings.disk) = (Some(Size(4 * GIB)), Size(20 * GIB));
        assert!(Growth::smaller(&settings, &facts(4 * GIB, 20 * GIB)).is_empty());
        let told = Growth::smaller(&settings, &facts(8 * GIB, 60 * GIB));
        assert!(told[0].0.contains("memory = \"4G\"") && told[0].0.contains("has 8 GiB"), "{told:?}");
        assert!(told[0].1[0].command.as_deref().unwrap().contains("local.nixoci.memory=4G"), "{told:?}");
        assert!(told[1].1[0].command.as_deref().unwrap().contains("--remove"), "{told:?}");
    }

    #[test]
    fn it_doubles_as_far_as_the_host_has_it() {
        let (oom, full) = (Error::new(&OUT_OF_MEMORY, "x"), Error::new(&DISK_FULL, "x"));
        let grown = |error, host| Growth::against(error, &facts(4 * GIB - 1, 60 * GIB), host);
        assert_eq!(grown(&oom, None), Some(Growth::Memory(Size(8 * GIB))));
        assert_eq!(grown(&oom, Some(Size(9 * GIB))), Some(Growth::Memory(Size(6 * GIB))));
        assert_eq!(grown(&oom, Some(Size(6 * GIB))), None);
        assert_eq!(grown(&full, None), Some(Growth::Disk(Size(120 * GIB))));
    }
}
