//! How a Linux builder is set up on a Mac, by whoever manages its Nix.
//!
//! Sources: nix-darwin `modules/nix/linux-builder.nix`; nixpkgs `nixos/modules/profiles/nix-builder.nix` and
//! `doc/packages/darwin-builder.section.md`; Determinate `modules/nix-darwin/default.nix`.

use std::fmt::Write as _;

use nixoci_core::backend::Cx;
use nixoci_core::plan::Configuration;
use nixoci_core::platform::NixSystem;
use nixoci_core::shell;
use schemars::JsonSchema;
use serde::Deserialize;

/// How this Mac's Nix is managed: by that a builder is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// nix-darwin.
    NixDarwin,
    /// Determinate Nix, which switches nix-darwin's own settings for Nix off.
    Determinate,
    /// Nobody: Nix was installed by its installer.
    Nobody,
}

impl Manager {
    /// Who manages this Mac's Nix.
    pub async fn of(cx: &Cx<'_>) -> Manager {
        // Determinate first: it may be there beside nix-darwin.
        for (program, manager) in
            [("determinate-nixd", Manager::Determinate), ("darwin-rebuild", Manager::NixDarwin)]
        {
            if cx.runner.find(program).await.is_some() {
                return manager;
            }
        }
        Manager::Nobody
    }
}

/// The options, and what applies them.
const NIX_DARWIN: &str = "nix.linux-builder";
const DETERMINATE: &str = "determinateNix.nixosVmBasedLinuxBuilder";
const SWITCH: &str = "sudo darwin-rebuild switch";

/// The virtual machine that is wanted; what is absent is the module's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Vm {
    /// How many CPUs it gets.
    pub cpus: Option<u32>,
    /// How much memory, in MiB.
    pub memory: Option<u32>,
    /// How much disk, in MiB.
    pub disk: Option<u32>,
}

/// What is to be done to have a builder, and what that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUp {
    /// In words.
    pub effects: Vec<String>,
    /// Commands, and configuration to place.
    pub commands: Vec<String>,
}

/// The steps to a builder for the Mac's own CPU, `own`, or for both CPUs.
pub fn set_up(manager: Manager, own: &NixSystem, both: bool, vm: &Vm) -> SetUp {
    match manager {
        Manager::NixDarwin => by_module(NIX_DARWIN, "in your nix-darwin configuration", both, vm),
        Manager::Determinate => by_module(
            DETERMINATE,
            "in your nix-darwin configuration, with Determinate's module (its `nix.*` options do nothing beside Determinate)",
            both,
            vm,
        ),
        Manager::Nobody => by_hand(own, both),
    }
}

/// What is to stand in nix-darwin's configuration. Where nothing of nix-darwin's is there yet, it is what will be.
pub fn configuration(manager: Manager, both: bool, vm: &Vm) -> Configuration {
    let (option, misspelt) = match manager {
        Manager::NixDarwin | Manager::Nobody => (NIX_DARWIN, "linux_builder"),
        Manager::Determinate => (DETERMINATE, "nixos_vm_based_linux_builder"),
    };
    Configuration {
        option: option.to_owned(),
        misspelt: vec![misspelt.to_owned()],
        text: format!("{option}.enable = true;"),
        later: customised(option, both, vm),
        apply: SWITCH.to_owned(),
    }
}

/// The stock builder comes from the binary cache; any other has to be built by a builder that runs.
fn by_module(option: &str, place: &str, both: bool, vm: &Vm) -> SetUp {
    let mut commands = vec![
        format!(
            "# {place}; first without any other setting: the stock builder comes from the cache\n{option}.enable = true;"
        ),
        SWITCH.to_owned(),
    ];
    if let Some(more) = customised(option, both, vm) {
        commands.push(format!("# then, as that builder can build what follows\n{more}"));
        commands.push(SWITCH.to_owned());
    }
    let memory = vm.memory.unwrap_or(3072) / 1024;
    let disk = vm.disk.unwrap_or(20 << 10) >> 10;
    let effect = format!(
        "a virtual machine with NixOS that launchd runs, with {memory} GiB of memory and {disk} GiB of disk"
    );
    SetUp { effects: vec![effect], commands }
}

