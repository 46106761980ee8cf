//! Names of images, as container tools write and compare them.
//!
//! Source of the grammar: distribution/reference, `reference.go` and `normalize.go`: a name without a registry
//! means docker.io, and one path component there means `library/`.

use std::fmt;
use std::str::FromStr;

use nixoci_core::{Error, Remedy, Result};
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::text::show;

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// The name of an image: registry, path and tag. Displays in the short form people type (`hello:latest`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: String,
}

/// What an image is to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Naming {
    /// As the archive says.
    #[default]
    Keep,
    /// Like this, whatever the archive says.
    Replace(Vec<Reference>),
    /// As the archive says, but with this tag.
    Tag(String),
}

impl Naming {
    /// What `-t` asks for: nothing, whole names, or one `:tag`.
    pub fn parse<S: AsRef<str>>(tags: &[S]) -> Result<Naming> {
        if let [tag] = tags
            && let Some(tag) = tag.as_ref().strip_prefix(':')
        {
            return if is_tag(tag) { Ok(Naming::Tag(tag.to_owned())) } else { Err(bad_reference(tag)) };
        }
        if tags.is_empty() {
            return Ok(Naming::Keep);
        }
        let names: Result<Vec<Reference>> = tags.iter().map(|tag| Reference::parse(tag.as_ref())).collect();
        let mut names = names?;
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Ok(Naming::Replace(names))
    }
}

impl Reference {
    /// Parses `[registry/]path[:tag]`; the tag is `latest` when absent. A digest (`name@sha256:…`) names one
    /// fixed image and so cannot be given to another: it is refused.
    pub fn parse(text: &str) -> Result<Reference> {
        let fail = || bad_reference(text);
        if text.contains('@') {
            return Err(fail().because("a digest cannot be chosen, it follows from the content"));
        }
        let (name, tag) = match text.rsplit_once(':') {
            // The colon of a port is followed by the path.
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (text, DEFAULT_TAG),
        };
        let (domain, path) = split_domain(name);
        let fits = domain.len() + path.len() < NAME_LIMIT;
        if !fits || !is_tag(tag) || !is_domain(&domain) || !path.split('/').all(is_component) {
            let error = fault(name, tag).into_iter().fold(fail(), Error::because);
            return Err(match text.chars().any(char::is_uppercase) && name.to_lowercase() != name {
                true => error.remedy(Remedy::advice("write the name in lower case")),
                false => error,
            });
        }
        // A short name of 64 hex digits would read as an image id.
        if !text.contains('/') && name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(fail().because("64 hexadecimal digits are an image id, not a name"));
        }
        Ok(Reference { domain, path, tag: tag.to_owned() })
    }

    /// The name without its tag, whatever that is; the tag is `latest`.
    ///
    /// # Errors
    /// [`codes::BAD_REFERENCE`].
    pub(crate) fn without_tag(text: &str) -> Result<Reference> {
        match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => Reference::parse(name),
            _ => Reference::parse(text),
        }
    }

    /// The reference that somebody may have meant: in lower case, and with a tag of the letters that tags may have.
    pub(crate) fn nearest(text: &str) -> Option<Reference> {
        let (name, tag) = match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (text, DEFAULT_TAG),
        };
        let letter = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '-' };
        let tag: String = tag.chars().map(letter).take(TAG_LIMIT).collect();
        let tag = tag.trim_start_matches(['-', '.']);
        let name = Reference::parse(&name.to_lowercase()).ok()?;
        name.with_tag(tag).ok()
    }

    /// The registry: `docker.io` when none was given.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The path in the registry: `library/hello`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The same name with another tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference> {
        if !is_tag(tag) {
            return Err(bad_reference(tag));
        }
        Ok(Reference { tag: tag.to_owned(), ..self.clone() })
    }

    /// The short form: `hello:latest`, `ghcr.io/me/app:1`. Docker prints it, and finds it again.
    pub fn familiar(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.full();
        }
        // `library/` goes only where nothing but a single component is left.
        let short = self.path.strip_prefix(OFFICIAL_PREFIX).filter(|rest| !rest.contains('/'));
        let short = format!("{}:{}", short.unwrap_or(&self.path), self.tag);
        // `docker.io/example.org/app` without its registry would be another one's, and 64 digits an image's id.
        if Self::parse(&short).is_ok_and(|again| again == *self) { short } else { self.full() }
    }

    /// The whole name: `docker.io/library/hello:latest`. containerd and Apple's container want it.
    pub fn full(&self) -> String {
        format!("{}/{}:{}", self.domain, self.path, self.tag)
    }
}

fn bad_reference(text: &str) -> Error {
    Error::new(&codes::BAD_REFERENCE, format!("`{}` is not an image reference", show(text.as_bytes())))
        .remedy(Remedy::advice(
            "write it as [registry/]path[:tag], such as hello, app:dev or ghcr.io/me/app:1.2",
        ))
}

