//! Inputs of a flake that are directories of this host.

use std::path::{Component, Path, PathBuf};

use nixoci_core::{Error, Remedy, Result, shell};
use serde_json::Value;

use super::quoted::Quoted;
use crate::guest::codes::LOCAL_INPUT;
use crate::reference::{Local, percent_encode};

/// Lock files and flakes beyond this are not looked into.
const LIMIT: u64 = 16 << 20;
/// These are never inputs, and a guest has its own: with all that is in them, and by themselves.
const SYSTEM: &[&str] =
    &["bin", "boot", "dev", "lib", "lib64", "proc", "run", "sbin", "snap", "sys", "System"];
const TOP: &[&str] = &[
    "Applications",
    "Library",
    "Users",
    "Volumes",
    "cores",
    "etc",
    "home",
    "media",
    "mnt",
    "nix",
    "opt",
    "private",
    "root",
    "srv",
    "tmp",
    "usr",
    "var",
];

/// The directories outside of the flake at `dir` that it names, as its lock says; without a lock, as its text does. Its Nix sees
/// what is below `root`.
/// Those that are overridden do not count.
pub(super) fn local(dir: &Path, root: &Path, overridden: &[&str]) -> Result<Vec<PathBuf>> {
    let read = |name: &str| nixoci_core::file::read_to_string(&dir.join(name), LIMIT).ok();
    let mut found = match read("flake.lock") {
        Some(lock) => locked(&lock, dir, root, overridden)?,
        None => {
            read("flake.nix").map_or_else(|| Ok(Vec::new()), |text| named(&text, dir, root, overridden))?
        }
    };
    found.retain(|path| path.is_dir() && !path.starts_with("/nix/store"));
    Ok(found)
}

