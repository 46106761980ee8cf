//! Docker's manifest.json.
//!
//! Source: moby `image/tarexport/load.go`; Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset
//! Format".

use std::collections::BTreeMap;

use nixoci_core::digest::Digest;
use nixoci_core::{Error, Result};

use super::archive::Contents;
use super::found::{FoundImage, FoundVariant, IMAGE_LIMIT, LAYER_LIMIT};
use crate::codes;
use crate::json::{self, Object};

const WHAT: &str = "manifest.json";

/// The images that manifest.json lists.
pub(super) fn images(contents: &Contents) -> Result<Vec<FoundImage>> {
    let text = json::utf8(contents.json(contents.document(WHAT)?), WHAT)?;
    let images = json::list(text, WHAT)?;
    if images.is_empty() {
        return Err(Error::new(&codes::BAD_JSON, "manifest.json lists no image"));
    }
    if images.len() > IMAGE_LIMIT {
        let text = format!("manifest.json lists {} images, and {IMAGE_LIMIT} is the limit", images.len());
        return Err(Error::new(&codes::TOO_LARGE, text));
    }
    images.into_iter().map(|image| found(contents, &Object::parse(image.get(), WHAT)?)).collect()
}

fn found(contents: &Contents, image: &Object<'_>) -> Result<FoundImage> {
    let names = image.strings("Layers")?;
    if names.len() > LAYER_LIMIT {
        let text = format!("the image has {} layers, and {LAYER_LIMIT} is the limit", names.len());
        return Err(Error::new(&codes::TOO_LARGE, text));
    }
    let config_name = image.string("Config")?.ok_or_else(|| image.missing("Config"))?;
    let config = contents.document(&config_name)?;
    verify_config_name(&config_name, contents.documents.get(config).map(|document| document.digest))?;
    let layers: Result<Vec<(usize, String)>> =
        names.into_iter().map(|name| Ok((contents.layer(&name)?, name))).collect();
    let variant = FoundVariant {
        config,
        layers: layers?,
        manifest: None,
        annotations: BTreeMap::new(),
        layer_annotations: Vec::new(),
    };
    Ok(FoundImage {
        names: image.strings("RepoTags")?,
        labels: Vec::new(),
        variants: vec![variant],
        warnings: Vec::new(),
    })
}

/// A configuration is named by its digest, in every layout that exists.
fn verify_config_name(name: &str, found: Option<Digest>) -> Result<()> {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    match (Digest::from_hex(stem), found) {
        (Ok(named), Some(found)) if named != found => {
            Err(Error::new(&codes::DIGEST_MISMATCH, "the image's configuration does not match its digest")
                .because(format!("it is called {named}, and its content is {found}")))
        }
        _ => Ok(()),
    }
}

/// In a hybrid archive, index.json says what there is, and manifest.json has all the names: for each image those of the
/// entry with the same configuration. (Entries of other platforms carry names made up for readers that know none.)
pub(super) fn add_names(contents: &Contents, mut images: Vec<FoundImage>) -> Vec<FoundImage> {
    let Ok(listed) = self::images(contents) else { return images };
    for image in &mut images {
        let known = !image.names.is_empty();
        let is_its = |entry: &&FoundImage| {
            let config = entry.variants.first().map(|variant| variant.config);
            image.variants.iter().any(|variant| Some(variant.config) == config)
        };
        let entries: Vec<&FoundImage> = listed.iter().filter(is_its).collect();
        // Of several platforms, the entry that shares a name with the index is the native one.
        let same = |entry: &&&FoundImage| {
            !known
                || image.variants.len() == 1
                || entry.names.iter().any(|name| names_meet(name, &image.names))
        };
        let names = entries.iter().filter(same).take(1).flat_map(|entry| entry.names.clone());
        let new: Vec<String> = names.filter(|name| !names_meet(name, &image.names)).collect();
        image.names.extend(new);
    }
    images
}

/// Whether a name is among others, however they are written.
fn names_meet(name: &str, others: &[String]) -> bool {
    let parse = |name: &str| crate::reference::Reference::parse(name).ok();
    others.iter().any(|other| other == name || (parse(other).is_some() && parse(other) == parse(name)))
}
