//! Writing images: from the cache, or straight from a source.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use nixoci_core::temporary::TemporaryFiles;
use nixoci_core::{Error, Remedy, Result};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::part::{Part, Stage};
use super::{Delivered, DeliveredLayer, DeliveredPlatform, Destination, target};
use crate::cache::CachedImage;
use crate::imported::Imported;
use crate::input::{Input, ReadOptions};
use crate::reference::{Naming, Reference};
use crate::summary::Image;
use crate::tar::{BLOCK, Item, Reader};
use crate::write::{
    BlobStore, Described, Documents, Encoding, Format, LayerWriter, LayoutDir, OutImage, Stored, TarFile,
    Target, blob_name,
};
use crate::{codes, read, write_error};

/// How much is copied before progress is told and cancellation looked for.
const STEP: u64 = 16 << 20;
/// How much is hashed at once.
const HASHED: usize = 1 << 20;

/// What writing needs beside the image.
#[derive(Clone, Copy)]
pub struct Writing<'a> {
    /// The platform whose image a reader without a choice gets.
    pub native: &'a OciPlatform,
    /// Who removes what a killed process leaves.
    pub temporary: &'a dyn TemporaryFiles,
    /// Fires when the work should stop.
    pub cancel: &'a CancellationToken,
    /// Hears how many bytes of layers were handled, and how many there are.
    pub progress: &'a (dyn Fn(u64, Option<u64>) + Sync),
}

impl fmt::Debug for Writing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("native", self.native).finish_non_exhaustive()
    }
}

/// An output in the making.
enum Making {
    File(Part, PathBuf),
    Directory(Stage, PathBuf),
}

impl Making {
    fn start(destination: &Destination, temporary: &dyn TemporaryFiles) -> io::Result<Making> {
        let path = target(destination.path());
        Ok(match destination.format {
            Format::OciLayout => Making::Directory(Stage::new(&path, temporary), path),
            _ => Making::File(Part::create(&path, temporary)?, path),
        })
    }

    fn store(&self, format: Format) -> io::Result<Box<dyn BlobStore + '_>> {
        Ok(match self {
            Making::File(part, _) => {
                Box::new(TarFile::new(&part.file, Documents::head(format), Documents::layer_name(format)))
            }
            Making::Directory(stage, path) => Box::new(LayoutDir::create(path.clone(), stage.path.clone())?),
        })
    }

    fn publish(self) -> io::Result<()> {
        match self {
            Making::File(part, path) => part.publish(&path),
            // The store has moved it.
            Making::Directory(..) => Ok(()),
        }
    }
}

impl Destination {
    /// Writes images from the cache: to a temporary place beside, which takes the place of the old one at the end. If it
    /// fails, the old file, if any, is as it was. Several are written as one image for several platforms.
    ///
    /// # Errors
    /// [`codes::CANNOT_MERGE`], and those of writing.
    pub fn write(&self, cached: &[&CachedImage], writing: &Writing<'_>) -> Result<Vec<Delivered>> {
        self.check()?;
        let out = match cached {
            [one] => one.content().out.clone(),
            several => {
                together(several.iter().flat_map(|one| one.content().out.clone()).collect(), &Naming::Keep)?
            }
        };
        let out = self.named(out)?;
        let what = self.path().display().to_string();
        let fail = |error: io::Error| write_error(&error, &what);
        let making = Making::start(self, writing.temporary).map_err(fail)?;
        let mut writer = LayerWriter::new(making.store(self.format).map_err(fail)?, self.encoding);
        let total: u64 = cached.iter().flat_map(|one| &one.content().images).map(Image::size).sum();
        let mut copier = Copier { writer: &mut writer, done: 0, total, writing, seen: HashSet::new() };
        for one in cached {
            copier.layers(one).map_err(|stop| stop.error(&what))?;
        }
        let stored = writer.flush().map_err(fail)?;
        let delivered = self.complete(writer, with_layers(out, &stored), writing.native)?;
        making.publish().map_err(fail)?;
        Ok(delivered)
    }

