//! Lines from processes, bounded and made harmless.
//!
//! A build may print a gigabyte without a line end, or escape sequences meant for the reader's terminal.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nixoci_core::event::Observer;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// What is kept of one line. Nix's longest own lines are error messages with the end of a log in them.
pub(crate) const LINE_LIMIT: usize = 1 << 20;
/// What is kept of one line of a build's log.
pub(crate) const LOG_LINE_LIMIT: usize = 16 << 10;

/// Splits a stream into lines of bounded length.
#[derive(Debug)]
pub struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of this stream, of which at most `limit` bytes each are kept.
    pub fn new(reader: R, limit: usize) -> Self {
        Lines { reader: BufReader::with_capacity(32 << 10, reader), line: Vec::new(), limit }
    }

    /// The next line without its end; what goes beyond the limit is dropped. `None` at the end of the stream.
    pub async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let mut seen = false;
        loop {
            let available = self.reader.fill_buf().await?;
            if available.is_empty() {
                return Ok(seen.then_some(self.line.as_slice()));
            }
            seen = true;
            let end = memchr::memchr(b'\n', available);
            let part = &available[..end.unwrap_or(available.len())];
            let room = self.limit - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let consumed = part.len() + usize::from(end.is_some());
            self.reader.consume(consumed);
            if end.is_some() {
                return Ok(Some(&self.line));
            }
        }
    }
}

/// Waits until whoever is told has nearly caught up. Who reads no further meanwhile keeps the writer from writing: a flood is held back where
/// it comes from, and fills no memory. Once the writer has `ended`, there is no flood any more.
pub async fn caught_up(observer: &dyn Observer, ended: &AtomicBool) {
    while observer.is_busy() && !ended.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Text without escape sequences and control characters, except tabs and line ends.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => skip_escape(&mut rest),
            '\n' | '\t' => out.push(character),
            other if other.is_control() => {}
            other => out.push(other),
        }
    }
    out
}

fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        // Control sequence: ends with a letter or similar.
        Some('[') => drop(rest.find(|c| ('\u{40}'..='\u{7e}').contains(c))),
        // Operating system command and its like: ends with BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(character) = rest.next() {
                if character == '\u{7}' || (character == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

/// One line of a log: what a terminal would show in the end, bounded.
pub fn log_line(text: &str) -> String {
    let text = text.trim_end_matches(['\r', '\n']);
    let shown = text.rsplit('\r').next().unwrap_or(text);
    let mut end = shown.len().min(LOG_LINE_LIMIT);
    while !shown.is_char_boundary(end) {
        end -= 1;
    }
    plain(&shown[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn split(text: &[u8], limit: usize) -> Vec<String> {
        let mut lines = Lines::new(text, limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(String::from_utf8_lossy(line).into_owned());
        }
        found
    }

    #[tokio::test]
    async fn splits_with_and_without_a_last_line_end() {
        assert_eq!(split(b"a\n\nb", 10).await, ["a", "", "b"]);
        assert_eq!(split(b"a\n", 10).await, ["a"]);
        assert!(split(b"", 10).await.is_empty());
    }

    #[tokio::test]
    async fn a_huge_line_costs_no_more_than_the_limit() {
        let mut text = vec![b'x'; 5 << 20];
        text.extend_from_slice(b"\nnext\n");
        let mut lines = Lines::new(text.as_slice(), 1000);
        assert_eq!(lines.next().await.unwrap().unwrap().len(), 1000);
        assert_eq!(lines.next().await.unwrap().unwrap(), b"next");
        assert!(lines.line.capacity() < 10_000);
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(plain("\u{1b}[31;1merror:\u{1b}[0m x"), "error: x");
        assert_eq!(plain("a\u{1b}]0;title\u{7}b\u{1b}]8;;u\u{1b}\\c\u{9b}31md\u{8}e"), "abc31mde");
        assert_eq!(plain("cut \u{1b}["), "cut ");
        assert_eq!(plain("\u{1b}"), "");
    }

    #[test]
    fn a_progress_bar_in_a_log_is_its_last_state() {
        assert_eq!(log_line("10%\r50%\r100%\r\n"), "100%");
        assert!(log_line(&"ü".repeat(LOG_LINE_LIMIT)).len() <= LOG_LINE_LIMIT);
    }
}