fn locked(lock: &str, dir: &Path, root: &Path, overridden: &[&str]) -> Result<Vec<PathBuf>> {
    let lock: Value = serde_json::from_str(lock).unwrap_or_default();
    let nodes = lock.get("nodes").and_then(Value::as_object);
    let own = nodes.and_then(|nodes| nodes.get("root")?.get("inputs")?.as_object());
    let mut found = Vec::new();
    for (name, node) in nodes.into_iter().flatten() {
        let is_this = |(_, node): &(&String, &Value)| node.as_str() == Some(name);
        let input = own.and_then(|own| own.iter().find(is_this)).map_or(name, |(input, _)| input);
        if overridden.contains(&input.as_str()) {
            continue;
        }
        let text = |key: &str| node.get("locked").and_then(|locked| locked.get(key)).and_then(Value::as_str);
        match (text("type"), text("path"), text("url")) {
            (Some("path"), Some(path), _) if is_system(Path::new(path)) => {
                return Err(system(input, path, "flake.lock"));
            }
            (Some("path"), Some(path), _) if path.starts_with('/') => found.push(PathBuf::from(path)),
            // Those of other flakes are relative to them.
            (Some("path"), Some(path), _) if own.is_some_and(|own| own.iter().any(|own| is_this(&own))) => {
                inside(input, path, dir, root)?;
            }
            (Some("git"), _, Some(url)) if url.starts_with("file:") => {
                return Err(repository(input, url, "flake.lock"));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn repository(name: &str, url: &str, file: &str) -> Error {
    Error::new(&LOCAL_INPUT, format!("the input `{name}` is a repository on this host, which cannot be sent"))
        .because(format!("{file} has it at {url}"))
        .remedy(Remedy::advice(format!(
            "write it as a directory: inputs.{name}.url = \"path:{}\"",
            url.trim_start_matches("file:").trim_start_matches("//")
        )))
        .remedy(Remedy::advice("or push it somewhere, and name that"))
}

fn system(name: &str, path: &str, file: &str) -> Error {
    Error::new(&LOCAL_INPUT, format!("the input `{name}` is a directory of the system's, which is not sent"))
        .because(format!("{file} has it at {path}, and the virtual machine has its own there"))
        .remedy(Remedy::advice("keep what the flake needs in a directory of its own, and name that"))
}

/// A relative input is a part of the tree that its flake is in: Nix sees nothing outside of that.
fn inside(name: &str, path: &str, dir: &Path, root: &Path) -> Result<()> {
    let there = plain(&dir.join(path));
    if there.starts_with(root) {
        return Ok(());
    }
    let text = format!("the input `{name}` is outside of what Nix sees of the flake");
    Err(Error::new(&LOCAL_INPUT, text)
        .because(format!("it is at {path}, and {} is all that Nix sees", root.display()))
        .remedy(Remedy::advice(format!(
            "name it by its whole path: inputs.{name}.url = \"path:{}\"",
            there.display()
        )))
        .remedy(Remedy::advice("or keep both in one Git repository")))
}

/// A directory within a tree that does not hold it: a guest has no place for it.
pub(super) fn left_out(input: &Path, root: &Path) -> Error {
    let (shown, root) = (input.display(), root.display());
    let reference = format!("path:{}", percent_encode(&input.to_string_lossy()));
    Error::new(
        &LOCAL_INPUT,
        format!("the input at {shown} is in the project, and no part of what Nix sees of it"),
    )
    .because(format!("what is sent of {root} is what Git tracks there"))
    .remedy(Remedy::command("track it, if it is yours", shell!("git add {}", input)))
    .remedy(Remedy::command(
        "or name it for this build, by the input's name",
        shell!("nixoci build --override-input NAME {}", reference),
    ))
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
        plain
    })
}

/// What a text names that can only be an input: the value of a `url`, a `path:/…`, and the path of a set of the type `path`.
fn named(text: &str, dir: &Path, root: &Path, overridden: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for quoted in Quoted::all(text) {
        let is_url = quoted.is_url();
        if overridden.contains(&quoted.input()) {
            continue;
        }
        if !is_url && !quoted.text.starts_with("path:/") && !quoted.is_path() {
            continue;
        }
        let Some(local) = Local::of(quoted.text) else { continue };
        let path = local.path.to_string_lossy();
        if local.scheme.starts_with("git+file:") {
            return Err(repository(quoted.input(), quoted.text.trim_start_matches("git+"), "flake.nix"));
        }
        if local.path.is_relative() {
            inside(quoted.input(), &path, dir, root)?;
        } else if is_system(&local.path) {
            if is_url {
                return Err(system(quoted.input(), &path, "flake.nix"));
            }
        } else if quoted.is_no_flake() || below(&local).join("flake.nix").exists() {
            found.push(local.path);
        }
    }
    Ok(found)
}

fn below(local: &Local<'_>) -> PathBuf {
    local.parameter("dir").map_or_else(|| local.path.clone(), |dir| local.path.join(dir))
}

/// `/`, and what a system keeps in it: in a guest it would hide the guest's own.
fn is_system(path: &Path) -> bool {
    let plain = plain(path);
    let names: Vec<_> = plain.components().skip(1).map(|part| part.as_os_str().to_string_lossy()).collect();
    let is_top = |names: &[&str]| names.iter().any(|name| plain == Path::new("/").join(name));
    match names.as_slice() {
        _ if path.is_relative() => false,
        [] => true,
        [first, ..] if SYSTEM.contains(&first.as_ref()) => true,
        [first, _] if first == "usr" => true,
        _ => is_top(TOP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with a flake called `p` in it, and what is read from these two files.
    fn read(nix: &str, lock: Option<&str>, dir: &Path) -> Result<Vec<PathBuf>> {
        let flake = dir.join("p");
        std::fs::create_dir_all(&flake).unwrap();
        std::fs::write(flake.join("flake.nix"), nix).unwrap();
        let _ = std::fs::remove_file(flake.join("flake.lock"));
        if let Some(lock) = lock {
            std::fs::write(flake.join("flake.lock"), lock).unwrap();
        }
        local(&flake, &flake, &[])
    }

    fn directory(dir: &Path, name: &str, flake: bool) -> PathBuf {
        let there = dir.join(name);
        std::fs::create_dir_all(there.join("x")).unwrap();
        if flake {
            std::fs::write(there.join("x/flake.nix"), "{}").unwrap();
            std::fs::write(there.join("flake.nix"), "{}").unwrap();
        }
        there
    }

    #[test]
    fn directories_come_along_and_repositories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let lib = directory(dir.path(), "lib", true);
        let nix =
            format!("{{ inputs.lib.url = \"path:{}?dir=x\"; inputs.n.url = \"nixpkgs\"; }}", lib.display());
        assert_eq!(read(&nix, None, dir.path()).unwrap(), std::slice::from_ref(&lib));
        let lock = |locked: &str| {
            let lock =
                format!(r#"{{"nodes":{{"lib":{{"locked":{locked}}},"root":{{"inputs":{{"l":"lib"}}}}}}}}"#);
            read(&nix, Some(&lock), dir.path())
        };
        let at = |path: &str| lock(&format!(r#"{{"type":"path","path":"{path}"}}"#));
        assert_eq!(at(&lib.to_string_lossy()).unwrap(), [lib]);
        assert!(at("./sub").unwrap().is_empty());
        let outside = at("../lib").unwrap_err();
        assert!(
            outside.is(&LOCAL_INPUT) && outside.report().remedies[0].text.contains("/lib\""),
            "{outside}"
        );
        assert!(at("/etc").unwrap_err().is(&LOCAL_INPUT));
        let error = lock(r#"{"type":"git","url":"file:///home/me/lib","rev":"1"}"#).unwrap_err();
        assert!(error.is(&LOCAL_INPUT) && error.report().remedies[0].text.contains("path:/home/me/lib"));
        assert!(read(&nix, Some("no json"), dir.path()).unwrap().is_empty());
    }

    #[test]
    fn without_a_lock_only_what_can_be_an_input_comes_along() {
        let dir = tempfile::tempdir().unwrap();
        let (flake, data) = (directory(dir.path(), "flake", true), directory(dir.path(), "data", false));
        let (flake, data) = (flake.display(), data.display());
        let nix = format!(
            r#"{{ inputs = {{ a.url = "{flake}"; b = {{ url = "path:{data}"; flake = false; }}; }};
                # "path:{data}"
                outputs = _: {{ WorkingDir = "/"; pathsToLink = [ "/bin" "/etc" ]; tmp = "/tmp"; x = "{flake}"; y = "path:{data}"; z = "path:/usr/lib"; }}; }}"#
        );
        let found = read(&nix, None, dir.path()).unwrap();
        assert_eq!(found, [flake.to_string(), data.to_string()].map(PathBuf::from));
        for (url, words) in [
            ("path:../lib", "outside of what Nix sees"),
            ("../lib", "outside of what Nix sees"),
            ("path:/", "directory of the system's"),
            ("/usr/lib", "directory of the system's"),
            ("git+file:///home/me/lib", "repository on this host"),
        ] {
            let error = read(&format!("{{ inputs.lib.url = \"{url}\"; }}"), None, dir.path()).unwrap_err();
            assert!(error.is(&LOCAL_INPUT) && error.to_string().contains(words), "{url}: {error}");
            assert!(error.to_string().contains("`lib`"), "{error}");
        }
        assert!(read("{ inputs.lib.url = \"path:./sub\"; }", None, dir.path()).unwrap().is_empty());
        let nix = r#"{ inputs.lib.url = "git+file:///home/me/lib"; }"#;
        assert!(named(nix, dir.path(), dir.path(), &["lib"]).unwrap().is_empty());
        let lock = r#"{"nodes":{"lib_2":{"locked":{"type":"git","url":"file:///x"}},"root":{"inputs":{"lib":"lib_2"}}}}"#;
        assert!(locked(lock, dir.path(), dir.path(), &["lib"]).unwrap().is_empty());
        assert!(locked(lock, dir.path(), dir.path(), &["lib_2"]).unwrap_err().to_string().contains("`lib`"));
    }
}
