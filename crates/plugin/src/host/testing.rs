//! For the tests of a plugin's author: their library in the process of the test.

use std::path::Path;

use nixoci_core::Result;
use nixoci_core::backend::Cx;

use super::client::Source;
use super::library::HostVersion;
use super::{PluginFactory, describe};

/// A factory of a library that runs in this process.
///
/// # Errors
/// Those of loading and describing it.
pub async fn load(cx: &Cx<'_>, name: &str, path: &Path) -> Result<PluginFactory> {
    load_as(cx, name, path, HostVersion::default()).await
}

/// As [`load`], as an older or a newer nixoci would.
///
/// # Errors
/// Those of loading and describing it.
pub async fn load_as(cx: &Cx<'_>, name: &str, path: &Path, version: HostVersion) -> Result<PluginFactory> {
    let source = Source::Here(path.to_owned(), version);
    let description = describe(cx, name, &source).await?;
    PluginFactory::new(source, description)
}
