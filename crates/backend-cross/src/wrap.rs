//! The expression that is built instead of a project's own: a flake, or a file, that calls it with another nixpkgs.
//!
//! It lies in the cache, under a name that follows from its text, so that Nix's own evaluation cache knows it again.

use std::path::{Path, PathBuf};

use nixoci_core::backend::Cx;
use nixoci_core::platform::NixSystem;
use nixoci_core::request::{Attribute, BuildRequest, Installable, split_attribute};
use nixoci_core::text::hex;
use nixoci_core::{Result, ResultExt, codes as core_codes};
use nixoci_nix::canonical_reference;
use sha2::{Digest, Sha256};

use crate::settings::Settings;

const CROSS: &str = include_str!("cross.nix");
/// What the wrapper calls what it builds.
const IMAGE: &str = "image";

/// The request for the same thing, crossed. A store path is what it is.
///
/// # Errors
/// [`core_codes::PROCESS`] if the cache cannot be written.
pub(crate) fn wrapped(cx: &Cx<'_>, settings: &Settings, request: &BuildRequest) -> Result<BuildRequest> {
    let swap = serde_json::to_string(&settings.swap(cx.host, &request.system))
        .or_error(&core_codes::PROCESS, || "a system cannot be written down")?;
    // One thing to evaluate, which is evaluated once.
    let mut wrapped = BuildRequest { prefer: Vec::new(), ..request.clone() };
    match &request.installable {
        Installable::Flake { reference, attribute } => {
            let here = std::env::current_dir()
                .or_error(&core_codes::PROCESS, || "the current directory is not known")?;
            let explicit = settings.explicit(cx.host, &request.system, attribute);
            let text = format!(
                "{{\n  outputs = {{ self, project }}: {{\n    {IMAGE} = (import ./cross.nix).flake {{\n      inherit project;\n      \
                 swap = builtins.fromJSON {};\n      explicit = {};\n      named = {};\n      places = {};\n    }};\n  }};\n}}\n",
                string(&swap),
                list(&explicit),
                settings.attr.is_some() && !explicit.is_empty(),
                list(&places(attribute, &request.system)),
            );
            let dir = write(cx, "flake.nix", &text)?;
            wrapped.installable = Installable::Flake {
                reference: format!("path:{}", dir.display()),
                attribute: Attribute::Full(IMAGE.to_owned()),
            };
            let inner = |(name, with): (String, String)| (format!("project/{name}"), with);
            wrapped.flags.override_inputs =
                std::iter::once(("project".to_owned(), canonical_reference(reference, &here)?))
                    .chain(request.flags.override_inputs.iter().cloned().map(inner))
                    .collect();
        }
        Installable::File { path, attribute, args } => {
            let file = std::path::absolute(path)
                .or_error(&core_codes::PROCESS, || format!("{} is nowhere", path.display()))?;
            let file = if file.is_dir() { file.join("default.nix") } else { file };
            let text = format!(
                "(import ./cross.nix).file (builtins.fromJSON {}) (/. + {})\n",
                string(&swap),
                string(&file.to_string_lossy())
            );
            let path = write(cx, "default.nix", &text)?.join("default.nix");
            wrapped.installable =
                Installable::File { path, attribute: attribute.clone(), args: args.clone() };
        }
        _ => {}
    }
    Ok(wrapped)
}

/// Where an image for the target is looked for, best first.
fn places(attribute: &Attribute, target: &NixSystem) -> Vec<Vec<String>> {
    let name = match attribute {
        Attribute::Full(path) => return vec![split_attribute(path)],
        Attribute::Name(name) => split_attribute(name),
    };
    let within = |set: &[&str]| set.iter().map(|part| (*part).to_owned()).chain(name.clone()).collect();
    let mut places: Vec<Vec<String>> =
        vec![within(&["packages", target.as_str()]), within(&["legacyPackages", target.as_str()])];
    if name == ["default"] {
        places.push(vec!["defaultPackage".to_owned(), target.to_string()]);
    }
    places.push(name.clone());
    places
}

fn list(paths: &[Vec<String>]) -> String {
    let path = |parts: &Vec<String>| {
        format!("[ {} ]", parts.iter().map(|part| string(part)).collect::<Vec<_>>().join(" "))
    };
    format!("[ {} ]", paths.iter().map(path).collect::<Vec<_>>().join(" "))
}

/// A string of Nix's.
fn string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${"))
}

/// Where our own files are.
pub(crate) fn directory(cx: &Cx<'_>) -> PathBuf {
    cx.dirs.cache.join("cross")
}

/// Writes a file and what it imports into a directory of their own.
fn write(cx: &Cx<'_>, name: &str, text: &str) -> Result<PathBuf> {
    let hash = Sha256::new().chain_update(CROSS).chain_update(text).finalize();
    let dir = directory(cx).join(hex(&hash[..10]));
    let put = |file: &Path, text: &str| {
        if std::fs::read_to_string(file).is_ok_and(|there| there == text) {
            return Ok(());
        }
        let new = file.with_extension(format!("new-{}", std::process::id()));
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, file))
    };
    std::fs::create_dir_all(&dir)
        .and_then(|()| put(&dir.join("cross.nix"), CROSS))
        .and_then(|()| put(&dir.join(name), text))
        .or_error(&core_codes::PROCESS, || format!("{} cannot be written", dir.display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_looked_for_where_a_build_would() {
        let target: NixSystem = "aarch64-linux".parse().unwrap();
        let found = places(&Attribute::Name("default".to_owned()), &target);
        assert_eq!(
            list(&found),
            r#"[ [ "packages" "aarch64-linux" "default" ] [ "legacyPackages" "aarch64-linux" "default" ] [ "defaultPackage" "aarch64-linux" ] [ "default" ] ]"#
        );
        let full = places(&Attribute::Full("packages.aarch64-linux.a".to_owned()), &target);
        assert_eq!(list(&full), r#"[ [ "packages" "aarch64-linux" "a" ] ]"#);
    }

    #[test]
    fn nothing_of_a_name_becomes_an_expression() {
        assert_eq!(string(r#"a"b\c${d}"#), r#""a\"b\\c\${d}""#);
    }
}
