//! `nixoci plugin new`: the project of a backend, which builds and passes the checks.

use std::path::{Path, PathBuf};

use nixoci_core::{Error, Remedy, Result, ResultExt};
use nixoci_plugin::host::codes::BAD_NAME;
use nixoci_plugin::host::places;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::{App, VERSION};
use crate::backends;
use crate::codes::USAGE;

/// What was written.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewReport {
    /// The version of this document.
    version: u32,
    /// The directory.
    directory: PathBuf,
    /// The files in it.
    files: Vec<PathBuf>,
}

/// The files, with the words in them that are the project's: `@name@`, `@ident@` (with underscores), `@Type@`, `@version@`.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("new/Cargo.toml.in")),
    ("src/lib.rs", include_str!("new/lib.rs.in")),
    ("tests/conformance.rs", include_str!("new/conformance.rs.in")),
    ("plugin/Cargo.toml", include_str!("new/plugin.toml.in")),
    ("plugin/src/lib.rs", include_str!("new/plugin.rs.in")),
    ("README.md", include_str!("new/README.md.in")),
    (".gitignore", "/target\n"),
];

pub(super) fn run(app: &App, name: &str) -> Result<u8> {
    places::check_name(name, &backends::reserved())?;
    if name.ends_with("-plugin") {
        return Err(Error::new(&BAD_NAME, format!("a plugin cannot be called `{name}`"))
            .because("what ends so is the crate of its library"));
    }
    let directory = app.cwd.join(name);
    if directory.exists() {
        return Err(Error::new(&USAGE, format!("{name} is there already"))
            .remedy(Remedy::advice("take another name, or another directory (-C)")));
    }
    for (path, text) in FILES {
        let path = directory.join(path);
        write(&path, &filled(text, name))
            .or_error(&USAGE, || format!("{} cannot be written", path.display()))?;
    }
    app.ui.finish();
    let library = places::file_name(name);
    let text = format!(
        "{name}/src/lib.rs is the backend, in {} lines; it builds with this machine's Nix.\n\n\
         cd {name}\ncargo build\nnixoci plugin check target/debug/{library}\nnixoci plugin trust target/debug/{library}\n\
         nixoci build --backend {name} .#container\n",
        filled(FILES[1].1, name).lines().count()
    );
    let files = FILES.iter().map(|(path, _)| PathBuf::from(path)).collect();
    app.printer.result(&NewReport { version: 1, directory, files }, &text)?;
    Ok(0)
}

fn filled(text: &str, name: &str) -> String {
    let words = name.split('-').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    });
    text.replace("@name@", name)
        .replace("@ident@", &name.replace('-', "_"))
        .replace("@Type@", &words.collect::<String>())
        .replace("@library@", &places::file_name(name))
        .replace("@version@", VERSION)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backend_is_short_and_nothing_is_left_to_fill_in() {
        for (path, text) in FILES {
            let text = filled(text, "my-vm");
            let left = ["@name@", "@ident@", "@Type@", "@version@", "@library@"]
                .iter()
                .find(|word| text.contains(**word));
            assert_eq!(left, None, "{path}");
            assert!(!path.ends_with("lib.rs") || text.lines().count() < 100, "{path}");
        }
        assert!(filled(FILES[1].1, "my-vm").contains("struct MyVm"));
    }
}
