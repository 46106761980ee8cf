//! Docker, through its own command.
//!
//! The command finds the engine as it does for the user: `-H`, DOCKER_HOST, DOCKER_CONTEXT, the current context,
//! the default socket; over unix sockets, ssh, or tcp with TLS. So Docker Desktop, OrbStack, Colima and remote
//! engines all work, and nothing of that is repeated here.

mod diagnose;
mod sparse;

use std::collections::HashSet;
use std::ffi::OsString;
use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::digest::Digest;
use nixoci_core::platform::{NixSystem, OciPlatform};
use nixoci_core::runner::{self, Command, Output};
use nixoci_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::tool;
use crate::cache::CachedImage;
use crate::codes;
use crate::json::Object;
use crate::summary::{Image, ImageSummary};
use crate::text::show;
use sparse::Partial;

/// How long the engine may take to say who it is. Over ssh, with a slow handshake, seconds are normal.
const PATIENCE: Duration = Duration::from_secs(20);

/// Docker, reached in one way.
#[derive(Clone, Debug, Default)]
pub struct Docker {
    host: Option<String>,
}

/// Where the engine keeps images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    /// Docker's own store: an image's id is the digest of its configuration.
    Classic,
    /// containerd's: an image's id is the digest of its manifest.
    Containerd,
}

/// What the engine says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DockerInfo {
    /// Its version: `28.5.2`.
    pub server_version: String,
    /// Where it keeps images.
    pub store: Store,
    /// What it runs natively.
    pub platform: OciPlatform,
    /// Where it is, as a sentence goes on: `at ssh://me@box`, `in context colima`, `at the default socket`.
    pub place: String,
}

/// What the engine has after a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// In the order of the archive; at least one.
    pub images: Vec<LoadedImage>,
    /// Layers that the runtime had already, and that were not sent, by the digest of the uncompressed layer.
    pub skipped: HashSet<Digest>,
}

/// An image that a runtime has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedImage {
    /// What it is called there; its id where it has no name.
    pub references: Vec<String>,
    /// The id that `docker images` shows.
    pub id: Digest,
}

impl Docker {
    /// Docker at this endpoint (`--docker-host`), or wherever the docker command finds it.
    pub fn new(host: Option<String>) -> Self {
        Docker { host }
    }

    fn command(&self) -> Command {
        let command = Command::new("docker");
        match &self.host {
            Some(host) => command.arg("-H").arg(host),
            None => command,
        }
    }

    async fn output(&self, cx: &Cx<'_>, command: Command) -> Result<Output> {
        runner::output(cx.runner, &command, cx.cancel).await.map_err(|error| {
            if error.is(&nixoci_core::codes::TOOL_MISSING) { diagnose::not_installed(cx.host) } else { error }
        })
    }

    /// Runs a command whose failure is an error; returns what it said.
    async fn ok(&self, cx: &Cx<'_>, command: Command) -> Result<String> {
        let output = self.output(cx, command).await?;
        if output.exit.success() {
            return Ok(output.stdout_text());
        }
        Err(diagnose::failed(cx.host, &output.stderr_text()))
    }

    /// Asks the engine who it is. Fails if it does not answer, and says how to start it.
    pub async fn ask(&self, cx: &Cx<'_>) -> Result<DockerInfo> {
        match tokio::time::timeout(PATIENCE, self.ask_now(cx)).await {
            Ok(answer) => answer,
            Err(_) => Err(diagnose::silent(cx.host, PATIENCE)),
        }
    }

    async fn ask_now(&self, cx: &Cx<'_>) -> Result<DockerInfo> {
        let info = self.command().args(["info", "--format", "{{json .}}"]);
        let said = self.output(cx, info).await?.stdout_text();
        let answer = Object::parse(said.trim(), "the answer of `docker info`").ok();
        let place = self.place(cx, answer.as_ref());
        if let Some((server_version, platform, store)) = answer.as_ref().and_then(about) {
            return Ok(DockerInfo { server_version, store, platform, place });
        }
        // `info` wraps errors in half an answer; those of `version` are clear. Podman's docker has another `info`.
        let said = self.ok(cx, self.command().args(["version", "--format", "{{json .}}"])).await?;
        match server(&said) {
            Ok((server_version, platform)) => {
                Ok(DockerInfo { server_version, store: Store::Classic, platform, place })
            }
            Err(error) => Err(self.is_podman(cx).await.unwrap_or(error)),
        }
    }

    /// Distributions install Podman as `docker`, too.
    async fn is_podman(&self, cx: &Cx<'_>) -> Option<Error> {
        let said = self.ok(cx, Command::new("docker").arg("--version")).await.ok()?;
        said.to_lowercase().contains("podman").then(diagnose::podman)
    }

