//! What a plugin says it is, and whether that can be.
//!
//! It is asked once for each library there is: what it said is kept beside the copy that was loaded, by the hash of its bytes.

use std::path::PathBuf;

use nixoci_core::backend::Cx;
use nixoci_core::host::Dirs;
use nixoci_core::{Error, Result};
use serde_json::value::RawValue;

use super::clean;
use super::client::{Client, Source};
use super::codes::DESCRIPTION;
use super::frames::{FromPlugin, ToPlugin};
use super::places::check_name;
use super::settings::Schema;
use super::verify::{copies, directory};
use crate::wire::Description;

/// A description beyond this size is a mistake.
const SIZE_LIMIT: u64 = 4 << 20;

/// Asks a plugin what it is. `name` is the one that it must have.
///
/// # Errors
/// Those of loading it; [`DESCRIPTION`].
pub async fn describe(cx: &Cx<'_>, name: &str, source: &Source) -> Result<Description> {
    let (client, mut control) = Client::load(cx, name, source).await?;
    let (status, answer) = match client.ask(cx, &mut control, &ToPlugin::Describe).await? {
        FromPlugin::Described { status, answer } => (status, answer),
        other => return Err(client.garbled(&format!("{other:?} instead of a description"))),
    };
    let fail = |why: String| {
        Error::new(&DESCRIPTION, format!("the plugin `{name}` does not say well what it is")).because(why)
    };
    let answer = answer.ok_or_else(|| fail(format!("it says nothing, and status {status}")))?;
    if status != 0 {
        return Err(fail(format!("it answers with status {status}")));
    }
    let description = parse(name, &answer)?;
    if let Source::Isolated(_, library) = source {
        keep(cx.dirs, &library.sha256, &answer);
    }
    Ok(description)
}

/// What a plugin with this SHA-256 has said before, if that is known. Starts nothing.
pub fn described(dirs: &Dirs, name: &str, sha256: &str) -> Option<Description> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(place(dirs, sha256)).ok()?;
    file.take(SIZE_LIMIT).read_to_string(&mut text).ok()?;
    parse(name, &RawValue::from_string(text).ok()?).ok()
}

fn place(dirs: &Dirs, sha256: &str) -> PathBuf {
    copies(dirs).join(format!("{sha256}.json"))
}

/// That it cannot be kept costs the next run some milliseconds.
fn keep(dirs: &Dirs, sha256: &str, answer: &RawValue) {
    use std::io::Write;
    let write = || -> std::io::Result<()> {
        // Of a library in the Nix store there is no copy, and so perhaps no directory.
        let mut part = tempfile::NamedTempFile::new_in(directory(dirs)?)?;
        part.write_all(answer.get().as_bytes())?;
        part.persist(place(dirs, sha256)).map_err(|error| error.error)?;
        Ok(())
    };
    let _ = write();
}

fn parse(name: &str, answer: &RawValue) -> Result<Description> {
    let fail = |why: String| {
        Error::new(&DESCRIPTION, format!("the plugin `{name}` does not say well what it is")).because(why)
    };
    let description: Description = clean::parse(answer.get()).map_err(fail)?;
    let own = &description.descriptor.name;
    check_name(own, &[])
        .map_err(|error| fail(format!("it calls itself `{}`", nixoci_nix::log_line(own))).because(error))?;
    if own != name {
        return Err(fail(format!("it calls itself `{own}`, and the name of its file is that of `{name}`")));
    }
    Schema::new(name, &description.schema)?;
    Ok(description)
}
