//! From flags and configuration to a [`Job`]: the last place where anything is looked up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nixoci_core::codes::{BAD_INSTALLABLE, BAD_PLATFORM, CONFIG_VALUE};
use nixoci_core::config::{
    BackendTable, ImageSource, LoadTarget, Origin, Runtime, Setting, Settings, Sources, Wishes, resolve,
};
use nixoci_core::platform::OciPlatform;
use nixoci_core::registry::nearest;
use nixoci_core::request::{Installable, NixArg, NixFlags};
use nixoci_core::{Error, ErrorKind, Remedy, Result, shell};
use nixoci_engine::{Agreed, Job, Link, LoadSink, Sinks};
use nixoci_image::{Destination, Mismatch, Naming};

use crate::app::App;
use crate::args::{BuildArgs, ConsentArgs, How, NixArgs, What};
use crate::codes::USAGE;
use crate::commands::convert::compressed;
use crate::habits;
use crate::trust;

/// The link that `nixoci build` leaves, as `nix build` does: `docker load < result` works as in every article.
const RESULT: &str = "result";

/// Everything that was asked for on the command line of `build` or `plan`.
pub(crate) fn job(app: &App, args: &BuildArgs) -> Result<Job> {
    let (settings, installable) = settle(app, args)?;
    let load = load_sink(&settings.load, args.place.docker.docker_host.as_deref())?;
    let load = load.map(|sink| LoadSink { wished_by: wished_by(app, &settings), ..sink });
    let outputs = outputs(app, &settings)?.into_iter();
    let outputs = outputs.map(|output| compressed(output, args.place.compression.as_deref()));
    let mut sinks = Sinks { outputs: outputs.collect::<Result<_>>()?, load, link: None };
    sinks.link = link(app, args, &sinks);
    Ok(Job {
        credentials: trust::to_entrust(app, &installable)?,
        platforms: platforms(app, &settings, &installable)?,
        system: installable.implied_system(),
        mismatch: mismatch(&settings, &installable, args.place.allow_mismatch),
        native: app.native(),
        created: None,
        installable,
        flags: nix_flags(&args.nix),
        backends: settings.backends.value.clone(),
        backend_tables: backend_tables(&settings, &args.how),
        naming: naming(&settings)?,
        sinks,
        agreed: agreed(&args.how.consent, args.how.no_provision),
    })
}

/// What the files say of backends, and what the command line says after them.
fn backend_tables(settings: &Settings, how: &How) -> BTreeMap<String, Vec<BackendTable>> {
    let mut tables = settings.backend_tables.clone();
    if let Some(limit) = how.max_local_builds {
        let name = "cross".to_owned();
        let source = format!("[backend.{name}]\nmax-local-builds = {limit}\n").into();
        let table = BackendTable { file: "--max-local-builds".into(), name: name.clone(), source };
        tables.entry(name).or_default().push(table);
    }
    tables
}

/// What was agreed to on the command line.
pub(crate) fn agreed(args: &ConsentArgs, never: bool) -> Agreed {
    Agreed { never, yes: args.yes, root: args.allow_root }
}

fn settle(app: &App, args: &BuildArgs) -> Result<(Settings, Installable)> {
    for typed in
        args.what.file.iter().map(PathBuf::as_path).chain(args.what.installable.as_deref().map(Path::new))
    {
        habits::no_dockerfile(typed)?;
    }
    let image = image_name(app, &args.what);
    let flags = Wishes {
        outputs: flag("--output", &args.place.output),
        ..wishes(&args.what, &args.how, &args.place.tag, args.place.load.as_deref())?
    };
    let settings = resolve(Sources { flags, host: &app.host, files: &app.files, image })?;
    let installable = installable(app, &args.what, &settings, image.is_some())?;
    installable.check()?;
    Ok((settings, installable))
}

fn flag<T: Clone>(name: &'static str, values: &[T]) -> Option<Setting<Vec<T>>> {
    (!values.is_empty()).then(|| Setting::new(values.to_vec(), Origin::Flag(name)))
}

fn wishes(what: &What, how: &How, tags: &[String], load: Option<&str>) -> Result<Wishes> {
    let platforms: Vec<OciPlatform> =
        what.platform.iter().map(|text| parse_platform(text)).collect::<Result<_>>()?;
    let load = load.map(|name| load_target(name).map(|target| Setting::new(target, Origin::Flag("--load"))));
    Ok(Wishes {
        profile: how.profile.clone().map(|name| Setting::new(name, Origin::Flag("--profile"))),
        backends: flag("--backend", &how.backend),
        platforms: flag("--platform", &platforms),
        tags: flag("--tag", tags),
        load: load.transpose()?,
        outputs: None,
    })
}

