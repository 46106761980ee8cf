//! What it takes to have nixoci's own builder, as steps.

use nixoci_core::backend::Cx;
use nixoci_core::plan::{Step, StepState};
use nixoci_core::{Error, Remedy, shell};
use nixoci_nix::Idle;
use nixoci_nix::mac::{Manager, set_up};
use nixoci_nix::ssh::SshHost;

use super::dir::Dir;
use super::{ADDRESS, DISK, PORT, State, Transient};
use crate::error::{NO_BUILDER, PORT_TAKEN};

/// The steps that are nixoci's to carry out.
pub(crate) const IDS: [&str; 3] = ["keys", "program", "start"];
/// The virtual machine's program, as a flake's attribute of a Mac's system. `nixosConfig` is in every nixpkgs that has the
/// builder.
pub(super) const ATTRIBUTE: &str = "darwin.linux-builder.nixosConfig.system.build.vm";
/// Who is at the port.
pub(super) const WHO: &str = "lsof -nP -iTCP:31022 -sTCP:LISTEN";

impl Transient {
    /// The steps, in order.
    pub(crate) async fn steps(&self, cx: &Cx<'_>) -> Vec<Step> {
        let dir = Dir::of(cx);
        let mut steps = vec![keys(&dir), program(&dir), self.start_step(cx, &dir).await];
        for step in steps.iter_mut().filter(|step| matches!(step.state, StepState::Satisfied)) {
            step.effects.clear();
            step.commands.clear();
        }
        steps
    }

    /// What else leads to a builder: the administrator's ways.
    pub(crate) async fn instead(&self, cx: &Cx<'_>) -> Vec<Remedy> {
        let own = cx.host.system.to_linux();
        let manager = Manager::of(cx).await;
        let steps = set_up(manager, &own, false, &self.vm).commands;
        let number = steps.len();
        let step = |(place, command): (usize, String)| {
            let text = format!(
                "or a builder for the whole machine, which is its administrator's, step {} of {number}",
                place + 1
            );
            Remedy::command(text, command)
        };
        let explain =
            Remedy::command("why a Mac needs a builder", shell!("nixoci explain {}", NO_BUILDER.id));
        let write = (manager != Manager::Nobody).then(|| {
            let text = "or have the first of these lines added to your configuration, after you have seen the change";
            Remedy::command(text, "nixoci provision --write FILE")
        });
        steps.into_iter().enumerate().map(step).chain(write).chain([explain]).collect()
    }

    async fn start_step(&self, cx: &Cx<'_>, dir: &Dir) -> Step {
        let idle = Idle(self.idle);
        let (cpus, memory) = (self.cpus(cx), self.memory());
        let mut step =
            step("start", "start the Linux builder", "a Mac cannot build Linux derivations itself");
        step.effects = vec![
            format!(
                "a virtual machine with NixOS runs on this Mac, with {cpus} CPUs, {} of memory and up to {} GiB of disk in {}",
                mebibytes(memory),
                DISK >> 10,
                dir.vm().display()
            ),
            format!("its ssh server is at port {PORT} of this Mac"),
            format!(
                "it stops when nobody has used it for {idle}; `nixoci provision --stop` stops it, `nixoci provision --remove` \
                 removes it"
            ),
        ];
        step.commands = vec![shell!(
            "mkdir -p {} && cd {} && KEYS=\"$(nix-store --add {})\" QEMU_OPTS={} {} &",
            dir.vm(),
            dir.vm(),
            dir.authorized(),
            self.qemu(cx),
            dir.run()
        )];
        step.state = match self.state(cx).await {
            State::Answers => StepState::Satisfied,
            State::Starting | State::Stopped => StepState::Pending,
            State::PortTaken => StepState::Blocked { error: self.port_taken(cx).await },
        };
        step
    }

    /// What QEMU gets besides what the virtual machine's program gives it: of what is said twice, the last counts.
    pub(super) fn qemu(&self, cx: &Cx<'_>) -> String {
        format!("-smp {} -m {}", self.cpus(cx), self.memory())
    }

