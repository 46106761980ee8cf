//! JSON that is passed on as it is.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::wire::MESSAGE_LIMIT;

/// These bytes, if they are JSON: on one line, since a line is a frame. The error says why they are not.
pub(super) fn raw(bytes: &[u8]) -> Result<Box<RawValue>, String> {
    if bytes.len() > MESSAGE_LIMIT {
        return Err(format!("it is longer than {} MiB", MESSAGE_LIMIT >> 20));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| format!("it is no UTF-8: {error}"))?;
    if text.contains(['\n', '\r']) {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return to_raw(&value);
    }
    RawValue::from_string(text.to_owned()).map_err(|error| error.to_string())
}

/// A value as JSON.
pub(super) fn to_raw(value: &impl Serialize) -> Result<Box<RawValue>, String> {
    serde_json::value::to_raw_value(value).map_err(|error| error.to_string())
}
