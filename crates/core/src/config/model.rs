//! The shape of nixoci.toml, and errors that point into it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use toml::Spanned;

use super::table::BackendTable;
use super::toml_error::{data_error, syntax_error};
use crate::codes;
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind, Excerpt, Remedy, Result};
use crate::file;
use crate::registry::Registry;
use crate::text::printable;

/// A configuration file beyond this size is a mistake.
const SIZE_LIMIT: u64 = 1 << 20;
/// So are more images or profiles than this: every one is combined with every other where a file is checked.
const TABLES: usize = 256;

/// nixoci.toml.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(title = "nixoci.toml")]
struct Document {
    /// The versions of nixoci that this file is for, such as ">=0.1".
    #[schemars(with = "Option<String>")]
    #[schemars(extend("x-trust" = "safe"))]
    required_version: Option<Spanned<String>>,
    /// The image that `nixoci build` makes when none is named.
    image: Option<ImageTable>,
    /// Several images by name: `nixoci build NAME`.
    images: BTreeMap<String, ImageTable>,
    /// Ways of building, by name; `default` is used when none is chosen.
    profile: BTreeMap<String, ProfileTable>,
    /// Settings of the backends, by name.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    backend: BTreeMap<String, Spanned<toml::Table>>,
    /// What opens private sources where another machine evaluates. In the user's own configuration only.
    #[schemars(with = "Option<Credentials>")]
    #[schemars(extend("x-trust" = "forbidden"))]
    credentials: Option<Spanned<Credentials>>,
    /// Backends from elsewhere that you trust, by name; `nixoci plugin trust` writes it. In the user's own configuration only.
    #[schemars(with = "Option<BTreeMap<String, PluginPin>>")]
    #[schemars(extend("x-trust" = "forbidden"))]
    plugins: Option<Spanned<BTreeMap<String, PluginPin>>>,
}

/// A library that is trusted: this file, as long as it has these bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PluginPin {
    /// The file, absolute.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// What to build.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ImageTable {
    /// A flake's attribute, such as ".#container". Relative references are relative to this file.
    #[schemars(with = "Option<String>")]
    #[schemars(extend("x-trust" = "inside"))]
    pub installable: Option<Spanned<String>>,
    /// Instead of `installable`: a Nix file such as "default.nix", relative to this file.
    #[schemars(with = "Option<PathBuf>")]
    #[schemars(extend("x-trust" = "path"))]
    pub file: Option<Spanned<PathBuf>>,
    /// The attribute of `file`.
    #[schemars(extend("x-trust" = "safe"))]
    pub attr: Option<String>,
    /// Arguments for the function in `file`, as Nix expressions.
    #[schemars(extend("x-trust" = "safe"))]
    pub arg: BTreeMap<String, String>,
    /// Arguments for the function in `file`, as strings.
    #[schemars(extend("x-trust" = "safe"))]
    pub argstr: BTreeMap<String, String>,
    /// For which platforms, such as ["linux/amd64", "linux/arm64"].
    #[schemars(with = "Option<Vec<String>>")]
    #[schemars(extend("x-trust" = "safe"))]
    pub platforms: Option<Spanned<Vec<PlatformText>>>,
    /// The image's names; they replace the one in the image. ":dev" replaces only the tag.
    #[schemars(with = "Option<Vec<String>>")]
    #[schemars(extend("x-trust" = "safe"))]
    pub tags: Option<Spanned<Vec<String>>>,
}

/// A way of building.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ProfileTable {
    /// The profile whose values apply where this one has none. `default` if absent.
    #[schemars(with = "Option<String>")]
    #[schemars(extend("x-trust" = "safe"))]
    pub inherits: Option<Spanned<String>>,
    /// Backends in order of preference; chosen by readiness if absent.
    #[schemars(with = "Option<Vec<String>>")]
    #[schemars(extend("x-trust" = "safe"))]
    pub backend: Option<Spanned<Vec<String>>>,
    /// For which platforms.
    #[schemars(with = "Option<Vec<String>>")]
    #[schemars(extend("x-trust" = "safe"))]
    pub platforms: Option<Spanned<Vec<PlatformText>>>,
    /// The image's names.
    #[schemars(with = "Option<Vec<String>>")]
    #[schemars(extend("x-trust" = "safe"))]
    pub tags: Option<Spanned<Vec<String>>>,
    /// Whether to load the image into a container runtime: true, false or the runtime's name.
    #[schemars(with = "Option<LoadTarget>")]
    #[schemars(extend("x-trust" = "asks", "x-trust-safe" = [true, false, "auto", "docker", "podman"]))]
    pub load: Option<Spanned<LoadTarget>>,
    /// Where to write the image, such as ["archive:image.tar"], relative to this file.
    #[schemars(with = "Option<Vec<String>>")]
    #[schemars(extend("x-trust" = "safe"))]
    pub output: Option<Spanned<Vec<String>>>,
}

