//! Images in the form in which the cache keeps them.

use serde::{Deserialize, Serialize};

use crate::summary::Image;
use crate::write::{Documents, OutImage};

/// Images that were read into a hybrid archive: what is known about them, and what it takes to write them elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// The images.
    pub images: Vec<Image>,
    pub(crate) out: Vec<OutImage>,
}

impl Imported {
    pub(crate) fn new(mut images: Vec<Image>, out: Vec<OutImage>, documents: &Documents) -> Self {
        for (image, described) in images.iter_mut().zip(&documents.described) {
            image.digest = Some(described.digest);
            image.media_type = described.media_type.to_owned();
        }
        Imported { images, out }
    }
}
