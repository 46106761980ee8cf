//! minikube: a node in a container or a virtual machine, with Docker, containerd or CRI-O in it.
//!
//! Source: kubernetes/minikube, `cmd/minikube/cmd/image.go`, `cmd/minikube/cmd/config/profile_list.go`, `pkg/minikube/machine/cache_images.go`.

use nixoci_core::backend::Cx;
use nixoci_core::config::Runtime;
use nixoci_core::{Remedy, Result, shell};
use serde::Deserialize;

use super::{only, stopped, tool, unknown};
use crate::cache::CachedImage;
use crate::runtime::mismatch;
use crate::runtime::tool::{json, ok, taken};
use crate::summary::Image;

const MINIKUBE: Runtime = Runtime::Minikube;
const VARIABLE: &str = "MINIKUBE_PROFILE";

/// What `minikube profile list -o json` says.
#[derive(Deserialize)]
struct Profiles {
    #[serde(default)]
    valid: Vec<Profile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Profile {
    name: String,
    #[serde(default)]
    status: String,
    /// Whether `minikube profile NAME` chose it.
    #[serde(default)]
    active: bool,
}

impl Profile {
    /// `Running` until minikube 1.33, `OK` since.
    fn runs(&self) -> bool {
        self.status == "Running" || self.status == "OK"
    }
}

/// What `minikube image ls --format json` says of each.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Held {
    /// The id, with or without `sha256:`.
    id: String,
    #[serde(default)]
    repo_tags: Vec<String>,
}

/// The profile that MINIKUBE_PROFILE names, the active one, or the one that runs alone.
pub(super) async fn find(cx: &Cx<'_>) -> Result<String> {
    let said = ok(cx, MINIKUBE, tool(MINIKUBE, &["profile", "list", "-o", "json"])).await?.stdout_text();
    let all = json::<Profiles>(MINIKUBE, &said)?.valid;
    let names = |keep: fn(&&Profile) -> bool| -> Vec<String> {
        all.iter().filter(keep).map(|profile| profile.name.clone()).collect()
    };
    let wanted = cx.host.var(VARIABLE);
    if let Some(wanted) = wanted.filter(|wanted| all.iter().all(|profile| profile.name != *wanted)) {
        return Err(unknown(MINIKUBE, wanted, VARIABLE, &names(|_| true))
            .remedy(Remedy::command("make it", shell!("minikube start -p {}", wanted))));
    }
    let named = |profile: &&Profile| wanted.map_or(profile.active, |wanted| profile.name == wanted);
    let running = names(|profile| profile.runs());
    match all.iter().find(named).or(all.first().filter(|_| running.is_empty())) {
        Some(profile) if profile.runs() => Ok(profile.name.clone()),
        Some(profile) => Err(stopped(MINIKUBE, &profile.name, shell!("minikube start -p {}", profile.name))),
        None => {
            let one = running.first().cloned().unwrap_or_default();
            let choose = Remedy::command("name the one you mean", shell!("export {}={}", VARIABLE, one));
            only(MINIKUBE, &running, "minikube start", choose)
        }
    }
}

/// It succeeds whatever the runtime says: what is there afterwards tells.
pub(super) async fn load(cx: &Cx<'_>, profile: &str, image: &CachedImage) -> Result<()> {
    let load = tool(MINIKUBE, &["image", "load", "-p", profile]).arg(&image.archive);
    taken(cx, MINIKUBE, load).await.map(drop)
}

/// Gives an image the names that it does not have yet, and asks what all of them stand for.
pub(super) async fn name(
    cx: &Cx<'_>,
    profile: &str,
    image: &Image,
    names: Vec<String>,
) -> Result<Vec<String>> {
    let mut held = list(cx, profile).await?;
    for name in &names {
        if !held.iter().any(|held| held.repo_tags.contains(name)) && *name != names[0] {
            ok(cx, MINIKUBE, tool(MINIKUBE, &["image", "tag", "-p", profile, &names[0], name])).await?;
            held = list(cx, profile).await?;
        }
        verify(&held, name, image)?;
    }
    Ok(names)
}

async fn list(cx: &Cx<'_>, profile: &str) -> Result<Vec<Held>> {
    let list = tool(MINIKUBE, &["image", "ls", "-p", profile, "--format", "json"]);
    let said = ok(cx, MINIKUBE, list).await?.stdout_text();
    json(MINIKUBE, &said)
}

fn verify(held: &[Held], name: &str, image: &Image) -> Result<()> {
    let found = held.iter().find(|held| held.repo_tags.iter().any(|tag| tag == name));
    let Some(found) = found else {
        return Err(mismatch(MINIKUBE, name, "that it has no such image", image));
    };
    // Docker's containerd store names an image by its manifest, or its index.
    let ids = image.platforms.iter().flat_map(|one| [one.image_id, one.manifest_digest]).chain(image.digest);
    let id = found.id.trim_start_matches("sha256:");
    if ids.map(|digest| digest.hex()).any(|known| known == id) {
        return Ok(());
    }
    Err(mismatch(MINIKUBE, name, &found.id, image))
}
