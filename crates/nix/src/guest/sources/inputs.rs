//! Inputs of a flake that are directories of this host.

use std::path::{Path, PathBuf};

use nixoci_core::{Error, Remedy, Result};
use serde_json::Value;

use crate::guest::codes::LOCAL_INPUT;

/// Lock files and flakes beyond this are not looked into.
const LIMIT: u64 = 16 << 20;

/// The directories outside of the flake at `dir` that it names, as its lock says; without a lock, as its text does.
pub(super) fn local(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = |name: &str| {
        let path = dir.join(name);
        let small = path.metadata().is_ok_and(|meta| meta.len() < LIMIT);
        small.then(|| std::fs::read_to_string(path).ok()).flatten()
    };
    let mut found = match read("flake.lock") {
        Some(lock) => locked(&lock)?,
        None => read("flake.nix").map(|text| named(&text)).unwrap_or_default(),
    };
    found.retain(|path| path.is_dir() && !path.starts_with("/nix/store"));
    Ok(found)
}

fn locked(lock: &str) -> Result<Vec<PathBuf>> {
    let lock: Value = serde_json::from_str(lock).unwrap_or_default();
    let nodes = lock.get("nodes").and_then(Value::as_object).into_iter().flatten();
    let mut found = Vec::new();
    for (name, node) in nodes {
        let text = |key: &str| node.get("locked").and_then(|locked| locked.get(key)).and_then(Value::as_str);
        match (text("type"), text("path"), text("url")) {
            (Some("path"), Some(path), _) if path.starts_with('/') => found.push(PathBuf::from(path)),
            (Some("git"), _, Some(url)) if url.starts_with("file:") => return Err(repository(name, url)),
            _ => {}
        }
    }
    Ok(found)
}

fn repository(name: &str, url: &str) -> Error {
    Error::new(&LOCAL_INPUT, format!("the input `{name}` is a repository on this host, which cannot be sent"))
        .because(format!("flake.lock has it at {url}"))
        .remedy(Remedy::advice(format!(
            "write it as a directory: inputs.{name}.url = \"path:{}\"",
            url.trim_start_matches("file:").trim_start_matches("//")
        )))
        .remedy(Remedy::advice("or push it somewhere, and name that"))
}

/// Absolute paths in quotes, as references are written.
fn named(text: &str) -> Vec<PathBuf> {
    let quoted = text.split('"').skip(1).step_by(2);
    let path = |text: &str| {
        let path = text.strip_prefix("path:").unwrap_or(text);
        let path = path.split('?').next().unwrap_or_default();
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    quoted.filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_along_and_repositories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let lib = dir.path().join("lib");
        std::fs::create_dir(&lib).unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "flake.nix",
            &format!("{{ inputs.lib.url = \"path:{}?dir=x\"; inputs.n.url = \"nixpkgs\"; }}", lib.display()),
        );
        assert_eq!(local(dir.path()).unwrap(), std::slice::from_ref(&lib));
        let lock = |locked: &str| format!(r#"{{"nodes":{{"lib":{{"locked":{locked}}},"root":{{}}}}}}"#);
        write("flake.lock", &lock(&format!(r#"{{"type":"path","path":"{}"}}"#, lib.display())));
        assert_eq!(local(dir.path()).unwrap(), [lib]);
        write("flake.lock", &lock(r#"{"type":"path","path":"./sub"}"#));
        assert!(local(dir.path()).unwrap().is_empty());
        write("flake.lock", &lock(r#"{"type":"git","url":"file:///home/me/lib","rev":"1"}"#));
        let error = local(dir.path()).unwrap_err();
        assert!(error.is(&LOCAL_INPUT) && error.report().remedies[0].text.contains("path:/home/me/lib"));
        write("flake.lock", "no json");
        assert!(local(dir.path()).unwrap().is_empty());
    }
}
