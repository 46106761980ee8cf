//! Docker's manifest.json.
//!
//! Source: moby `image/tarexport/load.go`; Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset
//! Format".

use std::collections::BTreeMap;

use nixoci_core::digest::Digest;
use nixoci_core::{Error, Result};

use super::archive::Contents;
use super::found::{Broken, FoundImage, FoundVariant, IMAGE_LIMIT, LAYER_LIMIT, same_name};
use crate::codes;
use crate::json::{self, Object};
use crate::summary::Warning;
use crate::text::show;

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
    images.into_iter().map(|image| Ok(found(contents, &Object::parse(image.get(), WHAT)?))).collect()
}

fn found(contents: &Contents, image: &Object<'_>) -> FoundImage {
    let mut found = FoundImage::default();
    let read = image.strings("RepoTags").and_then(|names| {
        found.names = names;
        variant(contents, image, &mut found.warnings)
    });
    match read {
        Ok(variant) => found.variants.push(variant),
        Err(error) => {
            let what = found
                .names
                .first()
                .map_or("an image without a name".to_owned(), |name| show(name.as_bytes()));
            found.broken.push(Broken { what, platform: None, error });
        }
    }
    found
}

fn variant(contents: &Contents, image: &Object<'_>, warnings: &mut Vec<Warning>) -> Result<FoundVariant> {
    let names = image.strings("Layers")?;
    if names.len() > LAYER_LIMIT {
        let text = format!("the image has {} layers, and {LAYER_LIMIT} is the limit", names.len());
        return Err(Error::new(&codes::TOO_LARGE, text));
    }
    let config_name = image.string("Config")?.ok_or_else(|| image.missing("Config"))?;
    let config = contents.document(&config_name)?;
    let digest = contents.documents.get(config).map(|document| document.digest);
    warnings.extend(odd_name(&config_name, digest));
    let layers: Result<Vec<(usize, String)>> =
        names.into_iter().map(|name| Ok((contents.layer(&name)?, name))).collect();
    Ok(FoundVariant {
        config,
        layers: layers?,
        manifest: None,
        annotations: BTreeMap::new(),
        layer_annotations: Vec::new(),
    })
}

/// A configuration is called after its digest. Docker loads one that is called otherwise, and its layers are checked by the
/// digests in it.
fn odd_name(name: &str, found: Option<Digest>) -> Option<Warning> {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let named = Digest::from_hex(stem.strip_suffix(".json").unwrap_or(stem)).ok()?;
    let found = found.filter(|found| *found != named)?;
    let text = format!("the image's configuration is called {named}, and its content is {found}");
    Some(Warning::new(&codes::CONFIG_NAME, text))
}

/// In a hybrid archive, index.json says what there is, and manifest.json has all the names: for each image those of the
/// entry with the same configuration. (Entries of other platforms carry names made up for readers that know none.)
pub(super) fn add_names(mut images: Vec<FoundImage>, listed: &[FoundImage]) -> Vec<FoundImage> {
    for image in &mut images {
        let known = !image.names.is_empty();
        let is_its = |entry: &&FoundImage| {
            let config = entry.variants.first().map(|variant| variant.config);
            image.variants.iter().any(|variant| Some(variant.config) == config)
        };
        // Of several platforms, the entry that shares a name with the index is the native one.
        let same = |entry: &&FoundImage| {
            !known || image.variants.len() == 1 || entry.names.iter().any(|name| is_among(name, &image.names))
        };
        let names =
            listed.iter().filter(is_its).find(same).map(|entry| entry.names.clone()).unwrap_or_default();
        let new: Vec<String> = names.into_iter().filter(|name| !is_among(name, &image.names)).collect();
        image.names.extend(new);
    }
    images
}

fn is_among(name: &str, others: &[String]) -> bool {
    others.iter().any(|other| same_name(name, other))
}