/// Which letter keeps a text from being a reference, in words.
fn fault(name: &str, tag: &str) -> Option<String> {
    let show = |letter: char| crate::text::show(letter.to_string().as_bytes());
    let in_tag = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    let in_name = |c: &char| {
        !(c.is_ascii_lowercase()
            || c.is_ascii_digit()
            || matches!(c, '_' | '.' | '-' | '/' | ':' | '[' | ']'))
    };
    match (name.chars().find(in_name), tag.chars().find(in_tag)) {
        (Some(letter), _) if letter.is_uppercase() => Some("a name has no capital letters".to_owned()),
        (Some(letter), _) => Some(format!("`{}` may not be in a name", show(letter))),
        (None, Some(letter)) => Some(format!("`{}` may not be in a tag", show(letter))),
        (None, None) => None,
    }
}

fn split_domain(name: &str) -> (String, String) {
    let is_host = |text: &str| {
        text.contains(['.', ':'])
            || text == "localhost"
            || text.chars().any(|letter| letter.is_ascii_uppercase())
    };
    let (domain, path) = match name.split_once('/') {
        Some((domain, path)) if is_host(domain) => (domain, path),
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == LEGACY_DEFAULT_DOMAIN { DEFAULT_DOMAIN } else { domain };
    let official = domain == DEFAULT_DOMAIN && !path.contains('/');
    let path = if official { format!("{OFFICIAL_PREFIX}{path}") } else { path.to_owned() };
    (domain.to_owned(), path)
}

/// `[\w][\w.-]{0,127}`
fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_LIMIT
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// Labels joined by dots, or an IPv6 address in brackets, and a port.
fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_ipv6 = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    let host_ok = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => !address.is_empty() && is_ipv6(address),
        None => host.split('.').all(is_label),
    };
    host_ok && port.is_none_or(is_port)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<u8>| byte.is_some_and(alphanumeric);
    let separators = text.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    ends(text.bytes().next())
        && ends(text.bytes().last())
        && separators
            .into_iter()
            .all(|part| matches!(part, "" | "." | "_" | "__") || part.bytes().all(|byte| byte == b'-'))
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Reference::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Reference::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn both(text: &str) -> (String, String) {
        let name = Reference::parse(text).unwrap();
        (name.familiar(), name.full())
    }

    #[test]
    fn short_names_are_completed_and_shortened_again() {
        let cases = [
            ("hello", "hello:latest", "docker.io/library/hello:latest"),
            ("me/app:1.2", "me/app:1.2", "docker.io/me/app:1.2"),
            ("docker.io/hello", "hello:latest", "docker.io/library/hello:latest"),
            ("index.docker.io/library/hello:x", "hello:x", "docker.io/library/hello:x"),
            ("ghcr.io/me/app", "ghcr.io/me/app:latest", "ghcr.io/me/app:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app:dev", "localhost:5000/app:dev", "localhost:5000/app:dev"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
            ("a__b--c.d_e", "a__b--c.d_e:latest", "docker.io/library/a__b--c.d_e:latest"),
            // Shortened, this would be another registry's.
            ("docker.io/a.b/app", "docker.io/a.b/app:latest", "docker.io/a.b/app:latest"),
        ];
        for (text, familiar, full) in cases {
            assert_eq!(both(text), (familiar.to_owned(), full.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let long = format!("{}:x", "a".repeat(256));
        let hex = "a".repeat(64);
        for text in [
            "",
            ":",
            ":dev",
            "Hello",
            "a:",
            "a:.x",
            "-a",
            "a-",
            "a___b",
            "a..b",
            "a/",
            "/a",
            "a//b",
            "a b",
            "a:b:c",
            "ghcr.io/Me/app",
            "x@sha256:00",
            "ex_ample.com/app",
            "a.b:port/app",
            &long,
            &hex,
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_tag_keeps_the_name() {
        assert_eq!(Naming::parse(&[":dev"]).unwrap(), Naming::Tag("dev".into()));
        assert_eq!(Naming::parse::<&str>(&[]).unwrap(), Naming::Keep);
        assert!(Naming::parse(&[":dev", "a"]).is_err());
        let Naming::Replace(names) = Naming::parse(&["a", "b:1", "a:latest"]).unwrap() else { panic!() };
        assert_eq!(names.len(), 2);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_its_result_parses_again(text in "[a-zA-Z0-9:/@._\\-\\[\\]é ]{0,80}") {
            if let Ok(name) = Reference::parse(&text) {
                prop_assert_eq!(&Reference::parse(&name.full()).unwrap(), &name);
                prop_assert_eq!(&Reference::parse(&name.familiar()).unwrap(), &name);
            }
        }
    }
}
