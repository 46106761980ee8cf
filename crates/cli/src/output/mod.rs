//! Everything that reaches the user: the one place that owns the terminal.

mod files;
mod printer;
mod progress;
mod question;
pub(crate) mod steps;
mod stream;
pub(crate) mod style;

pub(crate) use files::SideFiles;
pub(crate) use printer::{Printer, Verbosity};
pub(crate) use progress::{Pause, Ui};
pub(crate) use question::Terminal;
pub(crate) use stream::Stream;
