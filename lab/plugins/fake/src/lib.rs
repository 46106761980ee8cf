//! The fake backend as a library, with a fault by its settings: the suite has to catch each.

use std::borrow::Cow;

use nixoci_plugin::core::backend::Descriptor;
use nixoci_plugin::core::codes::BUG;
use nixoci_plugin::core::platform::NixSystem;
use nixoci_plugin::core::{Result, ResultExt, factory::TypedFactory};
use nixoci_plugin::{schemars, serde};
use nixoci_testkit::{FakeBackend, Fault};

#[derive(Default)]
struct Factory;

/// `[backend.fake]`.
#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(crate = "schemars")]
struct Settings {
    /// What goes wrong.
    fault: Name,
    /// How many bytes are built; a few if there are none.
    size: usize,
}

/// A fault's name.
#[derive(Clone, Copy, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "serde", rename_all = "kebab-case")]
#[schemars(crate = "schemars")]
enum Name {
    #[default]
    None,
    NoOffer,
    BuildFails,
    Vanishes,
    BreaksAfter40,
    LiesAfter40,
    Flips100,
    ProofFails,
    Panics,
}

impl TypedFactory for Factory {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: Cow::Borrowed("fake"),
        aliases: Cow::Borrowed(&[]),
        summary: Cow::Borrowed("nothing is really built"),
        concurrent_builds: true,
        automatic: false,
        hosts: Cow::Borrowed(&[]),
        credentials: false,
    };
    type Settings = Settings;
    type Backend = FakeBackend;

    fn create(&self, settings: Settings) -> Result<FakeBackend> {
        let fault = match settings.fault {
            Name::None => Fault::None,
            Name::NoOffer => Fault::NoOffer,
            Name::BuildFails => Fault::BuildFails,
            Name::Vanishes => Fault::Vanishes,
            Name::BreaksAfter40 => Fault::BreaksAfter(40),
            Name::LiesAfter40 => Fault::LiesAfter(40),
            Name::Flips100 => Fault::Flips(100),
            Name::ProofFails => Fault::ProofFails,
            Name::Panics => Fault::Panics,
        };
        let system: NixSystem =
            format!("{}-linux", std::env::consts::ARCH).parse().or_error(&BUG, || "no system")?;
        let zeros = vec![0; settings.size];
        let file = if zeros.is_empty() { b"an image".as_slice() } else { &zeros };
        Ok(FakeBackend::new(&system, file).with_fault(fault))
    }
}

nixoci_plugin::export_backend!(Factory);
