//! `[backend.darwin-builder]`.

use std::borrow::Cow;
use std::time::Duration;

use nixoci_nix::Transport;
use nixoci_nix::mac::Vm;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// Settings of the backend. Which builders there are is Nix's to know.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// How the builders are used. nixoci's own builder is always used over ssh, by your user: with `daemon` there is none.
    pub transport: Transport,
    /// The virtual machine that `provision` starts where Nix knows no builder: absent, it gets up to four CPUs and 3072 MiB of
    /// memory. Its disk has 20480 MiB: another size takes a builder of nix-darwin's, for which `plan` and `provision --write`
    /// have the configuration.
    pub vm: Vm,
    /// How long nixoci's own builder runs on when nobody uses it: `30m`, `2h`.
    pub idle: Idle,
}

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
        assert_eq!(Settings::default().idle.0, Duration::from_secs(1800));
    }
}
