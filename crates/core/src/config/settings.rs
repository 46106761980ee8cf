//! Layering: flags over environment over project over user over defaults, every value with its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use toml::Spanned;

use super::model::{ConfigFile, ImageTable, LoadTarget, PlatformText, ProfileTable};
use super::table::BackendTable;
use crate::codes;
use crate::error::{Error, Remedy, Result};
use crate::host::Host;
use crate::platform::OciPlatform;
use crate::registry::nearest;
use crate::request::{Installable, NixArg, attribute_name};
use crate::shell;

/// The profile that is used when none is chosen, and that every other inherits from in the end.
const DEFAULT_PROFILE: &str = "default";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command line flag.
    Flag(&'static str),
    /// An environment variable.
    Env(&'static str),
    /// A configuration file.
    File {
        /// Which file.
        path: PathBuf,
        /// The one-based line.
        line: usize,
        /// The table: `profile.ci`.
        table: String,
    },
    /// nixoci's own default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "{name}"),
            Origin::Env(name) => write!(f, "${name}"),
            Origin::File { path, line, table } => write!(f, "{}:{line} [{table}]", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// A value with its origin.
    pub fn new(value: T, origin: Origin) -> Self {
        Setting { value, origin }
    }
}

/// What somebody who is stronger than any file wants: flags, or the environment. `None` means no wish.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Which profile.
    pub profile: Option<Setting<String>>,
    /// Backends in order of preference.
    pub backends: Option<Setting<Vec<String>>>,
    /// For which platforms.
    pub platforms: Option<Setting<Vec<OciPlatform>>>,
    /// The image's names.
    pub tags: Option<Setting<Vec<String>>>,
    /// Whether and where to load.
    pub load: Option<Setting<LoadTarget>>,
    /// Where to write.
    pub outputs: Option<Setting<Vec<String>>>,
}

/// What the configuration says is to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// A flake's attribute, and the directory that relative references start from.
    Flake(String, PathBuf),
    /// A Nix file with attribute and arguments.
    File(Installable),
}

/// The image that was chosen: a configured one, by name or the nameless one.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// What to build.
    pub source: ImageSource,
    /// Where that is written.
    pub origin: Origin,
}

/// What is layered.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The command line.
    pub flags: Wishes,
    /// This machine, for the environment.
    pub host: &'a Host,
    /// The configuration files, strongest (the project's) first.
    pub files: &'a [ConfigFile],
    /// `nixoci build NAME`, where NAME is one of `[images.<name>]`.
    pub image: Option<&'a str>,
}

/// Everything that was decided, each value with where it came from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The profile in use.
    pub profile: Setting<String>,
    /// What the configuration says is to be built; `None` if it says nothing.
    pub image: Option<Chosen>,
    /// For which platforms; `None` if nobody chose: linux on the host's own CPU then.
    pub platforms: Option<Setting<Vec<OciPlatform>>>,
    /// The names the image gets; empty keeps its own.
    pub tags: Setting<Vec<String>>,
    /// Backends in order of preference; empty means by readiness.
    pub backends: Setting<Vec<String>>,
    /// Whether and where to load.
    pub load: Setting<LoadTarget>,
    /// Where to write; relative paths are already resolved against the file that names them.
    pub outputs: Setting<Vec<String>>,
    /// The tables of each backend, weakest file first.
    pub backend_tables: BTreeMap<String, Vec<BackendTable>>,
}

/// Layers everything.
///
/// # Errors
/// [`codes::CONFIG_NO_PROFILE`], [`codes::CONFIG_CYCLE`], [`codes::CONFIG_NO_IMAGE`], and
/// [`codes::CONFIG_VALUE`] for environment variables.
pub fn resolve(sources: Sources<'_>) -> Result<Settings> {
    let environment = from_environment(sources.host)?;
    let profile = strongest([&sources.flags, &environment], |w| w.profile.clone())
        .unwrap_or_else(|| Setting::new(DEFAULT_PROFILE.to_owned(), Origin::Default));
    let mut layers = vec![sources.flags, environment];
    check_profile_exists(&profile, sources.files)?;
    for file in sources.files {
        layers.extend(file_layers(file, &profile.value, sources.image)?);
    }
    layers.push(docker_default_platform(sources.host));
    let pick = || layers.iter();
    Ok(Settings {
        image: choose_image(sources.files, sources.image)?,
        platforms: strongest(pick(), |w| w.platforms.clone()),
        tags: strongest(pick(), |w| w.tags.clone()).unwrap_or_else(default),
        backends: strongest(pick(), |w| w.backends.clone()).unwrap_or_else(default),
        load: strongest(pick(), |w| w.load.clone()).unwrap_or(Setting::new(LoadTarget::No, Origin::Default)),
        outputs: strongest(pick(), |w| w.outputs.clone()).unwrap_or_else(default),
        backend_tables: backend_tables(sources.files),
        profile,
    })
}

