//! `[backend.darwin-builder]`.

use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the backend: none yet, because Nix knows its builders.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {}
