//! Podman, through its own command: on this machine without a daemon, or remote (a Mac's `podman machine`,
//! CONTAINER_HOST).

use nixoci_core::backend::Cx;
use nixoci_core::config::Runtime;
use nixoci_core::digest::Digest;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Result};
use serde::Deserialize;

use super::docker::Loaded;
use super::{About, LoadedImage, Start, full_names, loaded, mismatch, tool};
use crate::cache::CachedImage;
use crate::codes;
use crate::summary::{Image, ImageSummary};

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
        let said = tool::taken(cx, PODMAN, load).await?.stdout_text();
        let held = parse_loaded(&said);
        let mut images = Vec::new();
        for one in image.images() {
            let Some(name) = held.iter().find(|held| is_name_of(held, one)).or(held.first()) else {
                let error = Error::new(&codes::RUNTIME_FAILED, "Podman does not say what it has loaded");
                return Err(error.log(said.lines()));
            };
            let id = verify(cx, name, one).await?;
            let names = full_names(one);
            // Podman reads one name of an image in an OCI index.
            for other in names.iter().filter(|other| *other != name) {
                tool::ok(cx, PODMAN, podman(["tag", name, other])).await?;
            }
            let references = if names.is_empty() { vec![name.clone()] } else { names };
            images.push(LoadedImage { references, id });
        }
        loaded(PODMAN, images)
    }

    /// The id of what a name stands for now, if it is there. A short name would be looked for in several registries.
    pub(super) async fn held(&self, cx: &Cx<'_>, name: &str) -> Option<String> {
        let full = name.parse::<crate::Reference>().map_or(name.to_owned(), |name| name.full());
        let inspect = podman(["image", "inspect", "--format", "{{.Id}}", &full]);
        let said = tool::ok(cx, PODMAN, inspect).await.ok()?.stdout_text();
        Some(format!("sha256:{}", said.trim().trim_start_matches("sha256:")))
    }
}

/// Several images come by Docker's manifest, where a name without a registry means `localhost/` to Podman.
fn is_name_of(held: &str, image: &Image) -> bool {
    let local = |name: &String| held.strip_prefix("localhost/") == Some(name);
    full_names(image).iter().any(|name| name == held) || image.names().iter().any(local)
}

/// Asks what a name stands for: for one of the image's platforms, that which Podman chose.
async fn verify(cx: &Cx<'_>, name: &str, image: &Image) -> Result<Digest> {
    let inspect = podman(["image", "inspect", "--format", "{{json .}}", name]);
    let said = tool::ok(cx, PODMAN, inspect).await?.stdout_text();
    let found: Found = tool::json(PODMAN, &said)?;
    let id = found.id.trim_start_matches("sha256:");
    let is_it = |one: &&ImageSummary| {
        one.image_id.hex() == id
            && one.platform.os == found.os
            && one.platform.architecture == found.architecture
    };
    let known = image.platforms.iter().find(is_it);
    let said = || format!("{}/{}, {}", found.os, found.architecture, found.id);
    known.map(|one| one.image_id).ok_or_else(|| mismatch(PODMAN, name, &said(), image))
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