fn default<T: Default>() -> Setting<T> {
    Setting::new(T::default(), Origin::Default)
}

fn strongest<'a, T>(
    layers: impl IntoIterator<Item = &'a Wishes>,
    get: impl Fn(&Wishes) -> Option<Setting<T>>,
) -> Option<Setting<T>> {
    layers.into_iter().find_map(get)
}

/// The variables nixoci reads, and how.
fn from_environment(host: &Host) -> Result<Wishes> {
    let var =
        |name: &'static str| host.var(name).map(|value| Setting::new(value.to_owned(), Origin::Env(name)));
    let list = |setting: Setting<String>| {
        let items =
            setting.value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned);
        Setting::new(items.collect::<Vec<_>>(), setting.origin)
    };
    let platforms = var("NIXOCI_PLATFORM").map(|setting| parse_platforms(list(setting))).transpose()?;
    let load = var("NIXOCI_LOAD").map(parse_load).transpose()?;
    Ok(Wishes {
        profile: var("NIXOCI_PROFILE"),
        backends: var("NIXOCI_BACKEND").map(list),
        platforms,
        tags: var("NIXOCI_TAG").map(list),
        load,
        outputs: None,
    })
}

/// Weaker than every file: a variable that is not ours.
fn docker_default_platform(host: &Host) -> Wishes {
    const NAME: &str = "DOCKER_DEFAULT_PLATFORM";
    let platform = host.var(NAME).and_then(|text| text.parse().ok());
    Wishes { platforms: platform.map(|p| Setting::new(vec![p], Origin::Env(NAME))), ..Wishes::default() }
}

fn parse_platforms(list: Setting<Vec<String>>) -> Result<Setting<Vec<OciPlatform>>> {
    let origin = list.origin;
    let parse = |text: &String| {
        text.parse().map_err(|error| Error::new(&codes::CONFIG_VALUE, format!("{origin}: {error}")))
    };
    let value = list.value.iter().map(parse).collect::<Result<_>>()?;
    Ok(Setting::new(value, origin))
}

fn parse_load(setting: Setting<String>) -> Result<Setting<LoadTarget>> {
    let target = match setting.value.as_str() {
        "1" | "true" | "yes" => Some(LoadTarget::Auto),
        "0" | "false" | "no" => Some(LoadTarget::No),
        name => LoadTarget::from_name(name),
    };
    target.map(|target| Setting::new(target, setting.origin.clone())).ok_or_else(|| {
        let text = format!("{}: `{}` is not true, false or a runtime", setting.origin, setting.value);
        Error::new(&codes::CONFIG_VALUE, text).because(format!("known: {}", LoadTarget::NAMES.join(", ")))
    })
}

fn check_profile_exists(profile: &Setting<String>, files: &[ConfigFile]) -> Result<()> {
    let name = &profile.value;
    if name == DEFAULT_PROFILE || files.iter().any(|file| file.profiles.contains_key(name)) {
        return Ok(());
    }
    Err(no_profile(name, files).because(format!("it was asked for by {}", profile.origin)))
}

fn no_profile<'a>(name: &str, files: impl IntoIterator<Item = &'a ConfigFile>) -> Error {
    let names: Vec<&str> =
        files.into_iter().flat_map(|file| file.profiles.keys().map(String::as_str)).collect();
    let error = Error::new(&codes::CONFIG_NO_PROFILE, format!("there is no profile called `{name}`"));
    let error = match nearest(name, names.iter().copied()) {
        Some(near) => error.remedy(Remedy::advice(format!("did you mean `{near}`"))),
        None => error,
    };
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    error.because(format!("profiles in the configuration: {known}"))
}

