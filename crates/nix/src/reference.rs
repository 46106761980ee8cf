//! Flake references that mean the same wherever Nix runs, and for every version of it.
//!
//! Local directories become absolute and free of symbolic links: `/tmp` and `/var` are links on macOS, and
//! Nix 2.26 refuses a linked directory while `path:` fails on one in every version.

use std::path::{Path, PathBuf};

use nixoci_core::{Error, Remedy, Result};

use crate::codes;

/// A reference with every local path made canonical; others stay as they are. Relative paths are relative to
/// `base`.
///
/// # Errors
/// [`codes::NO_DIRECTORY`] if a local path does not exist.
pub fn canonical_reference(reference: &str, base: &Path) -> Result<String> {
    let Some(local) = Local::of(reference) else { return Ok(reference.to_owned()) };
    let path = base.join(&local.path);
    let canonical = path.canonicalize().map_err(|error| {
        Error::new(&codes::NO_DIRECTORY, format!("`{reference}` does not exist"))
            .because(format!("{}: {error}", path.display()))
            .remedy(Remedy::advice("name a directory with a flake.nix, such as `.#container` for this one"))
    })?;
    if local.scheme.is_empty() && canonical.to_string_lossy().contains(['#', '?']) {
        return Ok(as_url(&canonical, local.query));
    }
    Ok(format!("{}{}{}", local.scheme, local.encode(&canonical), local.query))
}

/// A directory whose name would end a bare reference. Nix takes one in a repository from Git, any other as it is.
fn as_url(directory: &Path, query: &str) -> String {
    let encoded = |path: &Path| percent_encode(&path.to_string_lossy());
    match directory.ancestors().find(|dir| dir.join(".git").exists()) {
        Some(root) if root == directory => format!("git+file://{}{query}", encoded(root)),
        Some(root) if query.is_empty() => {
            let below = directory.strip_prefix(root).unwrap_or(directory);
            format!("git+file://{}?dir={}", encoded(root), encoded(below))
        }
        _ => format!("path:{}{query}", encoded(directory)),
    }
}

/// A reference as one would type it here: a path below the current directory is relative to it.
pub(crate) fn as_typed(reference: &str, here: &Path) -> String {
    let bare = |local: &Local<'_>| local.scheme.is_empty() && here.is_absolute();
    let Some(local) = Local::of(reference).filter(bare) else {
        return reference.to_owned();
    };
    match local.path.strip_prefix(here) {
        Ok(rest) if rest.as_os_str().is_empty() => format!(".{}", local.query),
        Ok(rest) => format!("./{}{}", rest.display(), local.query),
        Err(_) => reference.to_owned(),
    }
}

/// The directory that a reference names, if it is on this host: not necessarily the root of its repository.
pub fn local_dir(reference: &str) -> Option<PathBuf> {
    let local = Local::of(reference)?;
    let dir = local.parameter("dir");
    let dir = dir.map_or(local.path.clone(), |dir| local.path.join(dir));
    // Without `.` in the middle.
    Some(dir.components().collect())
}

/// A reference to a place on this host, taken apart.
pub(crate) struct Local<'a> {
    /// `path:`, `git+file://`, or nothing.
    pub(crate) scheme: &'a str,
    pub(crate) path: PathBuf,
    /// With its question mark.
    query: &'a str,
}

const SCHEMES: &[&str] = &["path:", "git+file:"];

