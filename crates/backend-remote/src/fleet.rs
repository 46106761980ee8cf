//! Which machines there are.

use std::path::{Path, PathBuf};

use nixoci_core::backend::Cx;
use nixoci_core::platform::NixSystem;
use nixoci_core::{Error, Remedy, Result, ResultExt};
use nixoci_nix::mac::Known;
use nixoci_nix::{Fleet, Machine};

use crate::Remote;
use crate::error::{LIST, NONE};
use crate::settings::Settings;

/// A list of machines is small.
const LIMIT: u64 = 1 << 20;

/// The machines of the settings, or those that Nix knows; those without systems are asked.
///
/// # Errors
/// Those of the settings; [`NONE`].
pub(crate) async fn find(cx: &Cx<'_>, remote: &Remote) -> Result<Machines> {
    let configured = configured(cx, &remote.settings)?;
    if !configured.is_empty() {
        let mut fleet = Fleet::new(configured);
        fleet.learn_systems(cx).await?;
        return Ok(Machines { fleet, of_nix: false });
    }
    let known = known_to_nix(cx, remote).await?;
    if known.is_empty() { Err(none()) } else { Ok(Machines { fleet: Fleet::new(known), of_nix: true }) }
}

/// The machines, and who named them.
#[derive(Debug)]
pub(crate) struct Machines {
    pub(crate) fleet: Fleet,
    /// Nix's own configuration did, so that its daemon can use them.
    pub(crate) of_nix: bool,
}

fn configured(cx: &Cx<'_>, settings: &Settings) -> Result<Vec<Machine>> {
    let mut machines: Vec<Machine> =
        settings.builders.iter().map(crate::settings::Builder::machine).collect::<Result<_>>()?;
    if let Some(file) = &settings.from {
        let file = &at_home(cx, file);
        cx.host.read(file, LIMIT).or_error(&LIST, || format!("{} cannot be read", file.display()))?;
        machines.extend(linux(Machine::list(cx.host, &cx.host.system, &format!("@{}", file.display()))));
    }
    for machine in &mut machines {
        machine.key = machine.key.take().map(|key| at_home(cx, &key));
    }
    Ok(machines)
}

/// `~/.ssh/id_ed25519`, as everybody writes it.
fn at_home(cx: &Cx<'_>, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), &cx.host.home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

async fn known_to_nix(cx: &Cx<'_>, remote: &Remote) -> Result<Vec<Machine>> {
    // Every automatic build asks every backend: where nothing is written about builders, Nix need not be asked.
    if !mentions_builders(cx) {
        return Ok(Vec::new());
    }
    let settings = remote.host.settings(cx).await?;
    let mut machines = linux(Machine::list(cx.host, &settings.system, &settings.builders));
    // Those on the Mac itself are other backends'.
    machines.retain(|machine| Known::named(machine.host()).is_none());
    Ok(machines)
}

fn linux(mut machines: Vec<Machine>) -> Vec<Machine> {
    machines.retain(|machine| machine.systems.iter().any(NixSystem::is_linux));
    machines
}

/// Whether any of the places where Nix's builders are configured says something.
fn mentions_builders(cx: &Cx<'_>) -> bool {
    let says = |text: &[u8]| text.windows(b"builders".len()).any(|word| word == b"builders");
    let file = |path: &Path| cx.host.read(path, LIMIT).is_ok_and(|text| says(&text));
    let machines = cx.host.read(Path::new("/etc/nix/machines"), LIMIT).is_ok_and(|text| !text.is_empty());
    let own = cx.host.home.as_ref().map(|home| home.join(".config/nix/nix.conf"));
    machines
        || ["/etc/nix/nix.conf", "/etc/nix/nix.custom.conf"].iter().any(|path| file(Path::new(path)))
        || own.is_some_and(|path| file(&path))
        || cx.host.var("NIX_CONFIG").is_some_and(|text| says(text.as_bytes()))
}

fn none() -> Error {
    Error::new(&NONE, NONE.title).because("neither nixoci.toml nor Nix's own configuration names one").remedy(
        Remedy::lines(
            "name one in nixoci.toml, as you would give it to ssh",
            "[backend.remote]\nbuilders = [{ host = \"me@box\" }]",
        ),
    )
}
