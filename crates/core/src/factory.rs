//! How backends are made: from typed settings, through an object-safe door.
//!
//! A backend author implements [`TypedFactory`]; everything else gets the object-safe [`Factory`] for it.
//! Descriptor and schema need no instance, so listing backends and printing the schema cost nothing.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;

use crate::backend::{Backend, Descriptor};
use crate::config::BackendTable;
use crate::error::Result;

/// A factory as its author writes it.
pub trait TypedFactory: Send + Sync + 'static {
    /// What is known about the backend without having one.
    const DESCRIPTOR: Descriptor;
    /// The `[backend.<name>]` table. Every field needs a default: several files may each set some of them.
    type Settings: DeserializeOwned + JsonSchema + Default;
    /// What it makes.
    type Backend: Backend + 'static;
    /// The settings that are paths, relative to the file that has them: `from`, and `builders.key` in a list of tables.
    const PATHS: &'static [&'static str] = &[];

    /// Makes a backend. Must not start anything or look at the host.
    fn create(&self, settings: Self::Settings) -> Result<Self::Backend>;
}

/// A factory as the rest of nixoci sees it.
pub trait Factory: Send + Sync {
    /// What is known about the backend without having one.
    fn descriptor(&self) -> Descriptor;

    /// Whether it is no part of nixoci. Of two that are as near, nixoci's own builds.
    fn is_plugin(&self) -> bool {
        false
    }

    /// The JSON Schema of its settings.
    fn schema(&self) -> serde_json::Value;

    /// Checks one file's table on its own, so that an error can point into that file.
    fn check(&self, table: &BackendTable) -> Result<()>;

    /// Makes a backend from the tables of all files, the strongest last.
    fn create(&self, tables: &[BackendTable]) -> Result<Arc<dyn Backend>>;
}

impl<F: TypedFactory> Factory for F {
    fn descriptor(&self) -> Descriptor {
        F::DESCRIPTOR
    }

    fn schema(&self) -> serde_json::Value {
        // It becomes a part of the schema of nixoci.toml, where a reference to its own definitions would lead nowhere.
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<F::Settings>().to_value()
    }

    fn check(&self, table: &BackendTable) -> Result<()> {
        table.parse::<F::Settings>().map(drop)
    }

    fn create(&self, tables: &[BackendTable]) -> Result<Arc<dyn Backend>> {
        tables.iter().try_for_each(|table| self.check(table))?;
        Ok(Arc::new(TypedFactory::create(self, BackendTable::merge(tables, F::PATHS)?)?))
    }
}

impl fmt::Debug for dyn Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Factory({})", self.descriptor().name)
    }
}