impl<'a> Local<'a> {
    pub(crate) fn of(reference: &'a str) -> Option<Local<'a>> {
        let scheme = SCHEMES.iter().find(|scheme| reference.starts_with(**scheme));
        let rest = &reference[scheme.map_or(0, |scheme| scheme.len())..];
        let rest = if scheme.is_some() { rest.strip_prefix("//").unwrap_or(rest) } else { rest };
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        // Anything else without a scheme is a name in the flake registry.
        if scheme.is_none() && !path.starts_with(['.', '/']) {
            return None;
        }
        let scheme = &reference[..reference.len() - rest.len()];
        let path = if scheme.is_empty() { path.to_owned() } else { percent_decode(path)? };
        Some(Local { scheme, path: PathBuf::from(path), query })
    }

    /// What the query says for a key, as it is written there.
    pub(crate) fn parameter(&self, key: &str) -> Option<&'a str> {
        let parts = self.query.trim_start_matches('?').split('&');
        parts.filter_map(|part| part.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The same reference to another place.
    pub(crate) fn at(&self, path: &Path) -> String {
        format!("{}{}{}", self.scheme, self.encode(path), self.query)
    }

    fn encode(&self, path: &Path) -> String {
        let text = path.to_string_lossy();
        // A bare path is taken as it is; in a URL it must be encoded.
        if self.scheme.is_empty() { text.into_owned() } else { percent_encode(&text) }
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || (rest.next()? as char).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn links_are_followed_and_the_rest_of_the_reference_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a b/sub")).unwrap();
        std::os::unix::fs::symlink(root.join("a b"), root.join("link")).unwrap();
        let r = root.display();
        for (reference, expected) in [
            ("./link", format!("{r}/a b")),
            ("./link?dir=sub&submodules=1", format!("{r}/a b?dir=sub&submodules=1")),
            (".", format!("{r}")),
            ("path:./link", format!("path:{r}/a%20b")),
            ("path:link/../a%20b", format!("path:{r}/a%20b")),
            ("git+file:./link?ref=main", format!("git+file:{r}/a%20b?ref=main")),
        ] {
            assert_eq!(canonical_reference(reference, &root).unwrap(), expected, "{reference}");
        }
        let absolute = format!("git+file://{r}/link");
        assert_eq!(canonical_reference(&absolute, &root).unwrap(), format!("git+file://{r}/a%20b"));
    }

    #[test]
    fn a_name_that_would_end_the_reference_is_written_as_a_url() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (r, hash) = (root.display(), root.join("a#b"));
        std::fs::create_dir_all(hash.join("sub")).unwrap();
        assert_eq!(canonical_reference(".", &hash).unwrap(), format!("path:{r}/a%23b"));
        std::fs::create_dir(hash.join(".git")).unwrap();
        assert_eq!(canonical_reference(".", &hash).unwrap(), format!("git+file://{r}/a%23b"));
        let sub = canonical_reference("./sub", &hash).unwrap();
        assert_eq!(sub, format!("git+file://{r}/a%23b?dir=sub"));
        assert_eq!(canonical_reference(&sub, Path::new("/")).unwrap(), sub, "it stays what it is");
        assert_eq!(local_dir(&sub).unwrap(), hash.join("sub"));
    }

    #[test]
    fn what_is_not_here_stays_as_it_is() {
        for reference in [
            "nixpkgs",
            "github:NixOS/nixpkgs/nixos-24.05",
            "git+https://h/r?submodules=1",
            "flake:x",
            "https://h/x.tar.gz",
        ] {
            assert_eq!(canonical_reference(reference, Path::new("/nowhere")).unwrap(), reference);
            assert_eq!(local_dir(reference), None);
        }
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let error = canonical_reference("./nosuch", Path::new("/tmp")).unwrap_err();
        assert!(error.is(&codes::NO_DIRECTORY));
        assert_eq!(error.to_string(), "`./nosuch` does not exist");
        assert!(error.report().causes[0].contains("/tmp/./nosuch"), "{error:?}");
    }

    #[test]
    fn finds_the_directory_of_the_flake_itself() {
        assert_eq!(local_dir("path:/a%20b?dir=sub").unwrap(), Path::new("/a b/sub"));
        assert_eq!(local_dir("/a?submodules=1").unwrap(), Path::new("/a"));
    }

    #[test]
    fn a_reference_is_shown_as_one_would_type_it() {
        let here = Path::new("/home/u/project");
        for (reference, shown) in [
            ("/home/u/project", "."),
            ("/home/u/project?submodules=1", ".?submodules=1"),
            ("/home/u/project/a/b", "./a/b"),
            ("/home/u/other", "/home/u/other"),
            ("path:/home/u/project", "path:/home/u/project"),
            ("github:o/r", "github:o/r"),
        ] {
            assert_eq!(as_typed(reference, here), shown);
        }
    }

    proptest! {
        #[test]
        fn encoding_can_be_undone(text in ".{0,50}") {
            prop_assert_eq!(percent_decode(&percent_encode(&text)), Some(text));
        }

        #[test]
        fn no_reference_makes_it_panic(text in ".{0,50}") {
            let _ = canonical_reference(&text, Path::new("/"));
        }
    }
}
