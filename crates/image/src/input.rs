//! Where the bytes of an image come from, and what is asked of them.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nixoci_core::platform::OciPlatform;
use nixoci_core::{Error, Result};
use tokio_util::sync::CancellationToken;

use crate::codes;
use crate::directory;
use crate::reference::Naming;
use crate::summary::Mismatch;

/// A source of an image's bytes.
pub struct Input {
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) name: String,
    pub(crate) size: Option<u64>,
    pub(crate) path: Option<PathBuf>,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("name", &self.name).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Input {
    /// A file, a directory with an OCI layout (or skopeo's `dir:`), or what a link such as `./result` points to.
    pub fn file(path: &Path) -> Result<Input> {
        let fail = |error: &io::Error| unreadable(path, error);
        let file = File::open(path).map_err(|error| fail(&error))?;
        let metadata = file.metadata().map_err(|error| fail(&error))?;
        if metadata.is_dir() {
            return directory::input(path);
        }
        let size = metadata.is_file().then_some(metadata.len());
        let name = path.display().to_string();
        Ok(Input { reader: Box::new(file), name, size, path: Some(path.to_owned()) })
    }

    /// A stream, with a name for messages and its length where it is known. The stream must end, or fail, when
    /// the work is cancelled: nobody can interrupt a blocked read.
    pub fn reader(reader: Box<dyn Read + Send>, name: String, size: Option<u64>) -> Input {
        Input { reader, name, size, path: None }
    }
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Error {
    let code = if error.kind() == io::ErrorKind::NotFound { &codes::NOT_FOUND } else { &codes::READ_FAILED };
    Error::new(code, format!("{} cannot be read", path.display())).caused_by(error)
}

/// What is asked of an image that is read.
#[derive(Clone)]
pub struct ReadOptions<'a> {
    /// The platforms it should be for; any when empty. Of an image for several platforms only these are taken.
    pub expect: Vec<OciPlatform>,
    /// Of several images in the source, the one with this name, tag or label.
    pub only: Option<String>,
    /// The platform whose image a reader without a choice gets: that of this machine's containers.
    pub native: OciPlatform,
    /// The date of the image, in place of its own (RFC 3339).
    pub created: Option<String>,
    /// The treatment of an image for another platform.
    pub mismatch: Mismatch,
    /// What it is to be called.
    pub names: Naming,
    /// Fires when the work should stop.
    pub cancel: &'a CancellationToken,
    /// Hears how many bytes of the source were read, and how many there are.
    pub progress: &'a (dyn Fn(u64, Option<u64>) + Sync),
}

impl<'a> ReadOptions<'a> {
    /// Options that ask for nothing in particular.
    pub fn new(cancel: &'a CancellationToken) -> Self {
        ReadOptions {
            expect: Vec::new(),
            only: None,
            native: OciPlatform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None },
            created: None,
            mismatch: Mismatch::Refused,
            names: Naming::Keep,
            cancel,
            progress: &|_, _| {},
        }
    }

    /// The platform of an image that names none: what was asked for, or if anything is allowed that of this machine's containers.
    pub(crate) fn assumed(&self) -> Option<&OciPlatform> {
        match self.expect.as_slice() {
            [one] => Some(one),
            _ => (self.mismatch == Mismatch::Allowed).then_some(&self.native),
        }
    }
}

impl fmt::Debug for ReadOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOptions")
            .field("expect", &self.expect)
            .field("mismatch", &self.mismatch)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
