//! Names in a container runtime that a project's nixoci.toml would give to its own image.
//!
//! `load = true` in a nixoci.toml makes a bare `nixoci build` load the image under the names that the project chose. An image of that name which nixoci
//! did not load itself is replaced only with the user's consent: nixoci remembers what it has loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nixoci_core::backend::Cx;
use nixoci_core::config::Runtime;
use nixoci_core::{Error, Remedy, Result, file, shell};
use nixoci_image::CachedImage;
use nixoci_image::runtime::{LoadedImage, Ready};
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::codes::NOT_REPLACED;
use crate::consent::Change;

/// The longest list of loaded images.
const LIMIT: u64 = 16 << 20;
/// So many names are remembered for a runtime; those of long ago are asked about again.
const MOST: usize = 2000;

/// What nixoci has loaded.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    /// The id of an image by its name, by the runtime's name.
    images: BTreeMap<String, BTreeMap<String, String>>,
}

impl Known {
    fn path(state: &Path) -> PathBuf {
        state.join("loaded-images.json")
    }

    /// A list that is not there or cannot be read knows nothing.
    fn read(state: &Path) -> Known {
        let bytes = file::read(&Known::path(state), LIMIT).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn has(&self, runtime: Runtime, name: &str, id: &str) -> bool {
        self.images.get(runtime.name()).and_then(|names| names.get(name)).is_some_and(|known| known == id)
    }

    fn add(&mut self, runtime: Runtime, images: &[LoadedImage]) {
        let names = self.images.entry(runtime.name().to_owned()).or_default();
        if names.len() > MOST {
            names.clear();
        }
        for image in images {
            names.extend(image.references.iter().map(|name| (name.clone(), image.id.to_string())));
        }
    }

    fn write(&self, state: &Path) -> std::io::Result<()> {
        file::replace(&Known::path(state), &serde_json::to_vec(self)?)
    }
}

/// Remembers what was loaded.
pub(crate) fn remember(cx: &Cx<'_>, runtime: Runtime, images: &[LoadedImage]) {
    let mut known = Known::read(&cx.dirs.state);
    known.add(runtime, images);
    if let Err(error) = known.write(&cx.dirs.state) {
        cx.observer.debug(format!("what was loaded is not remembered: {error}"));
    }
}

/// Asks before an image that nixoci did not load loses its name to the one that `file` has loaded.
///
/// # Errors
/// [`NOT_REPLACED`].
pub(crate) async fn agreed(
    engine: &Engine<'_>,
    file: &Path,
    ready: &Ready,
    image: &CachedImage,
) -> Result<()> {
    let (cx, runtime) = (&engine.cx, ready.runtime());
    let known = Known::read(&cx.dirs.state);
    let mut names = Vec::new();
    for (image, name) in
        image.images().iter().flat_map(|image| image.names().iter().map(move |name| (image, name)))
    {
        let Some(id) = ready.held(cx, name).await else { continue };
        let full = name.parse::<nixoci_image::Reference>().map_or(name.clone(), |name| name.full());
        let ours = [name, &full].into_iter().any(|name| known.has(runtime, name, &id));
        let same = image.platforms.iter().any(|one| id == one.image_id.to_string())
            || image.digest.is_some_and(|digest| id == digest.to_string());
        if !ours && !same {
            names.push(name.clone());
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    let reason = match engine.consent.ask(Change::Replace { runtime, names: &names, file }).await? {
        Some(true) => return Ok(()),
        Some(false) => "the answer was no",
        None => "nobody can be asked here",
    };
    let text = format!("{} has {}, which nixoci did not load", runtime.name(), names.join(", "));
    let error = Error::new(&NOT_REPLACED, text)
        .because(format!("{} would have it replaced", file.display()))
        .because(reason);
    Err(error.remedy(Remedy::command("give the image a name of its own", "nixoci build -t app:dev")).remedy(
        Remedy::command(
            "or load it, whatever has the name",
            shell!("nixoci build --load={}", runtime.name()),
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, digit: &str) -> LoadedImage {
        let id = format!("sha256:{}", digit.repeat(64)).parse().unwrap();
        LoadedImage { references: vec![name.to_owned()], id }
    }

    #[test]
    fn what_was_loaded_is_known_under_its_name_and_id_alone() {
        let state = tempfile::tempdir().unwrap();
        let id = image("a:1", "a").id.to_string();
        let mut known = Known::read(state.path());
        assert!(!known.has(Runtime::Docker, "a:1", &id));
        known.add(Runtime::Docker, &[image("a:1", "a"), image("b:1", "b")]);
        known.write(state.path()).unwrap();
        let known = Known::read(state.path());
        assert!(known.has(Runtime::Docker, "a:1", &id));
        assert!(!known.has(Runtime::Docker, "b:1", &id) && !known.has(Runtime::Podman, "a:1", &id));
    }

    #[test]
    fn a_list_that_cannot_be_read_knows_nothing() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(Known::path(state.path()), "{").unwrap();
        assert!(Known::read(state.path()).images.is_empty());
    }
}
