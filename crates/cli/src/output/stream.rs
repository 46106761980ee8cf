//! `--progress-fd`: lines of JSON for a program that watches, while standard output stays for the result.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use filedescriptor::FileDescriptor;
use nixoci_core::secrets::scrub;
use nixoci_core::{Error, Remedy, Result, shell};

use crate::codes::NO_DESCRIPTOR;

/// An open file descriptor that somebody reads, given by its number.
#[derive(Clone, Debug)]
pub(crate) struct Stream(Arc<Mutex<FileDescriptor>>);

impl Stream {
    /// Takes a copy of the descriptor.
    ///
    /// # Errors
    /// [`NO_DESCRIPTOR`] if nothing is open under that number.
    pub(crate) fn open(number: i32) -> Result<Stream> {
        let copy = FileDescriptor::dup(&number).map_err(|error| {
            let digits = number.to_string();
            Error::new(&NO_DESCRIPTOR, format!("nothing is open as file descriptor {number}"))
                .caused_by(&error)
                .remedy(Remedy::command(
                    "open it in the shell that starts nixoci",
                    shell!("nixoci build --progress-fd {} {}> events.jsonl", digits, digits),
                ))
        })?;
        Ok(Stream(Arc::new(Mutex::new(copy))))
    }

    /// Writes a line, which ends with a line feed, at once. Whether anybody reads it does not matter.
    pub(crate) fn line(&self, line: &str) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_all(scrub(line).as_bytes());
    }
}