/// A platform in a configuration file, checked while reading so that an error points at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformText(pub crate::platform::OciPlatform);

impl<'de> Deserialize<'de> for PlatformText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let platform = crate::platform::OciPlatform::deserialize(deserializer)?;
        if platform.to_nix().is_none_or(|system| !system.is_linux()) {
            return Err(serde::de::Error::custom(format!(
                "`{platform}` is not a Linux platform that Nix can build for"
            )));
        }
        Ok(PlatformText(platform))
    }
}

/// Whether and where to load an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LoadTarget {
    /// Nowhere.
    No,
    /// Into whichever runtime is running.
    Auto,
    /// Into this one.
    Into(Runtime),
}

/// A container runtime that images can be loaded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Runtime {
    /// Docker, and whatever speaks its protocol at Docker's endpoint (OrbStack, Colima, Rancher Desktop).
    Docker,
    /// Podman, on this machine or in its own.
    Podman,
    /// containerd, through `ctr`.
    Containerd,
    /// Apple's `container`.
    Apple,
    /// The nodes of a cluster that kind made.
    Kind,
    /// The nodes of a cluster that k3d made.
    K3d,
    /// The node of a minikube profile.
    Minikube,
}

impl Runtime {
    /// Every runtime; those that run containers for a user come first, in the order in which `auto` takes them.
    pub const ALL: [Runtime; 7] = [
        Runtime::Docker,
        Runtime::Podman,
        Runtime::Containerd,
        Runtime::Apple,
        Runtime::Kind,
        Runtime::K3d,
        Runtime::Minikube,
    ];

    /// The name that `--load` takes.
    pub fn name(self) -> &'static str {
        match self {
            Runtime::Docker => "docker",
            Runtime::Podman => "podman",
            Runtime::Containerd => "containerd",
            Runtime::Apple => "apple",
            Runtime::Kind => "kind",
            Runtime::K3d => "k3d",
            Runtime::Minikube => "minikube",
        }
    }

    /// Whether it is a cluster: what is loaded there is run by Kubernetes, and only somebody who names it means it.
    pub fn is_cluster(self) -> bool {
        matches!(self, Runtime::Kind | Runtime::K3d | Runtime::Minikube)
    }
}

impl LoadTarget {
    /// The words that are understood, `true` and `false` aside.
    pub const NAMES: &'static [&'static str] =
        &["auto", "docker", "podman", "containerd", "apple", "kind", "k3d", "minikube"];

    /// The target with this name.
    pub fn from_name(name: &str) -> Option<LoadTarget> {
        if name == "auto" {
            return Some(LoadTarget::Auto);
        }
        Runtime::ALL.into_iter().find(|runtime| runtime.name() == name).map(LoadTarget::Into)
    }
}

