//! A plugin as nixoci's registry knows it.

use std::borrow::Cow;
use std::ffi::OsString;
use std::sync::Arc;

use async_trait::async_trait;
use nixoci_core::artifact::{Artifact, PathInfo, StorePath};
use nixoci_core::backend::{Backend, Check, Cx, Depth, Descriptor, Forecast, Offer, Release};
use nixoci_core::config::BackendTable;
use nixoci_core::factory::Factory;
use nixoci_core::plan::ProvisionPlan;
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Result};
use serde_json::Value;
use tokio::io::AsyncWrite;

use super::backend::PluginBackend;
use super::client::Source;
use super::settings::Schema;
use crate::wire::Description;

/// Makes backends of a library. Nothing is loaded before one of them is asked something.
#[derive(Debug)]
pub struct PluginFactory {
    source: Source,
    description: Description,
    schema: Schema,
}

impl PluginFactory {
    /// A factory of a library that has described itself so.
    ///
    /// # Errors
    /// [`super::codes::DESCRIPTION`].
    pub fn new(source: Source, mut description: Description) -> Result<PluginFactory> {
        let schema = Schema::new(&description.descriptor.name, &description.schema)?;
        let descriptor = &mut description.descriptor;
        descriptor.summary = Cow::Owned(nixoci_nix::log_line(&descriptor.summary));
        // Names of its own choosing could be those of others.
        descriptor.aliases = Cow::Borrowed(&[]);
        Ok(PluginFactory { source, description, schema })
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }
}

impl Factory for PluginFactory {
    fn descriptor(&self) -> Descriptor {
        self.description.descriptor.clone()
    }

    fn is_plugin(&self) -> bool {
        true
    }

    fn schema(&self) -> Value {
        self.schema.value().clone()
    }

    fn check(&self, table: &BackendTable) -> Result<()> {
        self.schema.check(table)
    }

    fn create(&self, tables: &[BackendTable]) -> Result<Arc<dyn Backend>> {
        let settings = self.schema.merge(tables)?;
        let descriptor = &self.description.descriptor;
        let name = descriptor.name.clone().into_owned();
        Ok(Arc::new(PluginBackend::new(name, descriptor.credentials, self.source.clone(), settings)))
    }
}

/// A plugin that is trusted and cannot be used: whoever asks it something hears why.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Its name.
    pub name: String,
    /// Why it cannot be used.
    pub error: Error,
}

impl Factory for Broken {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            name: Cow::Owned(self.name.clone()),
            aliases: Cow::Borrowed(&[]),
            summary: Cow::Borrowed("a plugin that cannot be used"),
            concurrent_builds: true,
            automatic: false,
            hosts: Cow::Borrowed(&[]),
            credentials: false,
        }
    }

    fn is_plugin(&self) -> bool {
        true
    }

    fn schema(&self) -> Value {
        serde_json::json!({ "type": "object" })
    }

    fn check(&self, _: &BackendTable) -> Result<()> {
        Ok(())
    }

    fn create(&self, _: &[BackendTable]) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(self.clone()))
    }
}

impl Broken {
    fn fail<T>(&self) -> Result<T> {
        Err(self.error.clone())
    }
}

#[async_trait]
impl Backend for Broken {
    async fn offers(&self, _: &Cx<'_>, _: Option<&NixSystem>) -> Result<Vec<Offer>> {
        self.fail()
    }

    async fn probe(&self, _: &Cx<'_>) -> Result<Vec<Check>> {
        self.fail()
    }

    async fn plan(&self, _: &Cx<'_>, _: &[NixSystem]) -> Result<ProvisionPlan> {
        self.fail()
    }

    async fn provision(&self, _: &Cx<'_>, _: &ProvisionPlan) -> Result<()> {
        self.fail()
    }

    async fn removable(&self, _: &Cx<'_>) -> Vec<String> {
        Vec::new()
    }

    async fn prove(&self, _: &Cx<'_>, _: &[NixSystem]) -> Result<Vec<Check>> {
        self.fail()
    }

    async fn forecast(&self, _: &Cx<'_>, _: &BuildRequest, _: Depth) -> Result<Forecast> {
        self.fail()
    }

    async fn build(&self, _: &Cx<'_>, _: &BuildRequest, _: &Forecast) -> Result<Artifact> {
        self.fail()
    }

    async fn query(&self, _: &Cx<'_>, _: &[StorePath], _: bool) -> Result<Vec<PathInfo>> {
        self.fail()
    }

    async fn fetch(
        &self,
        _: &Cx<'_>,
        _: &[StorePath],
        _: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        self.fail()
    }

    async fn release(&self, _: &Cx<'_>, _: Release) -> Result<()> {
        self.fail()
    }

    async fn shell(&self, _: &Cx<'_>, _: &NixSystem, _: &[OsString]) -> Result<Command> {
        self.fail()
    }
}