    /// Where the engine is, for people to read: what Docker looks at, in its order.
    fn place(&self, cx: &Cx<'_>, answer: Option<&Object<'_>>) -> String {
        if let Some(host) = self.host.as_deref().or_else(|| cx.host.var("DOCKER_HOST")) {
            return format!("at {host}");
        }
        let client = answer.and_then(|answer| answer.object("ClientInfo").ok().flatten());
        match client.and_then(|client| client.string("Context").ok().flatten()).as_deref() {
            None | Some("" | "default") => "at the default socket".to_owned(),
            Some(context) => format!("in context {}", show(context.as_bytes())),
        }
    }

    /// Loads an image, and makes sure that the engine has it under all its names. What the engine has of it already is
    /// not sent again, as far as that can be found out; if it then refuses the rest, everything is sent.
    pub async fn load(&self, cx: &Cx<'_>, info: &DockerInfo, image: &CachedImage) -> Result<Loaded> {
        if let Some(partial) = Partial::find(self, cx, info.store, image).await {
            let loaded = self.load_partly(cx, info.store, image, &partial).await;
            match (loaded, partial.into_sparse()) {
                (Ok(loaded), Some(sparse)) => {
                    cx.observer.info(sparse.told());
                    return Ok(Loaded { skipped: sparse.skipped, ..loaded });
                }
                (Err(error), Some(_)) if !error.is(&nixoci_core::codes::CANCELLED) => {
                    cx.observer.debug(format!(
                        "docker does not take a part of the image ({error}): all of it is sent"
                    ));
                }
                (loaded, _) => return loaded,
            }
        }
        let load = self.command().args(["load", "--quiet", "-i"]).arg(&image.archive);
        let said = self.ok(cx, load).await?;
        self.loaded(cx, info.store, image, &said).await
    }

    async fn load_partly(
        &self,
        cx: &Cx<'_>,
        store: Store,
        image: &CachedImage,
        partial: &Partial<'_>,
    ) -> Result<Loaded> {
        let load = self.command().args(["load", "--quiet"]).with_stdin();
        let output = runner::output_fed(cx.runner, &load, partial, cx.cancel).await?;
        if !output.exit.success() {
            return Err(diagnose::failed(cx.host, &output.stderr_text()));
        }
        self.loaded(cx, store, image, &output.stdout_text()).await
    }

    /// Makes sure that the engine has what it says it has loaded, under all its names.
    async fn loaded(&self, cx: &Cx<'_>, store: Store, image: &CachedImage, said: &str) -> Result<Loaded> {
        // Its containerd store says "Error unpacking image" there, and ends well.
        if tool::has_complaint(said) {
            return Err(diagnose::failed(cx.host, said));
        }
        let loaded = parse_loaded(said);
        let mut images = Vec::new();
        for one in image.images() {
            let Some(first) = one.names().first().cloned().or_else(|| loaded.first().cloned()) else {
                return Err(Error::new(&codes::DOCKER_FAILED, "Docker does not say what it has loaded")
                    .log(said.lines()));
            };
            let id = match self.named(cx, store, one).await {
                Some(id) => id,
                None => self.verify(cx, &first, one).await?,
            };
            // The containerd store reads one name from an archive.
            for name in one.names().iter().skip(1) {
                if !loaded.contains(name) {
                    self.ok(cx, self.command().args(["tag", &first, name])).await?;
                }
            }
            let references = if one.names().is_empty() { vec![first] } else { one.names().to_vec() };
            images.push(LoadedImage { references, id });
        }
        if images.is_empty() {
            return Err(Error::new(&codes::DOCKER_FAILED, "there is no image to load"));
        }
        Ok(Loaded { images, skipped: HashSet::new() })
    }

    /// Gives an image of one platform its first name, by the id that the engine must have given it. That this works shows
    /// that the engine has what was loaded, in half the time of `image inspect`, which visits all layers.
    async fn named(&self, cx: &Cx<'_>, store: Store, image: &Image) -> Option<Digest> {
        let ([name, ..], [one]) = (image.names(), image.platforms.as_slice()) else { return None };
        // The classic store calls an image by its configuration, containerd's by its manifest, or its index.
        let id = match store {
            Store::Classic => one.image_id,
            Store::Containerd => image.digest.unwrap_or(one.manifest_digest),
        };
        self.ok(cx, self.command().args(["tag", &id.to_string(), name])).await.ok().map(|_| id)
    }