    /// Somebody else is there; who, as far as it can be seen from outside.
    async fn port_taken(&self, cx: &Cx<'_>) -> Error {
        // A look without a key.
        let stranger = SshHost { key: None, ..SshHost::from(&self.machine(cx)) };
        let error = Error::new(&PORT_TAKEN, PORT_TAKEN.title).because(format!("{ADDRESS}:{PORT} is in use"));
        let error = match stranger.cause(cx).await {
            None => error.because(
                "it is a Linux builder of nixpkgs', by its host key, that this Mac's Nix does not know",
            ),
            Some(cause) => error.because(cause.to_string()),
        };
        let error =
            error.remedy(Remedy::command("see who is there, and stop it", WHO)).remedy(Remedy::command(
                "if it is one of nixoci's that was left alone",
                "nixoci provision --backend darwin-builder --stop",
            ));
        self.instead(cx).await.into_iter().fold(error, Error::remedy)
    }
}

fn keys(dir: &Dir) -> Step {
    let mut step =
        step("keys", "make a key pair for the Linux builder", "ssh lets nixoci in with it, and nobody else");
    step.effects = vec![format!("the private key stays in {}, for your user alone", dir.path().display())];
    step.commands = vec![
        shell!("mkdir -p -m 700 {}", dir.path()),
        shell!("ssh-keygen -q -t ed25519 -N '' -C nixoci -f {}", dir.key()),
        shell!("mkdir -p {} && cp {} {}", dir.authorized(), dir.public_key(), dir.authorized()),
    ];
    if dir.key().exists() && dir.public_key().exists() {
        step.state = StepState::Satisfied;
    }
    step
}

fn program(dir: &Dir) -> Step {
    let mut step = step(
        "program",
        "fetch the Linux builder's virtual machine",
        "it is nixpkgs' darwin.linux-builder, unchanged",
    );
    step.effects = vec![
        "the builder comes from nixpkgs' binary cache into this Mac's Nix store: a whole NixOS and QEMU"
            .to_owned(),
    ];
    let attribute = format!("nixpkgs#{ATTRIBUTE}");
    step.commands = vec![shell!("nix build {} --out-link {}", attribute, dir.program())];
    if dir.run().exists() {
        step.state = StepState::Satisfied;
    }
    step
}

fn step(id: &str, title: &str, why: &str) -> Step {
    Step::new(id, title, why, StepState::Pending)
}

fn mebibytes(size: u32) -> String {
    if size.is_multiple_of(1024) { format!("{} GiB", size >> 10) } else { format!("{size} MiB") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nixoci_nix::Transport;
    use nixoci_nix::mac::Vm;
    use nixoci_testkit::World;

    use super::*;

    fn transient(vm: Vm, transport: Transport) -> Option<Transient> {
        Transient::new("/nixoci".into(), Duration::from_secs(1800), vm, transport)
    }

    #[test]
    fn the_steps_say_what_they_change_and_what_is_done_is_done() {
        let world = World::without_processes("aarch64-darwin").unwrap();
        let cx = world.cx();
        let dir = Dir::of(&cx);
        assert!(matches!(keys(&dir).state, StepState::Pending));
        dir.make().unwrap();
        for file in [dir.key(), dir.public_key()] {
            std::fs::write(file, "").unwrap();
        }
        assert!(matches!(keys(&dir).state, StepState::Satisfied));
        let fetch = program(&dir);
        assert!(fetch.effects[0].contains("binary cache") && !fetch.needs_root, "{fetch:?}");
        assert!(fetch.commands[0].starts_with("nix build nixpkgs#darwin.linux-builder.nixosConfig."));
    }

    #[test]
    fn settings_reach_the_virtual_machine() {
        let world = World::without_processes("aarch64-darwin").unwrap();
        let vm = Vm { cpus: Some(6), memory: Some(8192), disk: None };
        let own = transient(vm, Transport::Auto).unwrap();
        assert_eq!(own.qemu(&world.cx()), "-smp 6 -m 8192");
        assert!(transient(Vm::default(), Transport::Auto).unwrap().qemu(&world.cx()).ends_with("-m 3072"));
        // The daemon cannot be told of it without root.
        assert!(transient(Vm::default(), Transport::Daemon).is_none());
        assert_eq!((mebibytes(3072), mebibytes(1500)), ("3 GiB".into(), "1500 MiB".into()));
    }
}
