//! `[backend.darwin-builder]`.

use nixoci_nix::mac::Vm;
use nixoci_nix::{Idle, Transport};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the backend. Which builders there are is Nix's to know.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// How the builders are used. nixoci's own builder is always used over ssh, by your user: with `daemon` there is none.
    #[schemars(extend("x-trust" = "safe"))]
    pub transport: Transport,
    /// The virtual machine that `provision` starts where Nix knows no builder: absent, it gets up to four CPUs and 3072 MiB of
    /// memory. Its disk has 20480 MiB: another size takes a builder of nix-darwin's, for which `plan` and `provision --write`
    /// have the configuration.
    #[schemars(extend("x-trust" = "asks"))]
    pub vm: Vm,
    /// How long nixoci's own builder runs on when nobody uses it: `30m`, `2h`.
    #[schemars(extend("x-trust" = "asks"))]
    pub idle: Idle,
}
