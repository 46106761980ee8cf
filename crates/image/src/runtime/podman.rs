//! Podman, through its own command: on this machine without a daemon, or remote (a Mac's `podman machine`,
//! CONTAINER_HOST).

use nixoci_core::backend::Cx;
use nixoci_core::config::Runtime;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Result};
use serde::Deserialize;

use super::docker::Loaded;
use super::{About, Start, full_names, mismatch, tool};
use crate::cache::CachedImage;
use crate::codes;

const PODMAN: Runtime = Runtime::Podman;

/// Podman, which answered.
#[derive(Clone, Debug)]
pub struct Podman {
    about: About,
}

/// What `podman version` says; `Server` where it is a remote one.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    client: Part,
    #[serde(default)]
    server: Option<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    version: String,
    #[serde(default)]
    os_arch: String,
}

/// What `podman image inspect` says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    /// The digest of the configuration, without `sha256:`.
    id: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

impl Podman {
    /// Asks Podman who it is. `version` sets nothing up, as `info` does for a user who never used Podman.
    pub(super) async fn ask(cx: &Cx<'_>) -> Result<Self> {
        let asking = tool::ok(cx, PODMAN, podman(["version", "--format", "json"]));
        let said = tool::soon(cx, PODMAN, asking).await?.stdout_text();
        let version: Version = tool::json(PODMAN, &said)?;
        let remote = version.server.is_some();
        let part = version.server.unwrap_or(version.client);
        let place = match cx.host.var("CONTAINER_HOST") {
            Some(host) if remote => format!("at {host}"),
            _ if remote => "in its machine".to_owned(),
            _ => "on this machine".to_owned(),
        };
        Ok(Podman { about: About { version: part.version, place, platform: part.os_arch.parse().ok() } })
    }

    /// What it says about itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    pub(super) async fn load(&self, cx: &Cx<'_>, image: &CachedImage) -> Result<Loaded> {
        let load = podman(["load", "--quiet", "--input"]).arg(&image.archive);
        let said = tool::ok(cx, PODMAN, load).await?.stdout_text();
        let loaded = parse_loaded(&said);
        let names = full_names(image);
        let first = names.first().filter(|name| loaded.contains(name)).or(loaded.first());
        let Some(first) = first else {
            let error = Error::new(&codes::RUNTIME_FAILED, "Podman does not say what it has loaded");
            return Err(error.log(said.lines()));
        };
        verify(cx, first, image).await?;
        // Podman reads the one name of the OCI index.
        for name in names.iter().filter(|name| *name != first) {
            tool::ok(cx, PODMAN, podman(["tag", first, name])).await?;
        }
        let references = if names.is_empty() { vec![first.clone()] } else { names };
        Ok(Loaded { references, image_id: image.summary.image_id })
    }
}

async fn verify(cx: &Cx<'_>, name: &str, image: &CachedImage) -> Result<()> {
    let inspect = podman(["image", "inspect", "--format", "{{json .}}", name]);
    let said = tool::ok(cx, PODMAN, inspect).await?.stdout_text();
    let found: Found = tool::json(PODMAN, &said)?;
    let (summary, platform) = (&image.summary, &image.summary.platform);
    let same = found.id.trim_start_matches("sha256:") == summary.image_id.hex();
    if same && found.os == platform.os && found.architecture == platform.architecture {
        return Ok(());
    }
    let found = format!("{}/{}, {}", found.os, found.architecture, found.id);
    Err(mismatch(PODMAN, name, &found, image))
}

/// `podman run --rm`.
pub(super) fn run_command(start: &Start<'_>) -> Command {
    start.command(Command::new("podman"), &["--pull=never"])
}

fn podman<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    Command::new("podman").args(args)
}

/// What `podman load` says: `Loaded image: NAME`; older ones `Loaded image(s): NAME,NAME`.
fn parse_loaded(said: &str) -> Vec<String> {
    let names = |line: &str| {
        let rest = line.trim().strip_prefix("Loaded image")?;
        let (_, names) = rest.split_once(':')?;
        Some(names.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>())
    };
    said.lines().filter_map(names).flatten().filter(|name| !name.is_empty()).collect()
}
