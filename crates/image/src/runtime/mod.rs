//! Container runtimes that images are handed to.
//!
//! Each is spoken to through its own command, which finds it as it does for the user. All of them take the same
//! file: the hybrid archive (see `write`).

mod apple;
mod clusters;
mod containerd;
mod diagnose;
pub mod docker;
#[cfg(test)]
mod fake;
mod podman;
mod tool;

use std::collections::HashSet;
use std::ffi::OsString;

pub use apple::Apple;
pub use clusters::Cluster;
pub use containerd::Containerd;
pub use docker::{Docker, DockerInfo, Loaded, LoadedImage, Store};
use nixoci_core::backend::Cx;
use nixoci_core::config::Runtime;
use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Remedy, Result};
pub use podman::Podman;

use crate::cache::CachedImage;
use crate::codes;
use crate::summary::Image;

/// A runtime that answered: it takes images now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Ready {
    /// Docker.
    Docker(Docker, DockerInfo),
    /// Podman.
    Podman(Podman),
    /// containerd.
    Containerd(Containerd),
    /// Apple's `container`.
    Apple(Apple),
    /// A cluster of kind, k3d or minikube.
    Cluster(Cluster),
}

/// What a runtime says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its version.
    pub version: String,
    /// Where it is, as a sentence goes on: `at unix:///x.sock`, `on this machine`, `in cluster dev`.
    pub place: String,
    /// What it runs natively, where it says so.
    pub platform: Option<OciPlatform>,
}

/// A container to be started.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The image, as the runtime calls it.
    pub reference: &'a str,
    /// For which platform it is.
    pub platform: Option<&'a OciPlatform>,
    /// Docker's flags.
    pub flags: &'a [OsString],
    /// Arguments for the container, in place of the image's own command.
    pub args: &'a [OsString],
    /// Whether it gets the terminal.
    pub tty: bool,
}

impl Start<'_> {
    /// `PROGRAM … run --rm`, what is special there, the user's flags, the image, its arguments.
    fn command(&self, program: Command, special: &[&str]) -> Command {
        let terminal: &[&str] = if self.tty { &["-i", "-t"] } else { &[] };
        program
            .args(["run", "--rm"])
            .args(special)
            .args(terminal)
            .args(self.flags)
            .arg(self.reference)
            .args(self.args)
            .interactive()
    }
}

/// Asks a runtime whether it takes images. Fails if it does not, and says how to start it.
pub async fn ask(cx: &Cx<'_>, runtime: Runtime, docker_host: Option<&str>) -> Result<Ready> {
    match runtime {
        Runtime::Docker => {
            let docker = Docker::new(docker_host.map(str::to_owned));
            let info = docker.ask(cx).await?;
            Ok(Ready::Docker(docker, info))
        }
        Runtime::Podman => Podman::ask(cx).await.map(Ready::Podman),
        Runtime::Containerd => Containerd::ask(cx).await.map(Ready::Containerd),
        Runtime::Apple => Apple::ask(cx).await.map(Ready::Apple),
        Runtime::Kind | Runtime::K3d | Runtime::Minikube => {
            Cluster::ask(cx, runtime).await.map(Ready::Cluster)
        }
        other => Err(Error::new(
            &nixoci_core::codes::BUG,
            format!("nobody knows how to load into {}", other.name()),
        )),
    }
}

/// Whether nixoci can start containers there. Asked before anything is built.
///
/// # Errors
/// [`codes::RUNTIME_CANNOT_RUN`], with the way to start one by hand.
pub async fn can_run(cx: &Cx<'_>, runtime: Runtime) -> Result<()> {
    match runtime {
        Runtime::Containerd if cx.runner.find(containerd::NERDCTL).await.is_none() => {
            Err(containerd::no_nerdctl(cx.host))
        }
        runtime if runtime.is_cluster() => Err(clusters::not_run(runtime)),
        _ => Ok(()),
    }
}

/// The command that runs an image that was loaded: the runtime's own `run --rm`. The image is never fetched from anywhere.
///
/// # Errors
/// As [`can_run`].
pub async fn run_command(
    cx: &Cx<'_>,
    runtime: Runtime,
    docker_host: Option<&str>,
    start: &Start<'_>,
) -> Result<Command> {
    can_run(cx, runtime).await?;
    Ok(match runtime {
        Runtime::Podman => podman::run_command(start),
        Runtime::Containerd => containerd::run_command(cx.host, start),
        Runtime::Apple => apple::run_command(start),
        _ => Docker::new(docker_host.map(str::to_owned)).run_command(
            start.reference,
            start.flags,
            start.args,
            start.tty,
        ),
    })
}

