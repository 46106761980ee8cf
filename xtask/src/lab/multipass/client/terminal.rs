//! What people see.

use std::io::Write;

/// What turns on stdout while the daemon works, terminal or not.
#[derive(Debug, Default)]
pub(super) struct Spinner {
    turns: Option<usize>,
}

const CLEAR: &str = "\x1b[2K\x1b[0A\x1b[0E";

impl Spinner {
    pub(super) fn start(&mut self, text: &str) {
        self.stop();
        out(&format!("{CLEAR}{text}  "));
        self.turns = Some(0);
        self.turn();
    }

    pub(super) fn turn(&mut self) {
        if let Some(turns) = &mut self.turns {
            *turns += 1;
            out(&format!("\u{8}{}", ["|", "/", "-", "\\"][*turns % 4]));
        }
    }

    pub(super) fn stop(&mut self) {
        if self.turns.take().is_some() {
            out("\u{8} ");
        }
        out(CLEAR);
    }
}

/// Writes to stdout at once. That nobody reads is no reason to stop.
pub(in super::super) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

pub(in super::super) fn err(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