/// The settings without a command: for `config show`, `backends`, `doctor`.
pub(crate) fn settings(app: &App, profile: Option<&str>) -> Result<Settings> {
    let profile = profile.map(|name| Setting::new(name.to_owned(), Origin::Flag("--profile")));
    resolve(Sources {
        flags: Wishes { profile, ..Wishes::default() },
        host: &app.host,
        files: &app.files,
        image: None,
    })
}

/// Reads every profile as a build would, so that what is wrong in one is found before it is used.
pub(crate) fn check(app: &App) -> Result<()> {
    let profiles = app.files.iter().flat_map(|file| file.profiles.keys().map(String::as_str));
    let images = app.files.iter().flat_map(|file| file.images.keys().map(String::as_str));
    for profile in std::iter::once(None).chain(profiles.map(Some)) {
        for image in std::iter::once(None).chain(images.clone().map(Some)) {
            let profile = profile.map(|name| Setting::new(name.to_owned(), Origin::Default));
            let flags = Wishes { profile, ..Wishes::default() };
            let settings = resolve(Sources { flags, host: &app.host, files: &app.files, image })?;
            outputs(app, &settings)?;
            naming(&settings)?;
        }
    }
    Ok(())
}

fn outputs(app: &App, settings: &Settings) -> Result<Vec<Destination>> {
    let file = match &settings.outputs.origin {
        Origin::File { path, .. } => Some(path.as_path()),
        _ => None,
    };
    let base = file.and_then(Path::parent).unwrap_or(&app.cwd);
    let confined = file.is_some_and(|file| !app.is_own(file));
    let destination = |text: &String| {
        let destination = Destination::parse(text, base)?;
        if confined {
            destination.check_confined(base)?;
        }
        Ok(destination)
    };
    let outputs: Result<Vec<Destination>> = settings.outputs.value.iter().map(destination).collect();
    outputs.map_err(|error| blame(error, &settings.outputs.origin))
}

fn naming(settings: &Settings) -> Result<Naming> {
    Naming::parse(&settings.tags.value).map_err(|error| blame(error, &settings.tags.origin))
}

/// A value that nobody typed is an error of where it stands.
fn blame(error: Error, origin: &Origin) -> Error {
    if matches!(origin, Origin::Flag(_)) {
        return error;
    }
    if error.kind() == ErrorKind::Config {
        return error.because(format!("it comes from {origin}"));
    }
    let report = error.report();
    let blamed = Error::new(&CONFIG_VALUE, error.to_string()).because(format!("it comes from {origin}"));
    let blamed = report.causes.iter().fold(blamed, Error::because);
    report.remedies.iter().cloned().fold(blamed, Error::remedy)
}

pub(crate) fn parse_platform(text: &str) -> Result<OciPlatform> {
    text.parse().map_err(|error: nixoci_core::platform::ParsePlatformError| {
        Error::new(&BAD_PLATFORM, error.to_string())
            .remedy(Remedy::command("for Intel and AMD servers", "--platform linux/amd64"))
            .remedy(Remedy::command("for ARM servers and Apple silicon", "--platform linux/arm64"))
    })
}

/// The runtime that is meant. `--docker-host` means Docker.
fn load_sink(load: &Setting<LoadTarget>, docker_host: Option<&str>) -> Result<Option<LoadSink>> {
    let named = match load.value {
        LoadTarget::No => return Ok(None),
        LoadTarget::Auto => None,
        // A flag counts for more than a file.
        LoadTarget::Into(_) if docker_host.is_some() && !matches!(load.origin, Origin::Flag(_)) => None,
        LoadTarget::Into(runtime) => Some(runtime),
    };
    sink(named, docker_host).map(Some)
}

/// The project's file that has the image loaded, unless its names were typed, or the file is trusted for whatever it does.
fn wished_by(app: &App, settings: &Settings) -> Option<PathBuf> {
    match (&settings.load.origin, &settings.tags.origin) {
        (Origin::File { path, .. }, names) if !app.is_own(path) => {
            let typed = matches!(names, Origin::Flag(_) | Origin::Env(_));
            (!typed && !app.trust_project).then(|| path.clone())
        }
        _ => None,
    }
}

