//! For the tests of a plugin's author: their library in the process of the test.

use std::path::{Path, PathBuf};

use nixoci_core::backend::Cx;
use nixoci_core::{Error, Result, ResultExt};

use super::client::Source;
use super::codes::NOT_FOUND;
use super::library::HostVersion;
use super::{PluginFactory, describe, places};

/// The library that cargo has built beside the test that runs: that of the crate `nixoci_backend_<name>`.
///
/// # Errors
/// [`NOT_FOUND`].
pub fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().or_error(&NOT_FOUND, || "this test does not know where it is")?;
    let file = places::file_name(name);
    let found = own.ancestors().skip(1).take(2).map(|dir| dir.join(&file)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let message = format!("{file} is not where cargo builds");
        Error::new(&NOT_FOUND, message).because(format!("it was looked for beside {}", own.display()))
    })
}

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