impl<'de> Deserialize<'de> for LoadTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = LoadTarget;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "true, false or one of {}", LoadTarget::NAMES.join(", "))
            }

            fn visit_bool<E>(self, value: bool) -> Result<LoadTarget, E> {
                Ok(if value { LoadTarget::Auto } else { LoadTarget::No })
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<LoadTarget, E> {
                LoadTarget::from_name(name)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(name), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for LoadTarget {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LoadTarget".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "boolean" }, { "enum": LoadTarget::NAMES }] })
    }
}

/// A configuration file that was read and found well-formed.
#[derive(Debug)]
pub struct ConfigFile {
    /// The file, as the user would name it.
    pub path: PathBuf,
    /// Its text, for positions.
    pub source: Arc<str>,
    /// The image without a name.
    pub image: Option<ImageTable>,
    /// Images by name.
    pub images: BTreeMap<String, ImageTable>,
    /// Profiles by name.
    pub profiles: BTreeMap<String, ProfileTable>,
    /// Backends by the name written.
    pub backends: Vec<BackendTable>,
    /// What opens private sources.
    pub credentials: Option<Credentials>,
    /// Where that is written.
    credentials_at: Option<Excerpt>,
    /// Backends from elsewhere that are trusted, by name.
    pub plugins: BTreeMap<String, PluginPin>,
    /// Where that is written.
    plugins_at: Option<Excerpt>,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`codes::CONFIG_MISSING`], [`codes::CONFIG_UNREADABLE`], and those of [`parse`](Self::parse).
    pub fn load(path: &Path, version: &str) -> Result<ConfigFile> {
        let unreadable = || format!("{} cannot be read", path.display());
        let text = file::read_to_string(path, SIZE_LIMIT).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::new(&codes::CONFIG_MISSING, format!("{} does not exist", path.display()))
            }
            _ => Error::new(&codes::CONFIG_UNREADABLE, unreadable()).caused_by(&error),
        })?;
        Self::parse(path, text, version)
    }

    /// Reads a file's text. `version` is this nixoci's, for `required-version`.
    ///
    /// # Errors
    /// [`codes::CONFIG_SYNTAX`], [`codes::CONFIG_UNKNOWN_KEY`], [`codes::CONFIG_VALUE`],
    /// [`codes::CONFIG_VERSION`].
    pub fn parse(path: &Path, text: String, version: &str) -> Result<ConfigFile> {
        let source: Arc<str> = text.into();
        toml::de::DeTable::parse(&source).map_err(|error| syntax_error(path, &source, &error))?;
        // Before anything else: a file for another version may well have keys that this one does not know.
        check_version(path, &source, version)?;
        let document: Document =
            toml::from_str(&source).map_err(|error| data_error(path, &source, &error))?;
        let backends = document.backend.into_keys().map(|name| BackendTable {
            file: path.to_owned(),
            name,
            source: Arc::clone(&source),
        });
        let file = ConfigFile {
            path: path.to_owned(),
            image: document.image,
            images: document.images,
            profiles: document.profile,
            backends: backends.collect(),
            credentials_at: document
                .credentials
                .as_ref()
                .map(|table| Excerpt::from_span(path, &source, table.span())),
            credentials: document.credentials.map(Spanned::into_inner),
            plugins_at: document
                .plugins
                .as_ref()
                .map(|table| Excerpt::from_span(path, &source, table.span())),
            plugins: document.plugins.map(Spanned::into_inner).unwrap_or_default(),
            source: Arc::clone(&source),
        };
        file.check_names()?;
        file.image.iter().chain(file.images.values()).try_for_each(|image| file.check_image(image))?;
        Ok(file)
    }

    /// A file whose keys are not looked at.
    #[cfg(test)]
    pub(super) fn unchecked(path: &Path, text: &str) -> ConfigFile {
        let empty = Self::parse(path, String::new(), "0.1.0").expect("an empty file is right");
        ConfigFile { source: text.into(), ..empty }
    }

    /// Checks what a project may not do by itself.
    ///
    /// # Errors
    /// [`codes::CONFIG_CREDENTIALS`], [`codes::CONFIG_PLUGINS`].
    pub fn check_project(&self) -> Result<()> {
        if let Some(at) = &self.plugins_at {
            let error = Error::new(&codes::CONFIG_PLUGINS, "a project may not trust plugins").at(at.clone());
            return Err(error
                .remedy(Remedy::command("trust it yourself, if you do", "nixoci plugin trust NAME"))
                .remedy(Remedy::advice("take the table out of the project's file")));
        }
        let Some(at) = &self.credentials_at else { return Ok(()) };
        Err(Error::new(&codes::CONFIG_CREDENTIALS, "a project may not name credentials")
            .at(at.clone())
            .remedy(Remedy::advice("move the table to your own configuration, ~/.config/nixoci/config.toml")))
    }

    /// Checks what only the backends can judge: their names and their tables. Of what could be had, and is not trusted, nothing
    /// is known: it is refused when it is to be used.
    ///
    /// # Errors
    /// [`codes::UNKNOWN_BACKEND`], [`codes::CONFIG_UNKNOWN_KEY`], [`codes::CONFIG_VALUE`].
    pub fn check_backends(&self, registry: &Registry) -> Result<()> {
        for table in &self.backends {
            match registry.require(&table.name) {
                Ok(factory) => factory.check(table)?,
                Err(error) if error.kind() == ErrorKind::Untrusted => {}
                Err(error) => return Err(error.context(format!("in {}", self.path.display()))),
            }
        }
        for names in self.profiles.values().filter_map(|profile| profile.backend.as_ref()) {
            for name in names.get_ref() {
                match registry.require(name) {
                    Err(error) if error.kind() != ErrorKind::Untrusted => {
                        return Err(error.at(self.excerpt(names.span())));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The place of a byte range of this file.
    pub fn excerpt(&self, span: std::ops::Range<usize>) -> Excerpt {
        Excerpt::from_span(&self.path, &self.source, span)
    }

    /// The name of an image is a plain word. A flake reference is none, so that what is typed after `nixoci build` is never
    /// taken over by a project.
    fn check_names(&self) -> Result<()> {
        let plain = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+'))
        };
        if let Some(name) = self.images.keys().find(|name| !plain(name)) {
            let text =
                format!("`{}` in {} cannot be the name of an image", printable(name), self.path.display());
            return Err(Error::new(&codes::CONFIG_VALUE, text).because(
                "a name is a word of letters, digits, `-`, `_`, `.` and `+`, such as [images.web]",
            ));
        }
        for (what, count) in [("images", self.images.len()), ("profiles", self.profiles.len())] {
            if count > TABLES {
                let text = format!("{} has {count} {what}, and {TABLES} is the limit", self.path.display());
                return Err(Error::new(&codes::CONFIG_VALUE, text));
            }
        }
        Ok(())
    }

    fn check_image(&self, image: &ImageTable) -> Result<()> {
        match (&image.installable, &image.file) {
            (Some(_), Some(file)) => {
                Err(Error::new(&codes::CONFIG_VALUE, "`installable` and `file` exclude each other")
                    .at(self.excerpt(file.span()))
                    .remedy(Remedy::advice(
                        "keep `installable` for a flake, `file` for a Nix file without one",
                    )))
            }
            (Some(installable), None)
                if image.attr.is_some() || !image.arg.is_empty() || !image.argstr.is_empty() =>
            {
                Err(Error::new(
                    &codes::CONFIG_VALUE,
                    "`attr`, `arg` and `argstr` belong to `file`, not to `installable`",
                )
                .at(self.excerpt(installable.span()))
                .remedy(Remedy::advice("name the attribute after `#`: installable = \".#container\"")))
            }
            _ => Ok(()),
        }
    }
}

fn check_version(path: &Path, source: &Arc<str>, version: &str) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Peek {
        required_version: Option<Spanned<String>>,
    }
    // Whatever else is wrong is found, and told better, when the whole document is read.
    let Ok(Peek { required_version: Some(required) }) = toml::from_str::<Peek>(source) else { return Ok(()) };
    let at = Excerpt::from_span(path, source, required.span());
    let wanted = semver::VersionReq::parse(required.get_ref()).map_err(|error| {
        Error::new(&codes::CONFIG_VALUE, format!("`{}` is not a version requirement", required.get_ref()))
            .caused_by(&error)
            .at(at.clone())
    })?;
    match semver::Version::parse(version) {
        Ok(own) if !wanted.matches(&own) => Err(Error::new(
            &codes::CONFIG_VERSION,
            format!("this project requires nixoci {wanted}, and this is {own}"),
        )
        .at(at)),
        _ => Ok(()),
    }
}

/// The JSON Schema of nixoci.toml, with the tables of these backends.
pub fn config_schema(registry: &Registry) -> serde_json::Value {
    let mut schema = schemars::schema_for!(Document).to_value();
    let backends: serde_json::Map<String, serde_json::Value> =
        registry.iter().map(|factory| (factory.descriptor().name.into_owned(), factory.schema())).collect();
    if let Some(backend) = schema.pointer_mut("/properties/backend") {
        *backend = serde_json::json!({
            "description": "Settings of the backends, by name.",
            "type": "object",
            "properties": backends,
            "additionalProperties": false,
        });
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile> {
        ConfigFile::parse(Path::new("nixoci.toml"), text.to_owned(), "0.1.0")
    }

    fn failure(text: &str) -> Error {
        parse(text).unwrap_err()
    }

    #[test]
    fn the_documented_example_parses() {
        let file = parse(
            "required-version = \">=0.1\"\n[image]\ninstallable = \".#container\"\nplatforms = [\"linux/amd64\"]\n\
             [profile.default]\nload = true\n[profile.ci]\ninherits = \"default\"\nload = \"docker\"\n[backend.local]\n",
        )
        .unwrap();
        assert_eq!(file.profiles["ci"].load.as_ref().unwrap().get_ref(), &LoadTarget::Into(Runtime::Docker));
        assert_eq!(file.backends[0].name, "local");
    }

    #[test]
    fn every_runtime_has_one_name() {
        let names: Vec<&str> = Runtime::ALL.into_iter().map(Runtime::name).collect();
        assert_eq!(names, LoadTarget::NAMES[1..]);
        for runtime in Runtime::ALL {
            assert_eq!(LoadTarget::from_name(runtime.name()), Some(LoadTarget::Into(runtime)));
            assert_eq!(serde_json::to_value(runtime).unwrap(), runtime.name());
        }
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line_and_the_right_one() {
        let error = failure("[image]\nplatform = [\"linux/amd64\"]\n");
        assert!(error.is(&codes::CONFIG_UNKNOWN_KEY));
        let excerpt = error.report().excerpt.as_ref().unwrap();
        assert_eq!((excerpt.line, excerpt.column, excerpt.width), (2, 1, 8));
        assert_eq!(error.report().remedies[0].text, "did you mean `platforms`");
    }

    #[test]
    fn a_wrong_value_points_at_itself() {
        let error = failure("[image]\nplatforms = [\"linux/amd64\", \"linux/pdp11\"]\n");
        assert!(error.is(&codes::CONFIG_VALUE), "{error:?}");
        assert_eq!(error.report().excerpt.as_ref().unwrap().column, 13);
        assert!(failure("[profile.x]\nload = 3\n").to_string().contains("true, false or one of"));
        assert!(
            failure("[image]\nplatforms = [\"darwin/arm64\"]\n").to_string().contains("not a Linux platform")
        );
    }

    #[test]
    fn broken_toml_is_a_syntax_error() {
        let error = failure("[image\n");
        assert!(error.is(&codes::CONFIG_SYNTAX));
        assert_eq!(error.report().excerpt.as_ref().unwrap().line, 1);
    }

    #[test]
    fn a_file_for_a_newer_nixoci_says_so_before_complaining_about_its_keys() {
        let error = failure("required-version = \">=9\"\nfuture = 1\n");
        assert!(error.is(&codes::CONFIG_VERSION));
        assert_eq!(error.to_string(), "this project requires nixoci >=9, and this is 0.1.0");
        assert!(failure("required-version = \"newest\"\n").is(&codes::CONFIG_VALUE));
    }

    #[test]
    fn an_image_has_a_name_that_is_no_reference() {
        for reference in [".#web", "path:/home/me#x", "./web", "github:a/b", "-x", "a b", ""] {
            assert!(
                failure(&format!("[images.{reference:?}]\ninstallable = \".#x\"\n")).is(&codes::CONFIG_VALUE)
            );
        }
        parse("[images.web-1_2]\ninstallable = \".#x\"\n").unwrap();
        let many: String = (0..=TABLES).map(|n| format!("[profile.p{n}]\n")).collect();
        assert!(failure(&many).to_string().contains("257 profiles"));
    }

    #[test]
    fn file_and_installable_exclude_each_other() {
        assert!(failure("[image]\ninstallable = \".#x\"\nfile = \"default.nix\"\n").is(&codes::CONFIG_VALUE));
        assert!(
            failure("[image]\ninstallable = \".#x\"\nattr = \"y\"\n")
                .to_string()
                .contains("belong to `file`")
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "[a-z\\[\\]=\"\\n.# 0-9{}é]{0,120}") {
            let _ = parse(&text);
        }
    }
}