/// One file's layers, strongest first: the profile, what it inherits, the image's own table.
fn file_layers(file: &ConfigFile, profile: &str, image: Option<&str>) -> Result<Vec<Wishes>> {
    let mut layers: Vec<Wishes> =
        chain(file, profile)?.into_iter().map(|(name, table)| profile_wishes(file, name, table)).collect();
    let chosen = match image {
        Some(name) => file.images.get(name).map(|table| (format!("images.{name}"), table)),
        None => file.image.as_ref().map(|table| ("image".to_owned(), table)),
    };
    layers.extend(chosen.map(|(name, table)| image_wishes(file, &name, table)));
    Ok(layers)
}

fn chain<'a>(file: &'a ConfigFile, profile: &str) -> Result<Vec<(&'a str, &'a ProfileTable)>> {
    let mut chain: Vec<(&str, &ProfileTable)> = Vec::new();
    let mut next = Some(profile.to_owned());
    while let Some(name) = next {
        let Some((name, table)) = file.profiles.get_key_value(&name) else { break };
        chain.push((name, table));
        next = match &table.inherits {
            Some(parent) => {
                check_parent(file, &chain, parent)?;
                Some(parent.get_ref().clone())
            }
            None if name != DEFAULT_PROFILE => Some(DEFAULT_PROFILE.to_owned()),
            None => None,
        };
    }
    Ok(chain)
}

fn check_parent(file: &ConfigFile, chain: &[(&str, &ProfileTable)], parent: &Spanned<String>) -> Result<()> {
    let name = parent.get_ref();
    if chain.iter().any(|(seen, _)| seen == name) {
        let path: Vec<&str> = chain.iter().map(|(name, _)| *name).chain([name.as_str()]).collect();
        return Err(Error::new(
            &codes::CONFIG_CYCLE,
            format!("profiles inherit in a circle: {}", path.join(" -> ")),
        )
        .at(file.excerpt(parent.span())));
    }
    if name != DEFAULT_PROFILE && !file.profiles.contains_key(name) {
        return Err(no_profile(name, [file]).at(file.excerpt(parent.span())));
    }
    Ok(())
}

fn profile_wishes(file: &ConfigFile, name: &str, table: &ProfileTable) -> Wishes {
    let table_name = format!("profile.{name}");
    Wishes {
        profile: None,
        backends: located(file, &table_name, table.backend.as_ref(), Clone::clone),
        platforms: located(file, &table_name, table.platforms.as_ref(), |texts| platforms(texts)),
        tags: located(file, &table_name, table.tags.as_ref(), Clone::clone),
        load: located(file, &table_name, table.load.as_ref(), |load| *load),
        outputs: located(file, &table_name, table.output.as_ref(), Clone::clone),
    }
}

fn image_wishes(file: &ConfigFile, name: &str, table: &ImageTable) -> Wishes {
    Wishes {
        platforms: located(file, name, table.platforms.as_ref(), |texts| platforms(texts)),
        tags: located(file, name, table.tags.as_ref(), Clone::clone),
        ..Wishes::default()
    }
}

fn platforms(texts: &[PlatformText]) -> Vec<OciPlatform> {
    texts.iter().map(|text| text.0.clone()).collect()
}

fn located<T, U>(
    file: &ConfigFile,
    table: &str,
    value: Option<&Spanned<T>>,
    map: impl FnOnce(&T) -> U,
) -> Option<Setting<U>> {
    value.map(|value| Setting::new(map(value.get_ref()), origin(file, table, value.span())))
}

fn origin(file: &ConfigFile, table: &str, span: Range<usize>) -> Origin {
    Origin::File { path: file.path.clone(), line: file.excerpt(span).line, table: table.to_owned() }
}

