//! What goes between nixoci and the process that loads a library: one JSON object a line, both ways.
//!
//! What the plugin said is inside, untouched; the process only makes sure that it is JSON, so that a plugin can garble its own
//! words and nothing else.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use nixoci_core::Error;

/// To the process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToPlugin {
    Describe,
    Create { hello: Box<RawValue> },
    Start { call: u64, request: Box<RawValue> },
    Cancel { call: u64 },
    Destroy,
}

/// From the process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FromPlugin {
    /// The library is loaded and speaks a version that we speak.
    Loaded,
    /// It is not.
    Failed { error: Error },
    /// The answer to `Describe`, if there was one.
    Described { status: u32, answer: Option<Box<RawValue>> },
    /// A backend was made.
    Created,
    /// It was not; why, if that was said.
    Refused { error: Option<Box<RawValue>> },
    /// Something happened in a call.
    Event { call: u64, event: Box<RawValue> },
    /// A call has ended.
    Done { call: u64, status: u32, answer: Box<RawValue> },
    /// A line for people who want details.
    Log { level: u32, text: String },
    /// What came from the plugin is not what may come. About a call, if one is known.
    Wrong { call: Option<u64>, what: String },
    /// More was logged than anybody will read: the rest is dropped.
    Flooded,
}

/// A frame as it is sent, with its line end.
pub(super) fn line(frame: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(frame)?;
    line.push(b'\n');
    Ok(line)
}
