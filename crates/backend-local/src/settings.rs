//! `[backend.local]`.

use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the local backend.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Whether to build for the platforms in Nix's `extra-platforms`, which another CPU's emulator runs. Slow,
    /// but true to the platform.
    #[schemars(extend("x-trust" = "safe"))]
    pub extra_platforms: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { extra_platforms: true }
    }
}