fn choose_image(files: &[ConfigFile], wanted: Option<&str>) -> Result<Option<Chosen>> {
    let Some(name) = wanted else {
        return Ok(files.iter().find_map(|file| image_source(file, "image", file.image.as_ref()?)));
    };
    let found =
        files.iter().find_map(|file| image_source(file, &format!("images.{name}"), file.images.get(name)?));
    match found {
        Some(image) => Ok(Some(image)),
        None if files.iter().any(|file| file.images.contains_key(name)) => {
            let text = format!("[images.{name}] does not say what to build");
            Err(Error::new(&codes::CONFIG_VALUE, text)
                .because("it has neither `installable` nor `file`")
                .remedy(Remedy::lines("add one", add_installable(name))))
        }
        None => {
            let names: Vec<&str> =
                files.iter().flat_map(|file| file.images.keys().map(String::as_str)).collect();
            let error =
                Error::new(&codes::CONFIG_NO_IMAGE, format!("nixoci.toml has no image called `{name}`"));
            let error = error.because(format!("it has: {}", names.join(", ")));
            Err(match nearest(name, names.into_iter()) {
                Some(near) => {
                    error.remedy(Remedy::command("did you mean this one", shell!("nixoci build {}", near)))
                }
                None => error,
            })
        }
    }
}

/// The line that says what an image is built from.
fn add_installable(name: &str) -> String {
    let installable = format!(".#{}", attribute_name(name));
    format!("installable = {}", toml::Value::String(installable))
}

fn image_source(file: &ConfigFile, table: &str, image: &ImageTable) -> Option<Chosen> {
    let base = file.path.parent().unwrap_or(Path::new(".")).to_owned();
    if let Some(installable) = &image.installable {
        let source = ImageSource::Flake(installable.get_ref().clone(), base);
        return Some(Chosen { source, origin: origin(file, table, installable.span()) });
    }
    let path = image.file.as_ref()?;
    let exprs = image.arg.iter().map(|(name, value)| (name.clone(), NixArg::Expr(value.clone())));
    let strings = image.argstr.iter().map(|(name, value)| (name.clone(), NixArg::Str(value.clone())));
    let installable = Installable::File {
        path: base.join(path.get_ref()),
        attribute: image.attr.clone(),
        args: exprs.chain(strings).collect(),
    };
    Some(Chosen { source: ImageSource::File(installable), origin: origin(file, table, path.span()) })
}