    /// The id of what a name stands for now, if it is there.
    pub(super) async fn held(&self, cx: &Cx<'_>, name: &str) -> Option<String> {
        let inspect = self.command().args(["image", "inspect", "--format", "{{.Id}}", name]);
        self.ok(cx, inspect).await.ok().map(|said| said.trim().to_owned())
    }

    /// Asks what a name stands for, and compares it with what was loaded.
    async fn verify(&self, cx: &Cx<'_>, name: &str, image: &Image) -> Result<Digest> {
        let inspect = self.command().args(["image", "inspect", "--format", "{{json .}}", name]);
        let said = self.ok(cx, inspect).await?;
        let found = Object::parse(said.trim(), "the answer of `docker image inspect`")
            .map_err(|error| diagnose::odd_answer(&error))?;
        let id = found.string("Id").ok().flatten().unwrap_or_default();
        let platform = ["Os", "Architecture"].map(|key| found.string(key).ok().flatten().unwrap_or_default());
        let ids = image.platforms.iter().flat_map(|one| [one.image_id, one.manifest_digest]);
        let id = ids.chain(image.digest).find(|digest| id == digest.to_string());
        let is_it =
            |one: &ImageSummary| platform == [one.platform.os.as_str(), one.platform.architecture.as_str()];
        match id {
            Some(id) if image.platforms.iter().any(is_it) => Ok(id),
            _ => Err(Error::new(&codes::DOCKER_MISMATCH, format!("Docker holds another image as {name}"))
                .because(format!(
                    "it says {}/{}, {}",
                    platform[0],
                    platform[1],
                    show(said_id(&found).as_bytes())
                ))
                .because(format!(
                    "{}, {} was loaded",
                    image.platform_names(),
                    image.platforms.first().map(|one| one.image_id.to_string()).unwrap_or_default()
                ))),
        }
    }

    /// The command that runs an image that was loaded: `docker run --rm`, the user's flags, the image, its
    /// arguments. `tty` asks for a terminal. The image is never fetched from anywhere.
    pub fn run_command(&self, reference: &str, flags: &[OsString], args: &[OsString], tty: bool) -> Command {
        let terminal: &[&str] = if tty { &["-i", "-t"] } else { &[] };
        self.command()
            .args(["run", "--rm", "--pull=never"])
            .args(terminal)
            .args(flags)
            .arg(reference)
            .args(args)
            .interactive()
    }
}

fn said_id(found: &Object<'_>) -> String {
    found.string("Id").ok().flatten().unwrap_or_else(|| "no id".to_owned())
}

/// Version and platform out of `docker version --format '{{json .}}'`.
fn server(said: &str) -> Result<(String, OciPlatform)> {
    let read = || {
        let answer = Object::parse(said.trim(), "the answer of `docker version`")?;
        let server = answer.object("Server")?.ok_or_else(|| answer.missing("Server"))?;
        let text = |key: &str| server.string(key)?.ok_or_else(|| server.missing(key));
        let (version, os, arch) = (text("Version")?, text("Os")?, text("Arch")?);
        Ok((version, platform(&os, &arch).ok_or_else(|| server.missing("Arch"))?))
    };
    read().map_err(|error: Error| diagnose::odd_answer(&error))
}

/// A platform in Go's names, or in those that `uname` gives: engines and commands differ.
fn platform(os: &str, arch: &str) -> Option<OciPlatform> {
    let uname = || NixSystem::from_uname(os, arch).and_then(|system| system.to_oci());
    format!("{os}/{arch}").parse().ok().or_else(uname)
}

/// Version, platform and store out of what `docker info` says; nothing if the engine did not answer.
fn about(answer: &Object<'_>) -> Option<(String, OciPlatform, Store)> {
    let text = |key: &str| answer.string(key).ok().flatten().filter(|text| !text.is_empty());
    let (version, os, arch) = (text("ServerVersion")?, text("OSType")?, text("Architecture")?);
    // containerd's store says so in the driver's status. Source: moby `daemon/info.go`, `fillDriverInfo`.
    let status = answer.get("DriverStatus").map_or("", RawValue::get);
    let store = if status.contains("io.containerd.snapshotter") { Store::Containerd } else { Store::Classic };
    Some((version, platform(&os, &arch)?, store))
}

/// What `docker load` says: `Loaded image: NAME`, `Loaded image ID: sha256:…`.
fn parse_loaded(said: &str) -> Vec<String> {
    let name = |line: &str| {
        let rest = line.trim().strip_prefix("Loaded image")?;
        let rest = rest.strip_prefix(" ID").unwrap_or(rest).strip_prefix(':')?;
        Some(rest.trim().to_owned()).filter(|name| !name.is_empty())
    };
    said.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests;
