//! Clusters on this machine: kind, k3d, minikube, each with its own way to bring an image to the nodes.
//!
//! Kubernetes finds an image by its name, and runs it: nixoci does not.

mod k3d;
mod kind;
mod minikube;

use nixoci_core::backend::Cx;
use nixoci_core::config::Runtime;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Remedy, Result, shell};

use super::docker::Loaded;
use super::{About, LoadedImage, loaded, named, tool};
use crate::cache::CachedImage;
use crate::codes;

/// A cluster that takes images.
#[derive(Clone, Debug)]
pub struct Cluster {
    runtime: Runtime,
    name: String,
    about: About,
}

impl Cluster {
    /// Finds the cluster that is meant.
    pub(super) async fn ask(cx: &Cx<'_>, runtime: Runtime) -> Result<Self> {
        let asking =
            async { tokio::join!(find(cx, runtime), tool::output(cx, runtime, tool(runtime, &["version"]))) };
        let (name, version) = tool::soon(cx, runtime, async { Ok(asking.await) }).await?;
        let (name, version) = (name?, version?);
        let about = About {
            version: parse_version(&version.stdout_text()),
            place: format!("in cluster {name}"),
            platform: cx.host.system.to_linux().to_oci(),
        };
        Ok(Cluster { runtime, name, about })
    }

    /// Whose cluster it is.
    pub fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// What it says about itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    pub(super) async fn load(&self, cx: &Cx<'_>, image: &CachedImage) -> Result<Loaded> {
        let images = named(self.runtime, image.images())?;
        match self.runtime {
            Runtime::Kind => kind::load(cx, &self.name, image).await?,
            Runtime::K3d => k3d::load(cx, &self.name, image).await?,
            _ => minikube::load(cx, &self.name, image).await?,
        }
        let mut loaded_images = Vec::new();
        for (one, names) in images {
            let references = match self.runtime {
                Runtime::Minikube => minikube::name(cx, &self.name, one, names).await?,
                runtime => one_name(cx, runtime, names),
            };
            let id = one.platforms.first().map(|one| one.image_id);
            loaded_images.extend(id.map(|id| LoadedImage { references, id }));
        }
        loaded(self.runtime, loaded_images)
    }
}

async fn find(cx: &Cx<'_>, runtime: Runtime) -> Result<String> {
    match runtime {
        Runtime::Kind => kind::find(cx).await,
        Runtime::K3d => k3d::find(cx).await,
        _ => minikube::find(cx).await,
    }
}

/// The runtime's command with these arguments. Its name is the runtime's.
fn tool(runtime: Runtime, args: &[&str]) -> Command {
    Command::new(runtime.name()).args(args)
}

/// The one that is alone.
fn only(runtime: Runtime, names: &[String], make: &str, choose: Remedy) -> Result<String> {
    match names {
        [one] => Ok(one.clone()),
        [] => Err(Error::new(&codes::RUNTIME_CLUSTER, format!("{} has no cluster", runtime.name()))
            .remedy(Remedy::command("make one", make))),
        several => {
            Err(Error::new(&codes::RUNTIME_CLUSTER, format!("{} has several clusters", runtime.name()))
                .because(format!("they are {}", several.join(", ")))
                .remedy(choose))
        }
    }
}

/// A cluster was named that does not exist.
fn unknown(runtime: Runtime, name: &str, variable: &str, names: &[String]) -> Error {
    let text = format!("{} has no cluster `{name}`, which {variable} names", runtime.name());
    let there =
        if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
    Error::new(&codes::RUNTIME_CLUSTER, text).because(there)
}

/// The archive carries one name, and this way of loading gives no others.
fn one_name(cx: &Cx<'_>, runtime: Runtime, names: Vec<String>) -> Vec<String> {
    if let [first, others @ ..] = names.as_slice()
        && !others.is_empty()
    {
        let text =
            format!("{} knows the image as {first} only, not as {}", runtime.name(), others.join(", "));
        cx.observer.warn(text, Vec::new());
    }
    names.into_iter().take(1).collect()
}

/// Containers there are Kubernetes' affair.
pub(super) fn not_run(runtime: Runtime) -> Error {
    let name = runtime.name();
    Error::new(
        &codes::RUNTIME_CANNOT_RUN,
        format!("what is loaded into {name} is run by Kubernetes, not by nixoci"),
    )
    // A tag `latest` would be looked for in a registry.
    .remedy(Remedy::command(
        "load it, and run it there",
        shell!(
            "image=$(nixoci build --load={}) && kubectl run app --image=$image --image-pull-policy=Never \
             --restart=Never --attach --rm",
            name
        ),
    ))
    .remedy(Remedy::command("or run it elsewhere", "nixoci run --runtime auto"))
}

/// `kind v0.33.0 go1.27.2 linux/amd64`, `k3d version v5.8.3`, `minikube version: v1.37.0`.
fn parse_version(said: &str) -> String {
    let version = |word: &&str| {
        word.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    said.split_whitespace()
        .find(version)
        .map_or("of an unknown version".to_owned(), |word| word[1..].to_owned())
}

/// A cluster whose nodes do not run.
fn stopped(runtime: Runtime, name: &str, start: String) -> Error {
    let text = format!("the cluster {name} of {} is stopped", runtime.name());
    Error::new(&codes::RUNTIME_DOWN, text).remedy(Remedy::command("start it", start))
}