impl Ready {
    /// Which runtime it is.
    pub fn runtime(&self) -> Runtime {
        match self {
            Ready::Docker(..) => Runtime::Docker,
            Ready::Podman(_) => Runtime::Podman,
            Ready::Containerd(_) => Runtime::Containerd,
            Ready::Apple(_) => Runtime::Apple,
            Ready::Cluster(cluster) => cluster.runtime(),
        }
    }

    /// What it says about itself.
    pub fn about(&self) -> About {
        match self {
            Ready::Docker(_, info) => About {
                version: info.server_version.clone(),
                place: info.place.clone(),
                platform: Some(info.platform.clone()),
            },
            Ready::Podman(podman) => podman.about().clone(),
            Ready::Containerd(containerd) => containerd.about().clone(),
            Ready::Apple(apple) => apple.about().clone(),
            Ready::Cluster(cluster) => cluster.about().clone(),
        }
    }

    /// The id of what a name stands for there, of Docker and Podman. `None` where nothing has the name, or another runtime is asked.
    pub async fn held(&self, cx: &Cx<'_>, name: &str) -> Option<String> {
        match self {
            Ready::Docker(docker, _) => docker.held(cx, name).await,
            Ready::Podman(podman) => podman.held(cx, name).await,
            _ => None,
        }
    }

    /// Loads an image, and makes sure that the runtime has it under all its names, as far as the runtime can tell.
    ///
    /// # Errors
    /// The runtime's refusal; [`codes::RUNTIME_MISMATCH`]; [`codes::RUNTIME_NAMELESS`].
    pub async fn load(&self, cx: &Cx<'_>, image: &CachedImage) -> Result<Loaded> {
        match self {
            Ready::Docker(docker, info) => docker.load(cx, info, image).await,
            Ready::Podman(podman) => podman.load(cx, image).await,
            Ready::Containerd(containerd) => containerd.load(cx, image).await,
            Ready::Apple(apple) => apple.load(cx, image).await,
            Ready::Cluster(cluster) => cluster.load(cx, image).await,
        }
    }
}

/// The names of an image in full, as everything but Docker stores them.
fn full_names(image: &Image) -> Vec<String> {
    let full = |name: &String| name.parse::<crate::Reference>().map_or(name.clone(), |name| name.full());
    image.names().iter().map(full).collect()
}

/// Images with their names, where every one needs a name.
fn named(runtime: Runtime, images: &[Image]) -> Result<Vec<(&Image, Vec<String>)>> {
    let named: Vec<_> = images.iter().map(|image| (image, full_names(image))).collect();
    if named.iter().any(|(_, names)| names.is_empty()) {
        let text = format!("the image has no name, and {} finds images by nothing else", runtime.name());
        return Err(Error::new(&codes::RUNTIME_NAMELESS, text)
            .remedy(Remedy::command("give it a name", "-t app:dev")));
    }
    Ok(named)
}

/// The digest of what an image's name stands for in the archive: of its index, or its manifest.
fn digest(image: &Image) -> Option<Digest> {
    image.digest.or(image.platforms.first().map(|one| one.manifest_digest))
}

/// What was loaded; at least one image.
fn loaded(runtime: Runtime, images: Vec<LoadedImage>) -> Result<Loaded> {
    if images.is_empty() {
        let text = format!("there is no image to load into {}", runtime.name());
        return Err(Error::new(&codes::RUNTIME_FAILED, text));
    }
    Ok(Loaded { images, skipped: HashSet::new() })
}

/// A name stands for something else than what was loaded.
fn mismatch(runtime: Runtime, name: &str, found: &str, image: &Image) -> Error {
    let digest = digest(image).map(|digest| digest.to_string()).unwrap_or_default();
    Error::new(&codes::RUNTIME_MISMATCH, format!("{} holds another image as {name}", runtime.name()))
        .because(format!("it says {}", crate::text::show_up_to(found.trim().as_bytes(), 300)))
        .because(format!("{}, {digest} was loaded", image.platform_names()))
}

#[cfg(test)]
mod tests;
