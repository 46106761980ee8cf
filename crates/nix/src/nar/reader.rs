//! Reading a NAR as a stream of events.

use std::io::{self, Read};

use nixoci_core::{Error, Result};

use super::{DEPTH_LIMIT, MAGIC, NAME_LIMIT, TARGET_LIMIT, bad, check_name, check_target, padding};
use crate::codes;

/// One thing in a NAR. A node is a [`Directory`](Event::Directory), a [`Regular`](Event::Regular) or a
/// [`Symlink`](Event::Symlink); the first event is the root's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A directory begins; its entries follow, up to [`Event::Leave`].
    Directory,
    /// An entry of the innermost directory; its node is the next event.
    Enter {
        /// Its name: one path component, never `.` or `..`, in ascending order within a directory.
        name: Vec<u8>,
    },
    /// The innermost directory ends.
    Leave,
    /// A regular file; its bytes can be read with [`Reader::contents`] before the next event.
    Regular {
        /// Whether it may be executed.
        executable: bool,
        /// How many bytes it has.
        len: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
}

/// Reads one NAR, and not a byte more, so that archives can follow each other in one stream. Makes small reads:
/// give it a [`BufReader`](std::io::BufReader).
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    state: State,
    /// The last name seen in each open directory.
    open: Vec<Option<Vec<u8>>>,
}

#[derive(Debug, PartialEq)]
enum State {
    Start,
    /// A node is next.
    Node,
    /// Inside a file's bytes: how many are left, and how much padding follows.
    Contents {
        left: u64,
        padding: usize,
    },
    /// Inside a directory, between entries.
    Directory,
    End,
}

impl<R: Read> Reader<R> {
    /// Begins to read.
    pub fn new(input: R) -> Self {
        Reader { input, state: State::Start, open: Vec::new() }
    }

    /// The next event; `None` at the end of the archive. Contents that were not read are skipped.
    ///
    /// # Errors
    /// [`codes::BAD_NAR`], or [`codes::TRANSFER`] if the stream fails or ends too early.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend the contents in between")]
    pub fn next(&mut self) -> Result<Option<Event>> {
        match self.state {
            State::Start => {
                self.expect(MAGIC)?;
                self.node().map(Some)
            }
            State::Node => self.node().map(Some),
            State::Contents { .. } => {
                self.finish_contents()?;
                self.after_node()
            }
            State::Directory => self.entry().map(Some),
            State::End => Ok(None),
        }
    }

    /// The bytes of the file that the last event announced.
    pub fn contents(&mut self) -> Contents<'_, R> {
        Contents(self)
    }

    /// The stream, just behind what was read.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn node(&mut self) -> Result<Event> {
        self.expect(b"(")?;
        self.expect(b"type")?;
        match self.token()?.as_slice() {
            b"directory" => {
                if self.open.len() == DEPTH_LIMIT {
                    return Err(bad("directories are nested too deeply"));
                }
                self.open.push(None);
                self.state = State::Directory;
                Ok(Event::Directory)
            }
            b"symlink" => {
                self.expect(b"target")?;
                let target = self.bytes(TARGET_LIMIT)?;
                check_target(&target)?;
                self.state = State::Contents { left: 0, padding: 0 };
                Ok(Event::Symlink { target })
            }
            b"regular" => self.regular(),
            _ => Err(bad("a node is neither a file, nor a directory, nor a symbolic link")),
        }
    }

    fn regular(&mut self) -> Result<Event> {
        let mut tag = self.token()?;
        let executable = tag == b"executable";
        if executable {
            self.expect(b"")?;
            tag = self.token()?;
        }
        if tag != b"contents" {
            return Err(bad("a file has no contents"));
        }
        let len = self.number()?;
        self.state = State::Contents { left: len, padding: padding(len) };
        Ok(Event::Regular { executable, len })
    }

    fn entry(&mut self) -> Result<Event> {
        match self.token()?.as_slice() {
            b"entry" => {
                self.expect(b"(")?;
                self.expect(b"name")?;
                let name = self.bytes(NAME_LIMIT)?;
                check_name(&name, self.open.last().and_then(Option::as_deref))?;
                if let Some(last) = self.open.last_mut() {
                    *last = Some(name.clone());
                }
                self.expect(b"node")?;
                self.state = State::Node;
                Ok(Event::Enter { name })
            }
            b")" => {
                self.open.pop();
                self.close_entry()?;
                Ok(Event::Leave)
            }
            _ => Err(bad("something in a directory is no entry")),
        }
    }

    /// A node's contents are over; closes it and goes on.
    fn after_node(&mut self) -> Result<Option<Event>> {
        self.expect(b")")?;
        self.close_entry()?;
        match self.state {
            State::Directory => self.entry().map(Some),
            _ => Ok(None),
        }
    }

    /// A node is closed: so is the entry it stands in, if it stands in one.
    fn close_entry(&mut self) -> Result<()> {
        if self.open.is_empty() {
            self.state = State::End;
        } else {
            self.expect(b")")?;
            self.state = State::Directory;
        }
        Ok(())
    }

    fn finish_contents(&mut self) -> Result<()> {
        io::copy(&mut self.contents(), &mut io::sink()).map_err(|error| broken(&error))?;
        let State::Contents { padding, .. } = self.state else { return Ok(()) };
        self.zeros(padding)
    }

    fn expect(&mut self, wanted: &[u8]) -> Result<()> {
        if self.token()? == wanted {
            Ok(())
        } else {
            Err(bad(format!("`{}` is missing", String::from_utf8_lossy(wanted))))
        }
    }

    /// A word of the format; none is long.
    fn token(&mut self) -> Result<Vec<u8>> {
        self.bytes(32)
    }

    fn bytes(&mut self, limit: u64) -> Result<Vec<u8>> {
        let len = self.number()?;
        if len > limit {
            return Err(bad("a text is longer than it can be"));
        }
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        self.zeros(padding(len))?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn zeros(&mut self, count: usize) -> Result<()> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes[..count])?;
        if bytes == [0; 8] { Ok(()) } else { Err(bad("padding is not zero")) }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.input.read_exact(bytes).map_err(|error| broken(&error))
    }
}

fn broken(error: &io::Error) -> Error {
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the Nix archive ends too early",
        _ => "the Nix archive could not be read",
    };
    Error::new(&codes::TRANSFER, what).caused_by(error)
}

/// The bytes of one file in a NAR.
#[derive(Debug)]
pub struct Contents<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Contents<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let State::Contents { left, .. } = &mut self.0.state else { return Ok(0) };
        let wanted = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.0.input.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= count as u64;
        Ok(count)
    }
}
