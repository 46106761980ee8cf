//! What the user trusts: `[plugins]` in their own configuration, which keeps its comments and its order.

use std::io::Write;
use std::path::{Path, PathBuf};

use nixoci_core::codes::CONFIG_SYNTAX;
use nixoci_core::{Error, Remedy, Result, ResultExt};
use toml_edit::{DocumentMut, Item, Table, value};

use super::Library;
use super::codes::PINS;

/// The lines that trust a library.
pub fn lines(library: &Library) -> String {
    format!(
        "[plugins.{}]\npath = {}\nsha256 = \"{}\"",
        library.name,
        value(library.path.to_string_lossy().as_ref()),
        library.sha256
    )
}

/// Notes in the configuration `file` that a library is trusted, in the place of what was trusted under its name.
///
/// # Errors
/// [`PINS`], [`CONFIG_SYNTAX`].
pub fn trust(file: &Path, library: &Library) -> Result<()> {
    let path = library.path.to_str().ok_or_else(|| {
        Error::new(&PINS, format!("{} cannot be written down", library.path.display()))
            .because("the path is no UTF-8")
    })?;
    let mut document = read(file)?;
    let plugins = document.entry("plugins").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let plugins = plugins
        .as_table_like_mut()
        .ok_or_else(|| Error::new(&PINS, format!("`plugins` is no table in {}", file.display())))?;
    let mut pin = Table::new();
    pin["path"] = value(path);
    pin["sha256"] = value(&library.sha256);
    plugins.insert(&library.name, Item::Table(pin));
    write(file, &document)
        .map_err(|error| error.remedy(Remedy::lines("add these lines where you keep it", lines(library))))
}

/// Takes the trust in the plugin of this name back. Whether there was any.
///
/// # Errors
/// [`PINS`], [`CONFIG_SYNTAX`].
pub fn untrust(file: &Path, name: &str) -> Result<bool> {
    let mut document = read(file)?;
    let Some(plugins) = document.get_mut("plugins").and_then(Item::as_table_like_mut) else {
        return Ok(false);
    };
    if plugins.remove(name).is_none() {
        return Ok(false);
    }
    if plugins.is_empty() {
        document.remove("plugins");
    }
    write(file, &document)?;
    Ok(true)
}

fn read(file: &Path) -> Result<DocumentMut> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(Error::new(&PINS, format!("{} cannot be read", file.display())).caused_by(&error));
        }
    };
    text.parse::<DocumentMut>().or_error(&CONFIG_SYNTAX, || format!("{} is not valid TOML", file.display()))
}

/// By rename, where the file really is: people keep it elsewhere and link to it.
fn write(file: &Path, document: &DocumentMut) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let file: PathBuf = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let dir = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut part = tempfile::NamedTempFile::new_in(dir)?;
        part.write_all(document.to_string().as_bytes())?;
        let mode = std::fs::metadata(&file).map(|meta| meta.permissions());
        if let Ok(mode) = mode {
            part.as_file().set_permissions(mode)?;
        }
        part.persist(&file).map_err(|error| error.error)?;
        Ok(())
    };
    write().or_error(&PINS, || format!("{} cannot be written", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str) -> Library {
        Library { name: name.to_owned(), path: "/p/\"x\".so".into(), sha256: "0".repeat(64) }
    }

    #[test]
    fn what_somebody_wrote_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("real.toml");
        let link = dir.path().join("config.toml");
        let own = "# mine\n[profile.default]\nbackend = [ 'a' ] # so\n";
        std::fs::write(&file, own).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        trust(&link, &library("a")).unwrap();
        trust(&link, &library("a")).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            text,
            format!("{own}\n{}\n", lines(&library("a")).replace("\"/p/\\\"x\\\".so\"", "'/p/\"x\".so'"))
        );
        trust(&link, &library("b-c")).unwrap();
        assert!(untrust(&link, "b-c").unwrap() && untrust(&link, "a").unwrap());
        assert!(!untrust(&link, "a").unwrap());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), own);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_with_the_lines() {
        let error = trust(Path::new("/proc/nixoci/config.toml"), &library("a")).unwrap_err();
        assert!(error.is(&PINS));
        assert_eq!(error.report().remedies[0].command.as_deref(), Some(lines(&library("a")).as_str()));
    }
}