    /// Writes the documents, and says what was written.
    fn complete(
        &self,
        writer: LayerWriter<'_>,
        images: Vec<OutImage>,
        native: &OciPlatform,
    ) -> Result<Vec<Delivered>> {
        let documents = Documents::new(&Target { format: self.format, native }, &images);
        let finished = writer.into_store().finish(&documents.used, &documents.files);
        let size = finished.map_err(|error| write_error(&error, &self.path().display().to_string()))?;
        let both = images.iter().zip(&documents.described);
        Ok(both.map(|(image, described)| self.delivered(image, described, size)).collect())
    }

    fn delivered(&self, image: &OutImage, described: &Described, size: u64) -> Delivered {
        let layer = |stored: &Stored| DeliveredLayer {
            diff_id: stored.diff_id,
            digest: stored.digest,
            size: stored.size,
        };
        let platforms =
            image.variants.iter().zip(&described.manifests).map(|(variant, manifest)| DeliveredPlatform {
                platform: variant.platform.clone(),
                manifest_digest: *manifest,
                layers: variant.layers.iter().map(layer).collect(),
            });
        Delivered {
            dest: self.to_string(),
            reference: image.names.first().map(Reference::familiar),
            media_type: described.media_type.to_owned(),
            digest: described.digest,
            size,
            platforms: platforms.collect(),
        }
    }

    /// The images under the name that was given with the destination.
    fn named(&self, mut images: Vec<OutImage>) -> Result<Vec<OutImage>> {
        if let Some(name) = &self.name {
            let name = Reference::parse(name)?;
            match images.as_mut_slice() {
                [one] => one.names = vec![name],
                several => {
                    let text = format!("there are {} images, and one name", several.len());
                    return Err(Error::new(&codes::SEVERAL_IMAGES, text));
                }
            }
        }
        Ok(images)
    }
}

/// The layers of images as they were stored now.
fn with_layers(mut images: Vec<OutImage>, stored: &[Stored]) -> Vec<OutImage> {
    let by_diff: HashMap<Digest, Stored> = stored.iter().map(|stored| (stored.diff_id, *stored)).collect();
    for layer in
        images.iter_mut().flat_map(|image| &mut image.variants).flat_map(|variant| &mut variant.layers)
    {
        *layer = by_diff.get(&layer.diff_id).copied().unwrap_or(*layer);
    }
    images
}

/// Several images as one for several platforms.
fn together(images: Vec<OutImage>, naming: &Naming) -> Result<Vec<OutImage>> {
    let mut merged = OutImage { names: Vec::new(), labels: Vec::new(), variants: Vec::new() };
    let fail = |text: String| Error::new(&codes::CANNOT_MERGE, text);
    for image in images {
        for name in image.names {
            if !merged.names.contains(&name) {
                merged.names.push(name);
            }
        }
        for variant in image.variants {
            if merged.variants.iter().any(|other| other.platform.matches(&variant.platform)) {
                return Err(fail(format!("two of the images are for {}", variant.platform))
                    .because("an index has one image for each platform")
                    .remedy(Remedy::command("see what is what", "nixoci inspect SRC")));
            }
            merged.variants.push(variant);
        }
    }
    if merged.variants.is_empty() {
        return Err(fail("there is nothing to merge".to_owned()));
    }
    // In whatever order they came, it is the same image.
    merged.variants.sort_by_key(|variant| variant.platform.to_string());
    if let Naming::Replace(names) = naming {
        merged.names.clone_from(names);
    }
    Ok(vec![merged])
}

/// Writes the images of a source, checking everything on the way. Nothing is kept anywhere else.
///
/// Blocks: call it where blocking is allowed.
///
/// # Errors
/// Those of reading and writing.
pub fn convert(
    input: Input,
    options: &ReadOptions<'_>,
    destination: &Destination,
    temporary: &dyn TemporaryFiles,
) -> Result<(Vec<Image>, Vec<Delivered>)> {
    transcode(vec![(input, options.clone())], destination, temporary, Ok)
}

