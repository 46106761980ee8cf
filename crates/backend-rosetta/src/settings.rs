//! `[backend.rosetta]`.

use nixoci_nix::Transport;
use nixoci_nix::mac::Vm;
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the backend. Which builders there are is Nix's to know.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// How the builder is used.
    #[schemars(extend("x-trust" = "safe"))]
    pub transport: Transport,
    /// The virtual machine that `provision` and `plan` describe where there is none yet.
    #[schemars(extend("x-trust" = "asks"))]
    pub vm: Vm,
}