fn backend_tables(files: &[ConfigFile]) -> BTreeMap<String, Vec<BackendTable>> {
    let mut tables: BTreeMap<String, Vec<BackendTable>> = BTreeMap::new();
    for table in files.iter().rev().flat_map(|file| &file.backends) {
        tables.entry(table.name.clone()).or_default().push(table.clone());
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_line_to_add_is_toml_for_any_name() {
        assert_eq!(add_installable("web"), "installable = \".#web\"");
        let table: toml::Table = toml::from_str(&add_installable("web-1.2")).unwrap();
        assert_eq!(table["installable"].as_str(), Some(".#\"web-1.2\""));
    }

    fn host(env: &[(&str, &str)]) -> Host {
        Host {
            system: "x86_64-linux".parse().unwrap(),
            home: None,
            uid: 1,
            env: env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            cpus: 1,
        }
    }

    fn file(path: &str, text: &str) -> ConfigFile {
        ConfigFile::parse(Path::new(path), text.to_owned(), "0.1.0").unwrap()
    }

    fn settle(flags: Wishes, env: &[(&str, &str)], files: &[ConfigFile]) -> Result<Settings> {
        resolve(Sources { flags, host: &host(env), files, image: None })
    }

    const PROJECT: &str = "[image]\ninstallable = \".#c\"\ntags = [\"top:1\"]\n[profile.default]\nbackend = [\"a\"]\n\
        load = true\n[profile.ci]\nload = false\ntags = [\"ci:1\"]\n[profile.leaf]\ninherits = \"ci\"\noutput = [\"archive:x.tar\"]\n";

    #[test]
    fn a_profile_beats_what_it_inherits_which_beats_the_top_level() {
        let files = [file("/p/nixoci.toml", PROJECT)];
        let settings = settle(Wishes::default(), &[("NIXOCI_PROFILE", "leaf")], &files).unwrap();
        assert_eq!(settings.tags.value, ["ci:1"]);
        assert_eq!(settings.tags.origin.to_string(), "/p/nixoci.toml:9 [profile.ci]");
        assert_eq!(settings.load.value, LoadTarget::No);
        assert_eq!(settings.backends.value, ["a"]);
        assert_eq!(settings.outputs.value, ["archive:x.tar"]);
        assert_eq!(settings.profile.origin, Origin::Env("NIXOCI_PROFILE"));
        let plain = settle(Wishes::default(), &[], &files).unwrap();
        assert_eq!(plain.tags.value, ["top:1"]);
        assert_eq!(plain.load.value, LoadTarget::Auto);
    }

    #[test]
    fn flags_beat_environment_beats_project_beats_user() {
        let files = [
            file("/p/nixoci.toml", "[profile.default]\ntags = [\"project\"]\n"),
            file("/u/config.toml", "[profile.default]\ntags = [\"user\"]\nload = true\n"),
        ];
        let tags =
            |flags: Wishes, env: &[(&str, &str)]| settle(flags, env, &files).unwrap().tags.value[0].clone();
        assert_eq!(tags(Wishes::default(), &[]), "project");
        assert_eq!(tags(Wishes::default(), &[("NIXOCI_TAG", "env")]), "env");
        let flag = Wishes {
            tags: Some(Setting::new(vec!["flag".into()], Origin::Flag("--tag"))),
            ..Wishes::default()
        };
        assert_eq!(tags(flag, &[("NIXOCI_TAG", "env")]), "flag");
        assert_eq!(settle(Wishes::default(), &[], &files).unwrap().load.value, LoadTarget::Auto);
    }

    #[test]
    fn dockers_variable_is_weaker_than_any_file() {
        let env = [("DOCKER_DEFAULT_PLATFORM", "linux/arm64")];
        let files = [file("n", "[image]\nplatforms = [\"linux/amd64\"]\n")];
        let platform =
            |files: &[ConfigFile]| settle(Wishes::default(), &env, files).unwrap().platforms.unwrap();
        assert_eq!(platform(&files).value[0].to_string(), "linux/amd64");
        assert_eq!(platform(&[]).value[0].to_string(), "linux/arm64");
    }

    #[test]
    fn circles_and_missing_profiles_are_told() {
        let circle = [file("n", "[profile.a]\ninherits = \"b\"\n[profile.b]\ninherits = \"a\"\n")];
        let error = settle(Wishes::default(), &[("NIXOCI_PROFILE", "a")], &circle).unwrap_err();
        assert_eq!(error.to_string(), "profiles inherit in a circle: a -> b -> a");
        let error =
            settle(Wishes::default(), &[("NIXOCI_PROFILE", "cc")], &[file("n", PROJECT)]).unwrap_err();
        assert!(error.is(&codes::CONFIG_NO_PROFILE));
        let orphan = [file("n", "[profile.a]\ninherits = \"z\"\n")];
        let error = settle(Wishes::default(), &[("NIXOCI_PROFILE", "a")], &orphan).unwrap_err();
        assert_eq!(error.report().excerpt.as_ref().unwrap().line, 2);
    }

    #[test]
    fn a_bad_variable_is_a_configuration_error() {
        for variable in ["NIXOCI_PLATFORM", "NIXOCI_LOAD"] {
            let error = settle(Wishes::default(), &[(variable, "nonsense")], &[]).unwrap_err();
            assert!(error.is(&codes::CONFIG_VALUE) && error.to_string().contains(variable), "{error}");
        }
    }

    proptest! {
        /// Whatever is set where: the strongest layer that has a value wins, and the origin says which it was.
        #[test]
        fn the_strongest_layer_wins(flag: bool, env: bool, profile: bool, top: bool, user: bool) {
            let mut text = String::new();
            if top { text += "[image]\ntags = [\"top\"]\n"; }
            if profile { text += "[profile.default]\ntags = [\"profile\"]\n"; }
            let mut files = vec![file("/p/nixoci.toml", &text)];
            if user { files.push(file("/u/config.toml", "[profile.default]\ntags = [\"user\"]\n")); }
            let flags = Wishes {
                tags: flag.then(|| Setting::new(vec!["flag".to_owned()], Origin::Flag("--tag"))),
                ..Wishes::default()
            };
            let variables: &[(&str, &str)] = if env { &[("NIXOCI_TAG", "env")] } else { &[] };
            let tags = settle(flags, variables, &files).unwrap().tags;
            let expected = [(flag, "flag"), (env, "env"), (profile, "profile"), (top, "top"), (user, "user")]
                .iter().find(|(set, _)| *set).map(|(_, name)| name.to_string());
            prop_assert_eq!(tags.value.first().cloned(), expected.clone());
            prop_assert_eq!(tags.origin == Origin::Default, expected.is_none());
        }
    }
}