/// As [`convert`], but several sources become one image for several platforms.
///
/// # Errors
/// [`codes::CANNOT_MERGE`], and those of reading and writing.
pub fn merge(
    inputs: Vec<(Input, ReadOptions<'_>)>,
    destination: &Destination,
    temporary: &dyn TemporaryFiles,
) -> Result<(Vec<Image>, Vec<Delivered>)> {
    let naming = inputs.first().map_or(Naming::Keep, |(_, options)| options.names.clone());
    transcode(inputs, destination, temporary, |images| together(images, &naming))
}

fn transcode(
    inputs: Vec<(Input, ReadOptions<'_>)>,
    destination: &Destination,
    temporary: &dyn TemporaryFiles,
    arrange: impl FnOnce(Vec<OutImage>) -> Result<Vec<OutImage>>,
) -> Result<(Vec<Image>, Vec<Delivered>)> {
    destination.check()?;
    let what = destination.path().display().to_string();
    let fail = |error: io::Error| write_error(&error, &what);
    let making = Making::start(destination, temporary).map_err(fail)?;
    let mut writer = LayerWriter::new(making.store(destination.format).map_err(fail)?, destination.encoding);
    let (mut images, mut out) = (Vec::new(), Vec::new());
    let native = inputs.first().map(|(_, options)| options.native.clone());
    let native = native.ok_or_else(|| Error::new(&codes::CANNOT_MERGE, "there is nothing to read"))?;
    for (input, options) in inputs {
        let (read, written) = read::read(input, &options, Some(&mut writer))?;
        images.extend(read.into_iter().map(read::ReadImage::into_image));
        out.extend(written);
    }
    let out = destination.named(arrange(out)?)?;
    let delivered = destination.complete(writer, out, &native)?;
    making.publish().map_err(fail)?;
    Ok((images, delivered))
}

/// Writes images from the cache as one hybrid archive for several platforms, also for the cache.
///
/// # Errors
/// [`codes::CANNOT_MERGE`], and those of writing.
pub(crate) fn merge_cached(
    cached: &[&CachedImage],
    writing: &Writing<'_>,
    file: &mut File,
) -> Result<Imported> {
    let out = together(cached.iter().flat_map(|one| one.content().out.clone()).collect(), &Naming::Keep)?;
    let what = "the cache";
    let fail = |error: io::Error| write_error(&error, what);
    let store = TarFile::new(file, Documents::head(Format::Hybrid), Documents::layer_name(Format::Hybrid));
    let mut writer = LayerWriter::new(Box::new(store), Encoding::Plain);
    let mut copier = Copier { writer: &mut writer, done: 0, total: 0, writing, seen: HashSet::new() };
    for one in cached {
        copier.layers(one).map_err(|stop| stop.error(what))?;
    }
    let stored = writer.flush().map_err(fail)?;
    let out = with_layers(out, &stored);
    let documents = Documents::new(&Target { format: Format::Hybrid, native: writing.native }, &out);
    writer.into_store().finish(&documents.used, &documents.files).map_err(fail)?;
    let platforms: Vec<_> = cached
        .iter()
        .flat_map(|one| &one.content().images)
        .flat_map(|image| image.platforms.clone())
        .collect();
    let names: Vec<String> = out.iter().flat_map(|image| &image.names).map(Reference::familiar).collect();
    let platforms = platforms.into_iter().map(|mut one| {
        one.names.clone_from(&names);
        one
    });
    let image = Image { digest: None, media_type: String::new(), platforms: platforms.collect() };
    Ok(Imported::new(vec![image], out, &documents))
}

enum Stop {
    Cancelled,
    Io(io::Error),
    Damaged,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Io(error)
    }
}

impl Stop {
    fn error(self, what: &str) -> Error {
        match self {
            Stop::Cancelled => {
                Error::new(&nixoci_core::codes::CANCELLED, format!("writing {what} was stopped"))
            }
            Stop::Io(error) => write_error(&error, what),
            Stop::Damaged => Error::new(&codes::CACHE_DAMAGED, "the image in the cache is damaged")
                .because("a layer in it has another digest than when it was checked; it was removed from the cache")
                .remedy(Remedy::command("make it anew", "nixoci build")),
        }
    }
}

/// Copies the layers of archives in the cache. They were checked when they came, and are hashed again on the way out: a disk
/// forgets, and nothing else would notice.
struct Copier<'w, 's, 'a> {
    writer: &'w mut LayerWriter<'s>,
    done: u64,
    total: u64,
    writing: &'a Writing<'a>,
    seen: HashSet<Digest>,
}

