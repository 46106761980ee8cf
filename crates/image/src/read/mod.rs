//! Reading images in one pass: check everything, and store the layers on the way.

mod archive;
mod assemble;
mod docker;
mod found;
mod layer;
mod oci;

use std::fs::File;

use nixoci_core::Result;

use crate::imported::Imported;
use crate::input::{Input, ReadOptions};
use crate::summary::Image;
use crate::write::{Documents, Encoding, Format, LayerWriter, OutImage, TarFile, Target};
use crate::{pipeline, write_error};
use archive::Archive;
pub(crate) use assemble::ReadImage;
use assemble::assemble;

/// Reads an archive or a layout and checks its images; writes nothing.
///
/// Blocks: call it where blocking is allowed.
pub fn check(input: Input, options: &ReadOptions<'_>) -> Result<Vec<Image>> {
    let images = read(input, options, None)?.0;
    Ok(images.into_iter().map(ReadImage::into_image).collect())
}

/// Reads images, checks them, and writes the hybrid archive that all container runtimes load to `out`, which
/// must be open for reading and writing. What `out` holds is an image only if this succeeds.
///
/// Blocks: call it where blocking is allowed.
pub fn import(input: Input, options: &ReadOptions<'_>, out: &mut File) -> Result<Imported> {
    let fail = |error: std::io::Error| write_error(&error, "the image");
    out.set_len(0).map_err(fail)?;
    let store = TarFile::new(out, Documents::head(Format::Hybrid), Documents::layer_name(Format::Hybrid));
    let mut writer = LayerWriter::new(Box::new(store), Encoding::Plain);
    let (images, out_images) = read(input, options, Some(&mut writer))?;
    let target = Target { format: Format::Hybrid, native: &options.native };
    let documents = Documents::new(&target, &out_images);
    writer.into_store().finish(&documents.used, &documents.files).map_err(fail)?;
    Ok(Imported::new(images.into_iter().map(ReadImage::into_image).collect(), out_images, &documents))
}

/// Reads images, and stores their layers. What is not used by them is stored, too, until the store ends.
pub(crate) fn read(
    input: Input,
    options: &ReadOptions<'_>,
    writer: Option<&mut LayerWriter<'_>>,
) -> Result<(Vec<ReadImage>, Vec<OutImage>)> {
    let mut archive = Archive::new(&input.name, input.path.clone());
    let stored = pipeline::run(input, options, writer, |bytes, outbox| archive.feed(bytes, outbox))?;
    let images = assemble(&archive.finish()?, options)?;
    for summary in images.iter().flat_map(|image| &image.variants).map(|variant| &variant.summary) {
        summary.accept(&options.expect, options.mismatch)?;
    }
    let out = images.iter().map(|image| image.out(&stored)).collect();
    Ok((images, out))
}
