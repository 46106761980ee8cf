//! Reading an image in one pass: check everything, and write the hybrid archive on the way.

mod archive;
mod assemble;
mod layer;

use std::fs::File;

use nixoci_core::Result;

use crate::input::{Input, ReadOptions};
use crate::summary::ImageSummary;
use crate::{hybrid, pipeline, write_error};
use archive::Archive;
use assemble::assemble;

/// Reads an image and checks it; writes nothing.
///
/// Blocks: call it where blocking is allowed.
pub fn check(input: Input, options: &ReadOptions<'_>) -> Result<ImageSummary> {
    Ok(read(input, options, None)?.summary)
}

/// Reads an image, checks it, and writes the hybrid archive that all container runtimes load to `out`, which
/// must be open for reading and writing. What `out` holds is an image only if this succeeds.
///
/// Blocks: call it where blocking is allowed.
pub fn import(input: Input, options: &ReadOptions<'_>, out: &mut File) -> Result<ImageSummary> {
    out.set_len(0).map_err(|error| write_error(&error, "the image"))?;
    let image = read(input, options, Some(out))?;
    hybrid::finish(out, &image.placed, &image.documents).map_err(|error| write_error(&error, "the image"))?;
    Ok(image.summary)
}

fn read(input: Input, options: &ReadOptions<'_>, out: Option<&File>) -> Result<assemble::Image> {
    let (name, path) = (input.name.clone(), input.path.clone());
    let mut archive = Archive::new(&name, path, out.is_some().then_some(hybrid::START));
    pipeline::run(input, options, out, |bytes, writes| archive.feed(bytes, writes))?;
    let image = assemble(archive.finish()?, options)?;
    image.summary.accept(options.expect.as_ref(), options.allow_mismatch)?;
    Ok(image)
}
