//! A NAR that is one regular file, read as that file.

use std::io::{self, Read};

use nixoci_core::{Error, Result};

use super::{Event, Reader, bad};
use crate::codes;

/// The contents of a NAR that is a single regular file. The archive's end is checked when the last byte has
/// been read.
#[derive(Debug)]
pub struct SingleFile<R> {
    reader: Reader<R>,
    executable: bool,
    len: u64,
    checked: bool,
}

/// Opens a NAR that is a single regular file: an image archive in the store is one.
///
/// # Errors
/// As [`Reader::next`]; [`codes::NOT_A_FILE`] if it is a directory or a symbolic link.
pub fn single_file<R: Read>(input: R) -> Result<SingleFile<R>> {
    let mut reader = Reader::new(input);
    let what = match reader.next()? {
        Some(Event::Regular { executable, len }) => {
            return Ok(SingleFile { reader, executable, len, checked: false });
        }
        Some(Event::Symlink { .. }) => "a symbolic link",
        _ => "a directory",
    };
    Err(Error::new(&codes::NOT_A_FILE, format!("the store path is {what}, not a file")))
}

impl<R: Read> SingleFile<R> {
    /// Whether the file may be executed.
    pub fn executable(&self) -> bool {
        self.executable
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Skips what was not read, checks the end of the archive, and gives back the stream behind it.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn finish(mut self) -> Result<R> {
        self.check_end()?;
        Ok(self.reader.into_inner())
    }

    fn check_end(&mut self) -> Result<()> {
        if !self.checked {
            if self.reader.next()?.is_some() {
                return Err(bad("something follows the file"));
            }
            self.checked = true;
        }
        Ok(())
    }
}

impl<R: Read> Read for SingleFile<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.checked || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.reader.contents().read(buffer)?;
        if count == 0 {
            self.check_end().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(count)
    }
}