/// A runtime, or the one that runs, or the one at Docker's endpoint.
pub(crate) fn sink(named: Option<Runtime>, docker_host: Option<&str>) -> Result<LoadSink> {
    let runtime = match (named, docker_host) {
        (Some(other), Some(_)) if other != Runtime::Docker => {
            let text = format!("--docker-host is where Docker is, and {} was asked for", other.name());
            return Err(Error::new(&USAGE, text));
        }
        (None, Some(_)) => Some(Runtime::Docker),
        (named, _) => named,
    };
    let docker_host = docker_host.map(str::to_owned);
    Ok(LoadSink { runtime, docker_host, to_run: false, wished_by: None })
}

pub(crate) fn load_target(name: &str) -> Result<LoadTarget> {
    LoadTarget::from_name(name).ok_or_else(|| {
        Error::new(&USAGE, format!("`{name}` is not a container runtime that nixoci knows"))
            .because(format!("known: {}", LoadTarget::NAMES.join(", ")))
    })
}

pub(crate) fn runtime(name: &str) -> Result<Option<Runtime>> {
    Ok(match load_target(name)? {
        LoadTarget::Into(runtime) => Some(runtime),
        _ => None,
    })
}

/// The name of a configured image, if that is what was typed.
fn image_name<'a>(app: &App, what: &'a What) -> Option<&'a str> {
    let typed = what.installable.as_deref().filter(|_| what.file.is_none())?;
    app.files.iter().any(|file| file.images.contains_key(typed)).then_some(typed)
}

fn installable(app: &App, what: &What, settings: &Settings, named: bool) -> Result<Installable> {
    if let Some(file) = &what.file {
        return file_installable(app, what, file);
    }
    match (&what.installable, &settings.image) {
        (Some(typed), _) if !named => {
            reject_bare_word(app, typed)?;
            reject_file(app, typed)?;
            anchored(Installable::parse(&store_link(app, typed))?, &app.cwd)
        }
        (_, Some(chosen)) => match &chosen.source {
            ImageSource::Flake(text, base) => anchored(Installable::parse(text)?, base),
            ImageSource::File(installable) => Ok(installable.clone()),
        },
        (_, None) => anchored(Installable::parse(".")?, &app.cwd),
    }
}

/// `nixoci build container`, where `.#container` was meant: Nix would look for a flake of that name in a
/// registry, on the network, and then complain about something else.
fn reject_bare_word(app: &App, typed: &str) -> Result<()> {
    let bare = !typed.is_empty()
        && typed.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
        && typed != "."
        && typed != "..";
    if !bare || app.cwd.join(typed).exists() {
        return Ok(());
    }
    let images = app.files.iter().flat_map(|file| file.images.keys());
    let near = nearest(typed, images.map(String::as_str)).map(|near| {
        Remedy::command("did you mean this image of nixoci.toml", shell!("nixoci build {}", near))
    });
    let attribute = Remedy::command(
        "for an attribute of the flake in this directory",
        shell!("nixoci build {}", format!(".#{typed}")),
    );
    let error = Error::new(&BAD_INSTALLABLE, format!("`{typed}` does not say what to build"))
        .because("it is no directory, and no image of that name is in nixoci.toml");
    // `--load docker`: without the equals sign it is something to build.
    let runtime = LoadTarget::from_name(typed)
        .map(|_| Remedy::command("to load into that runtime", shell!("nixoci build --load={}", typed)));
    Err(runtime.into_iter().chain(near).chain([attribute]).fold(error, Error::remedy))
}

/// The link that `nix build` leaves stands for what it points to.
fn store_link(app: &App, typed: &str) -> String {
    let target = std::fs::read_link(app.cwd.join(typed)).ok();
    let target = target.filter(|target| target.starts_with("/nix/store"));
    target.map_or_else(|| typed.to_owned(), |target| target.display().to_string())
}

/// `nixoci build default.nix`, `nixoci build ./result`: what the file is, is known.
fn reject_file(app: &App, typed: &str) -> Result<()> {
    let path = app.cwd.join(typed);
    if !path.is_file() || path.file_name().is_some_and(|name| name == "flake.nix") {
        return Ok(());
    }
    let target = path.canonicalize().unwrap_or(path);
    let error = Error::new(&nixoci_nix::codes::NOT_A_FLAKE, format!("`{typed}` is a file, and no flake"));
    let remedy = if typed.ends_with(".nix") {
        Remedy::command("build a Nix file", shell!("nixoci build -f {}", typed))
    } else if target.starts_with("/nix/store") {
        return Ok(());
    } else {
        Remedy::command("if it is an image, load it", shell!("nixoci load {}", typed))
    };
    Err(error.remedy(remedy))
}

