//! What the TOML reader complains about, as errors that point into the file and name near keys.

use std::path::Path;

use crate::codes;
use crate::error::{Error, Excerpt, Remedy};
use crate::registry::nearest;

/// The file is no TOML.
pub(super) fn syntax_error(file: &Path, source: &str, error: &toml::de::Error) -> Error {
    let message = error.message().trim_end_matches('.').replace('\n', ": ");
    let result =
        Error::new(&codes::CONFIG_SYNTAX, format!("{} is not valid TOML", file.display())).because(message);
    match error.span() {
        Some(span) => result.at(Excerpt::from_span(file, source, span)),
        None => result,
    }
}

/// Turns an error of the TOML reader about a value into one that names the place and near names.
pub(super) fn data_error(file: &Path, source: &str, error: &toml::de::Error) -> Error {
    let message = error.message().to_owned();
    let result = match message.strip_prefix("unknown field `") {
        Some(rest) => unknown_key(rest),
        None => Error::new(&codes::CONFIG_VALUE, message.trim_end_matches('.').replace('\n', ": ")),
    };
    match error.span() {
        Some(span) => result.at(Excerpt::from_span(file, source, span)),
        None => result.because(format!("in {}", file.display())),
    }
}

/// `rest` is serde's text after "unknown field `": the key, a backtick, and the expected names in backticks.
fn unknown_key(rest: &str) -> Error {
    let (key, expected) = rest.split_once('`').unwrap_or((rest, ""));
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    unknown_key_among(key, &known).remedy(Remedy::command("see every key", "nixoci config schema"))
}

/// A key that is none of those that are known where it stands.
pub fn unknown_key_among(key: &str, known: &[&str]) -> Error {
    let mut error = Error::new(&codes::CONFIG_UNKNOWN_KEY, format!("unknown key `{key}`"));
    if let Some(near) = nearest(key, known.iter().copied()) {
        error = error.remedy(Remedy::advice(format!("did you mean `{near}`")));
    }
    if !known.is_empty() {
        error = error.because(format!("known here: {}", known.join(", ")));
    }
    error
}
