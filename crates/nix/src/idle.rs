//! How long what nixoci started runs on when nobody uses it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// A time, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Idle(pub Duration);

impl Default for Idle {
    fn default() -> Self {
        Idle(Duration::from_secs(30 * 60))
    }
}

impl TryFrom<String> for Idle {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text)
            .map(Idle)
            .map_err(|error| format!("`{text}` is no time, such as `30m` or `2h`: {error}"))
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl JsonSchema for Idle {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Idle".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A time, such as 30m or 2h." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_people_write_it() {
        assert_eq!(Idle::try_from("90s".to_owned()).unwrap().0, Duration::from_secs(90));
        assert!(Idle::try_from("soon".to_owned()).unwrap_err().contains("30m"));
        assert_eq!(Idle::default().0, Duration::from_secs(1800));
    }
}