/// What the stock builder does not have, as configuration.
fn customised(option: &str, both: bool, vm: &Vm) -> Option<String> {
    if !both && *vm == Vm::default() {
        return None;
    }
    let mut text = format!("{option} = {{\n  enable = true;\n");
    if both {
        text.push_str("  package = pkgs.darwin.linux-builder-vz;\n  systems = [ \"aarch64-linux\" \"x86_64-linux\" ];\n");
    }
    if let Some(cpus) = vm.cpus {
        let _ = writeln!(text, "  maxJobs = {cpus};\n  config.virtualisation.cores = {cpus};");
    }
    if let Some(memory) = vm.memory {
        let _ = writeln!(text, "  config.virtualisation.darwin-builder.memorySize = {memory};");
    }
    if let Some(disk) = vm.disk {
        let _ = writeln!(text, "  config.virtualisation.darwin-builder.diskSize = {disk};");
    }
    text.push_str("};");
    Some(text)
}

fn by_hand(own: &NixSystem, both: bool) -> SetUp {
    let (package, systems) = if both {
        ("linux-builder-vz", "aarch64-linux,x86_64-linux".to_owned())
    } else {
        ("linux-builder", own.to_string())
    };
    let effects = [
        "a virtual machine with NixOS, for as long as its terminal is open",
        "Nix's list of builders, and ssh's configuration of the whole machine",
    ];
    let commands = vec![
        shell!(
            "nix run {}    # in another terminal; asks for your password once",
            format!("nixpkgs#darwin.{package}")
        ),
        shell!(
            "echo {} | sudo tee -a /etc/nix/machines",
            format!(
                "ssh-ng://builder@linux-builder {systems} /etc/nix/builder_ed25519 1 1 kvm,benchmark,big-parallel - {HOST_KEY}"
            )
        ),
        "printf 'Host linux-builder\\n  User builder\\n  Hostname localhost\\n  HostKeyAlias linux-builder\\n  Port 31022\\n  \
         IdentityFile /etc/nix/builder_ed25519\\n' | sudo tee /etc/ssh/ssh_config.d/100-linux-builder.conf"
            .to_owned(),
        "sudo launchctl kickstart -k system/org.nixos.nix-daemon".to_owned(),
    ];
    SetUp { effects: effects.map(str::to_owned).to_vec(), commands }
}

/// The host key of every linux-builder, as Nix's list wants it: it is no secret, and the same everywhere.
/// Source: nixpkgs `nixos/modules/profiles/keys/ssh_host_ed25519_key.pub`.
const HOST_KEY: &str = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUpCV2N4Yi9CbGFxdDFhdU90RStGOFFVV3JVb3RpQzVxQkorVXVFV2RWQ2Igcm9vdEBuaXhvcwo=";

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(manager: Manager, both: bool, vm: &Vm) -> String {
        let own = "aarch64-linux".parse().unwrap();
        set_up(manager, &own, both, vm).commands.join("\n")
    }

    #[test]
    fn the_stock_builder_comes_before_any_other() {
        let vm = Vm { cpus: Some(4), memory: Some(8192), disk: Some(61440) };
        let text = commands(Manager::NixDarwin, true, &vm);
        let stock = text.find("nix.linux-builder.enable = true;").unwrap();
        let custom = text.find("package = pkgs.darwin.linux-builder-vz;").unwrap();
        assert!(stock < custom && text.matches("darwin-rebuild switch").count() == 2, "{text}");
        for line in
            ["config.virtualisation.cores = 4;", "memorySize = 8192;", "diskSize = 61440;", "maxJobs = 4;"]
        {
            assert!(text.contains(line), "{text}");
        }
        let stock = commands(Manager::NixDarwin, false, &Vm::default());
        assert!(!stock.contains("package") && stock.matches("switch").count() == 1, "{stock}");
    }

    #[test]
    fn nobody_is_told_to_be_trusted() {
        // It is root in disguise, and needless.
        for manager in [Manager::NixDarwin, Manager::Determinate, Manager::Nobody] {
            for both in [false, true] {
                assert!(!commands(manager, both, &Vm::default()).contains("trusted-users"));
            }
        }
    }

    #[test]
    fn every_manager_has_its_own_words() {
        assert!(
            commands(Manager::Determinate, false, &Vm::default())
                .contains("determinateNix.nixosVmBasedLinuxBuilder.enable")
        );
        let nobody = commands(Manager::Nobody, true, &Vm::default());
        assert!(
            nobody.contains("nixpkgs#darwin.linux-builder-vz")
                && nobody.contains("aarch64-linux,x86_64-linux")
        );
    }
}
