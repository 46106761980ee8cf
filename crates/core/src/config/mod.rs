//! nixoci.toml: its shape, where it is found, how its layers combine, and errors that point into it.
//!
//! The flow: [`discover()`] finds the files, [`ConfigFile::load`] reads each one on its own (so that an error
//! names its file and place), and [`resolve()`] layers them under flags and environment into
//! [`Settings`], in which every value remembers where it came from.

mod discover;
mod model;
mod settings;
mod table;
mod toml_error;
pub mod trust;

pub use discover::{FILE_NAME, discover, repository};
pub use model::{ConfigFile, ImageTable, LoadTarget, PluginPin, ProfileTable, Runtime, config_schema};
pub use settings::{Chosen, ImageSource, Origin, Setting, Settings, Sources, Wishes, resolve};
pub use table::BackendTable;
pub use toml_error::unknown_key_among;