impl Copier<'_, '_, '_> {
    fn layers(&mut self, cached: &CachedImage) -> Result<(), Stop> {
        let copied = self.checked(cached);
        if matches!(copied, Err(Stop::Damaged)) {
            cached.remove();
        }
        copied
    }

    fn checked(&mut self, cached: &CachedImage) -> Result<(), Stop> {
        let mut archive = File::open(&cached.archive)?;
        let located = locate(&mut archive)?;
        let images = &cached.content().images;
        let mut wanted = Vec::new();
        for layer in images.iter().flat_map(|image| &image.platforms).flat_map(|platform| &platform.layers) {
            if !self.seen.insert(layer.diff_id) {
                continue;
            }
            let (at, size) = located.get(&blob_name(&layer.diff_id)).copied().ok_or(Stop::Damaged)?;
            if size != layer.size {
                return Err(Stop::Damaged);
            }
            wanted.push((layer.diff_id, at, size));
        }
        // Beside the copying, on a thread of its own: what is hashed is copied a moment later, and read from the disk once.
        std::thread::scope(|scope| {
            let hashing = scope.spawn(|| are_intact(&archive, &wanted, self.writing.cancel));
            let writer = &mut *self.writer;
            let mut copying =
                Copying { writer, done: &mut self.done, total: self.total, writing: self.writing };
            let copied = wanted
                .iter()
                .try_for_each(|(diff_id, at, size)| copying.layer(&archive, *diff_id, *at, *size));
            let intact =
                hashing.join().unwrap_or_else(|_| Err(io::Error::other("a thread that hashes has died")));
            copied?;
            if intact? { Ok(()) } else { Err(Stop::Damaged) }
        })
    }
}

/// Whether every layer, at these places of an archive, has its digest. One that was stopped counts as intact.
fn are_intact(archive: &File, layers: &[(Digest, u64, u64)], cancel: &CancellationToken) -> io::Result<bool> {
    let mut buffer = vec![0; HASHED];
    for (diff_id, at, size) in layers {
        let mut hasher = Sha256::new();
        let mut done = 0;
        while done < *size {
            if cancel.is_cancelled() {
                return Ok(true);
            }
            let step = usize::try_from(size - done).unwrap_or(HASHED).min(HASHED);
            archive.read_exact_at(&mut buffer[..step], at + done)?;
            hasher.update(&buffer[..step]);
            done += step as u64;
        }
        if Digest::from_bytes(hasher.finalize().into()) != *diff_id {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The copying half of a [`Copier`].
struct Copying<'c, 's, 'a> {
    writer: &'c mut LayerWriter<'s>,
    done: &'c mut u64,
    total: u64,
    writing: &'a Writing<'a>,
}

impl Copying<'_, '_, '_> {
    fn layer(&mut self, archive: &File, diff_id: Digest, at: u64, size: u64) -> Result<(), Stop> {
        self.writer.begin(crate::detect::Compression::None)?;
        let mut copied = 0;
        while copied < size {
            if self.writing.cancel.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let step = STEP.min(size - copied);
            self.writer.copy(archive, at + copied, step)?;
            copied += step;
            *self.done += step;
            (self.writing.progress)(*self.done, Some(self.total).filter(|total| *total > 0));
        }
        Ok(self.writer.end(diff_id, diff_id)?)
    }
}

/// Where the members of an archive are: name to offset and size of the data.
fn locate(archive: &mut File) -> io::Result<HashMap<String, (u64, u64)>> {
    Ok(members(archive)?.into_iter().map(|(name, at, size)| (name, (at, size))).collect())
}

/// The members of an archive that we wrote, in order: name, offset and size of the data. The header is right before.
pub(crate) fn members(archive: &mut File) -> io::Result<Vec<(String, u64, u64)>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut reader = Reader::new();
    let mut found = Vec::new();
    let mut block = [0; BLOCK];
    let mut at = 0;
    archive.seek(SeekFrom::Start(0))?;
    while !reader.ended() {
        archive.read_exact(&mut block)?;
        at += BLOCK as u64;
        let mut input = block.as_slice();
        if let Some(Item::Entry(entry)) = reader.next(&mut input).map_err(io::Error::other)? {
            found.push((String::from_utf8_lossy(&entry.name).into_owned(), at, entry.size));
            at = archive.seek(SeekFrom::Start(at + reader.skip()))?;
        }
    }
    Ok(found)
}