/// Relative references are relative to where they were written, symlinks resolved: Nix refuses paths that lead
/// through one (on macOS, /tmp and /var are symlinks).
fn anchored(installable: Installable, base: &Path) -> Result<Installable> {
    match installable {
        Installable::Flake { reference, attribute } => Ok(Installable::Flake {
            reference: nixoci_nix::canonical_reference(&reference, base)?,
            attribute,
        }),
        other => Ok(other),
    }
}

fn file_installable(app: &App, what: &What, file: &Path) -> Result<Installable> {
    let mut args = BTreeMap::new();
    for pair in what.arg.chunks_exact(2) {
        args.insert(pair[0].clone(), NixArg::Expr(pair[1].clone()));
    }
    for pair in what.argstr.chunks_exact(2) {
        args.insert(pair[0].clone(), NixArg::Str(pair[1].clone()));
    }
    let attribute = what.attr.clone().or_else(|| what.installable.clone());
    Ok(Installable::File { path: app.cwd.join(file), attribute, args })
}

/// Decides about an image for another platform: one that was typed or configured is asked for, one that comes of an attribute or of this machine is not.
fn mismatch(settings: &Settings, installable: &Installable, allow: bool) -> Mismatch {
    let origin = settings.platforms.as_ref().map(|setting| &setting.origin);
    match (allow, origin, installable.implied_system()) {
        (true, ..) => Mismatch::Allowed,
        (false, Some(Origin::Flag(_)), _) | (false, Some(_), None) => Mismatch::Refused,
        (false, ..) => Mismatch::Followed,
    }
}

fn platforms(app: &App, settings: &Settings, installable: &Installable) -> Result<Vec<OciPlatform>> {
    let implied = installable.implied_system().and_then(|system| system.to_oci());
    let wanted = settings.platforms.as_ref();
    let typed = wanted.filter(|setting| matches!(setting.origin, Origin::Flag(_)));
    let platforms = match (typed, implied, wanted) {
        (Some(typed), Some(implied), _) if typed.value.len() > 1 => {
            return Err(Error::new(
                &USAGE,
                format!("the attribute is for {implied} alone, and --platform asks for several platforms"),
            )
            .remedy(Remedy::advice("name the attribute without its system, as in .#container")));
        }
        // A cross compilation in this machine's own set: what the image has to be was typed.
        (Some(typed), _, _) => typed.value.clone(),
        (None, Some(implied), _) => vec![implied],
        (None, None, Some(wanted)) => wanted.value.clone(),
        (None, None, None) => app.host.system.to_linux().to_oci().into_iter().collect(),
    };
    if platforms.is_empty() {
        return Err(Error::new(
            &BAD_PLATFORM,
            format!("there is no container platform for {}", app.host.system),
        ));
    }
    let mut distinct: Vec<OciPlatform> = Vec::new();
    for platform in platforms {
        if !distinct.iter().any(|other| other.matches(&platform)) {
            distinct.push(platform);
        }
    }
    Ok(distinct)
}

/// `./result`, unless the image goes elsewhere or the user said otherwise.
fn link(app: &App, args: &BuildArgs, sinks: &Sinks) -> Option<Link> {
    if let Some(path) = &args.place.out_link {
        return Some(Link { path: app.cwd.join(path), shown: path.display().to_string() });
    }
    let elsewhere = !sinks.outputs.is_empty() || sinks.load.is_some();
    let result = || Link { path: app.cwd.join(RESULT), shown: format!("./{RESULT}") };
    (!elsewhere && !args.place.no_link).then(result)
}

fn nix_flags(args: &NixArgs) -> NixFlags {
    let pairs =
        |values: &[String]| values.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    NixFlags {
        impure: args.impure,
        accept_flake_config: args.accept_flake_config,
        refresh: args.refresh,
        show_trace: args.show_trace,
        keep_going: args.keep_going,
        keep_failed: args.keep_failed,
        override_inputs: pairs(&args.override_input),
        max_jobs: args.max_jobs.clone(),
        cores: args.cores,
        options: pairs(&args.option),
    }
}
