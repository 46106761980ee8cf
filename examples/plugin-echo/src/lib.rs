//! A backend that says what it is asked, and has this machine's Nix do it.

use std::borrow::Cow;
use std::ffi::OsString;

use nixoci_plugin::core::artifact::{Artifact, PathInfo, StorePath};
use nixoci_plugin::core::backend::*;
use nixoci_plugin::core::error::{Error, Remedy, Result};
use nixoci_plugin::core::factory::TypedFactory;
use nixoci_plugin::core::plan::ProvisionPlan;
use nixoci_plugin::core::platform::NixSystem;
use nixoci_plugin::core::request::BuildRequest;
use nixoci_plugin::core::runner::Command;
use nixoci_plugin::nix::{HostStore, proof, shell_here};
use nixoci_plugin::{async_trait, schemars, serde, tokio::io::AsyncWrite};

nixoci_plugin::core::codes! {
    /// The voice is empty.
    NO_VOICE = ("echo::no_voice", Config, "the echo has no voice",
        "`voice` in [backend.echo] is what every word of the backend begins with; it must not be empty.");
}

/// Makes [`Echo`] backends.
#[derive(Debug, Default)]
pub struct Factory;

/// `[backend.echo]` in nixoci.toml.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(crate = "schemars")]
pub struct Settings {
    /// What every word of it begins with.
    pub voice: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { voice: "echo".to_owned() }
    }
}

impl TypedFactory for Factory {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: Cow::Borrowed("echo"),
        aliases: Cow::Borrowed(&[]),
        summary: Cow::Borrowed("this machine's Nix, and every question is said aloud"),
        concurrent_builds: true,
        automatic: false,
        hosts: Cow::Borrowed(&[]),
        credentials: false,
    };
    type Settings = Settings;
    type Backend = Echo;

    fn create(&self, Settings { voice }: Settings) -> Result<Echo> {
        if voice.is_empty() {
            return Err(Error::new(&NO_VOICE, "the echo has no voice")
                .remedy(Remedy::advice("give `voice` in [backend.echo] a word, or leave it out")));
        }
        Ok(Echo { voice, store: HostStore::default() })
    }
}

/// This machine's Nix.
#[derive(Debug)]
pub struct Echo {
    voice: String,
    store: HostStore,
}

impl Echo {
    /// Says it to whoever watches; `nixoci -v` shows it.
    fn say(&self, cx: &Cx<'_>, what: impl std::fmt::Display) {
        cx.observer.debug(format!("{}: {what}", self.voice));
    }
}

#[async_trait]
impl Backend for Echo {
    async fn offers(&self, cx: &Cx<'_>, want: Option<&NixSystem>) -> Result<Vec<Offer>> {
        self.say(cx, format_args!("offers for {want:?}"));
        self.store.nix(cx).await?;
        Ok(vec![Offer {
            system: cx.host.system.to_linux(),
            how: How::Native,
            readiness: Readiness::Ready,
            builder: BuilderId("echo".to_owned()),
        }])
    }

    async fn probe(&self, cx: &Cx<'_>) -> Result<Vec<Check>> {
        Ok(vec![self.store.nix(cx).await?.store_check(cx).await])
    }

    async fn plan(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<ProvisionPlan> {
        self.say(cx, format_args!("a plan for {want:?}"));
        Ok(ProvisionPlan::default())
    }

    async fn provision(&self, _: &Cx<'_>, _: &ProvisionPlan) -> Result<()> {
        Ok(())
    }

    async fn removable(&self, _: &Cx<'_>) -> Vec<String> {
        Vec::new()
    }

    async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        proof::checks(cx, self.store.nix(cx).await?, want).await
    }

    async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast> {
        self.say(cx, format_args!("a forecast of {:?}", request.installable));
        match depth {
            Depth::Verdict => Ok(Forecast::unknown()),
            Depth::Full => self.store.nix(cx).await?.forecast(cx, request).await,
        }
    }

    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        self.say(cx, format_args!("a build of {:?} for {}", request.installable, request.system));
        self.store.get(cx).await?.build(cx, request, forecast).await
    }

    async fn query(&self, cx: &Cx<'_>, roots: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        self.say(cx, format_args!("what is known about {roots:?}"));
        self.store.get(cx).await?.query(cx, roots, closure).await
    }

    async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        self.say(cx, format_args!("the contents of {paths:?}"));
        self.store.get(cx).await?.fetch(cx, paths, out).await
    }

    async fn release(&self, cx: &Cx<'_>, how: Release) -> Result<()> {
        let Release::Artifact { id } = how else { return Ok(()) };
        self.store.get(cx).await?.release(cx, &id).await
    }

    async fn shell(&self, cx: &Cx<'_>, _: &NixSystem, command: &[OsString]) -> Result<Command> {
        Ok(shell_here(cx, command))
    }
}
