//! `launch`, and the images there are.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::daemon::{DEFAULT_TIMEOUT, Daemon};
use super::fault::Knob;
use super::instance::{self, Instance, Status};
use super::json::Json;
use super::protocol::{Answer, Failure, Launch, Outcome, Request};
use super::yaml::Yaml;
use super::zones::ZONES;
use super::{Profile, size, user_data};

/// An image. All releases are the same root under different names; the custom image has Nix in addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Image {
    /// The name that `launch` takes and `find` lists.
    name: &'static str,
    pub(super) version: &'static str,
    point: &'static str,
    /// The code name of the release in package repositories.
    pub(super) code_name: &'static str,
    /// The same in two words.
    full_name: &'static str,
    aliases: &'static [&'static str],
    serial: &'static str,
    pub(super) hash: &'static str,
    /// Whether Nix's packages are installed.
    pub(super) has_nix: bool,
}

/// The last one is the default.
const IMAGES: [Image; 4] = [
    Image {
        name: "nix",
        version: "26.04",
        point: "26.04",
        code_name: "resolute",
        full_name: "Resolute Raccoon",
        aliases: &[],
        serial: "20260501",
        hash: "e4a1c8f27b5d90364c8e1f7a2b6d5c3908f1e4d7a6b3c2589d0e7f4a1b8c5d62",
        has_nix: true,
    },
    Image {
        name: "22.04",
        version: "22.04",
        point: "22.04.5",
        code_name: "jammy",
        full_name: "Jammy Jellyfish",
        aliases: &["jammy"],
        serial: "20260214",
        hash: "0f1c3a8e5b7d92446a1e8c3f5d7b90214e6a8c0d2f4b6a8c1e3d5f7092b4d6f8",
        has_nix: false,
    },
    Image {
        name: "24.04",
        version: "24.04",
        point: "24.04.3",
        code_name: "noble",
        full_name: "Noble Numbat",
        aliases: &["noble"],
        serial: "20260307",
        hash: "7a2d9c4e6f8b10325d7e9fa1b3c5d7e90a2c4e6f8b1d3f5a7c9e0b2d4f6a8c1e",
        has_nix: false,
    },
    Image {
        name: "26.04",
        version: "26.04",
        point: "26.04",
        code_name: "resolute",
        full_name: "Resolute Raccoon",
        aliases: &["resolute", "lts"],
        serial: "20260423",
        hash: "c5e7f90b1d3a5c7e92f4b6d8a0c2e4f61b3d5a7c9e0f2b4d6a8c1e3f5b7d9a0c",
        has_nix: false,
    },
];
const GIB: u64 = 1 << 30;
/// How big a file system an image takes.
const IMAGE_BYTES: u64 = 3_758_096_384;

impl Image {
    /// `24.04 LTS`.
    pub(super) fn release(&self) -> String {
        format!("{} LTS", self.version)
    }

    /// What a guest's `os-release` says.
    pub(super) fn pretty_name(&self) -> String {
        format!("Ubuntu {} LTS", self.point)
    }

    /// VERSION in a guest's `os-release`.
    pub(super) fn full_version(&self) -> String {
        format!("{} LTS ({})", self.point, self.full_name)
    }

    /// Whether this text means this image: a name, an alias or the beginning of its hash.
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name) || (name.len() >= 3 && self.hash.starts_with(name))
    }

    /// By release, code name, alias or the beginning of its hash. A file or an address is whatever it is called.
    fn find(remote: &str, name: &str) -> Result<Self, Failure> {
        let [.., newest] = IMAGES;
        let custom = ["file://", "http://", "https://"].iter().any(|scheme| name.starts_with(scheme));
        if let Some(path) = name.strip_prefix("file://") {
            // The daemon reads it; here it only has to be a path.
            if !PathBuf::from(path).is_absolute() {
                return Err(Failure::new(format!("Custom image `{path}` does not exist.")));
            }
        }
        if name.starts_with("http") && custom {
            return Err(Failure::new(format!("failed to download from '{name}': Host not found")));
        }
        if custom || ((name.is_empty() || name == "default") && matches!(remote, "" | "release" | "daily")) {
            return Ok(newest);
        }
        check_remote(remote)?;
        IMAGES.iter().find(|image| image.is_called(name)).copied().ok_or_else(|| {
            Failure::new(format!("Unable to find an image matching \"{name}\" in remote \"{remote}\"."))
        })
    }
}

/// An image as `find` shows it: what it is called, and its other names.
struct Found {
    image: Image,
    called: String,
    aliases: Vec<&'static str>,
}

/// `find`, in every format. Nothing that fits is no failure.
pub(super) fn find(profile: Profile, remote: &str, search: &str) -> Outcome {
    check_remote(remote)?;
    let prefix = if remote.is_empty() { String::new() } else { format!("{remote}:") };
    let found: Vec<Found> = IMAGES
        .into_iter()
        .filter(|image| search.is_empty() || image.is_called(search))
        .map(|image| {
            let by_name = image.name == search || image.aliases.contains(&search);
            let called = match (search, by_name) {
                ("", _) => image.name,
                (_, true) => search,
                (_, false) => &image.hash[..12],
            };
            let aliases = if search.is_empty() { image.aliases.to_vec() } else { vec![] };
            Found { image, called: format!("{prefix}{called}"), aliases }
        })
        .collect();
    let json = found.iter().map(|found| {
        let aliases = found.aliases.iter().map(|name| Json::text(*name)).collect();
        let entry = Json::map([
            ("os", Json::text("Ubuntu")),
            ("release", Json::text(found.image.release())),
            ("version", Json::text(found.image.serial)),
            ("aliases", Json::List(aliases)),
            ("remote", Json::text(remote)),
        ]);
        (found.called.clone(), entry)
    });
    let yaml = found.iter().map(|found| {
        let aliases = found.aliases.iter().map(|name| Yaml::text(*name)).collect();
        let entry = Yaml::map([
            ("aliases", Yaml::List(aliases)),
            ("os", Yaml::text("Ubuntu")),
            ("release", Yaml::text(found.image.release())),
            ("version", Yaml::text(found.image.serial)),
            ("remote", Yaml::Text(remote.to_owned())),
        ]);
        (found.called.clone(), entry)
    });
    let mut all = vec![("errors", Json::List(vec![]))];
    let mut document = vec![("errors", Yaml::List(vec![]))];
    if profile == Profile::V16 {
        all.push(("blueprints (deprecated)", Json::Map(vec![])));
        document.push(("blueprints (deprecated)", Yaml::Map(vec![])));
    }
    all.push(("images", Json::map(json)));
    document.push(("images", Yaml::map(yaml)));
    let csv: String = found
        .iter()
        .map(|Found { image, called, aliases }| {
            let (aliases, release, serial) = (aliases.join(";"), image.release(), image.serial);
            format!("{called},{remote},{aliases},Ubuntu,{release},{serial},Cloud Image\n")
        })
        .collect();
    Ok(json!({
        "json": Json::map(all).print(profile),
        "yaml": Yaml::map(document).print(),
        "csv": format!("Image,Remote,Aliases,OS,Release,Version,Type\n{csv}"),
        "table": find_table(profile, &found),
    }))
}

fn find_table(profile: Profile, found: &[Found]) -> String {
    if found.is_empty() {
        let what = if profile == Profile::V16 { "images or blueprints" } else { "images" };
        return format!("No {what} found.\n");
    }
    let row = |image: &str, aliases: &str, version: &str, about: &str| {
        format!("{image:<28}{aliases:<18}{version:<17}{about}\n")
    };
    let mut table = row("Image", "Aliases", "Version", "Description");
    for Found { image, called, aliases } in found {
        table.push_str(&row(
            called,
            &aliases.join(","),
            image.serial,
            &format!("Ubuntu {}", image.release()),
        ));
    }
    table + "\n"
}

/// Whether a name is one that an instance may have.
pub(super) fn valid_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.ends_with(|last: char| last.is_ascii_alphanumeric())
        && name.bytes().all(inner)
}

fn check_remote(remote: &str) -> Result<(), Failure> {
    if matches!(remote, "" | "release" | "daily") {
        return Ok(());
    }
    Err(Failure::new(format!("Remote \"{remote}\" is unknown or unreachable.")))
}

/// A size that was asked for, no smaller than what there has to be.
fn at_least(text: Option<&str>, default: u64, least: u64) -> Option<u64> {
    text.map_or(Some(default), size::parse).filter(|bytes| *bytes >= least)
}

/// Memory and disk in bytes. Of several problems the last is told.
fn sizes(wanted: &Launch, profile: Profile) -> Result<(u64, u64), Failure> {
    let least = |text: &str| size::parse(text).unwrap_or_default();
    let memory = at_least(wanted.memory.as_deref(), GIB, least(profile.least_memory()));
    let disk = at_least(wanted.disk.as_deref(), 5 * GIB, least(profile.least_disk()));
    let shown = |size: &Option<String>| size.clone().unwrap_or_default();
    let mut problem = None;
    if memory.is_none() {
        problem = Some(format!("Invalid memory size value supplied: {}.", shown(&wanted.memory)));
    }
    if disk.is_none() {
        problem = Some(format!("Invalid disk size value supplied: {}.", shown(&wanted.disk)));
    }
    if let Some(name) = wanted.name.as_deref().filter(|name| !valid_name(name)) {
        problem = Some(format!("Invalid instance name supplied: {name}"));
    }
    match (problem, memory, disk) {
        (None, Some(memory), Some(disk)) => Ok((memory, disk)),
        (problem, ..) => Err(Failure::details("Invalid arguments supplied", problem.unwrap_or_default())),
    }
}

pub(super) fn launch(
    daemon: &Daemon,
    request: &Request,
    wanted: &Launch,
    tell: &mut dyn FnMut(Answer),
) -> Outcome {
    let (memory, disk) = sizes(wanted, request.profile)?;
    let zone = wanted.zone.as_deref().and_then(|name| ZONES.into_iter().find(|zone| *zone == name));
    let zone = zone.unwrap_or(ZONES[0]);
    if !daemon.zones.is_on(zone) {
        let why = format!("Unavailable zone name supplied: {zone}");
        return Err(Failure::details("Invalid arguments supplied", why));
    }
    let name = wanted.name.clone().unwrap_or_else(|| invented(daemon));
    if let Some(there) = daemon.get(&name) {
        let how = if there.status == Status::Preparing { "is being prepared" } else { "already exists" };
        return Err(Failure::new(format!("instance \"{name}\" {how}")));
    }
    let image = Image::find(&wanted.remote, &wanted.image)?;
    let user_data = user_data::merge(wanted.user_data.as_deref().unwrap_or_default(), &daemon.public_key()?)?;
    if wanted.disk.is_some() && disk < IMAGE_BYTES {
        return Err(Failure::new(format!(
            "Requested disk ({disk} bytes) below minimum for this image ({IMAGE_BYTES} bytes)"
        )));
    }
    let instance = Instance {
        name: name.clone(),
        image,
        cpus: wanted.cpus.unwrap_or(1),
        memory,
        disk,
        user_data,
        arm: wanted.arm,
        status: Status::Preparing,
        zone,
        was_running: false,
        number: 0,
        keeper: None,
        mounts: Default::default(),
    };
    if !daemon.add(instance) {
        return Err(Failure::new(format!("instance \"{name}\" already exists")));
    }
    let images = [1, 42, 100].map(|percent| format!("Retrieving image: {percent}%"));
    let words = ["Creating", "Preparing image for", "Configuring"].map(|what| format!("{what} {name}"));
    for text in [&words[..1], &images, &words[1..]].concat() {
        tell(Answer::Say(text));
    }
    if let Err(error) = instance::make_disk(&daemon.state, &name, disk) {
        daemon.remove(&name);
        return Err(error.into());
    }
    daemon.set_status(&name, Status::Starting);
    tell(Answer::Say(format!("Starting {name}")));
    let wait = wanted.timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    instance::start(daemon, &name, wait).map_err(|line| Failure::each(&[line]))?;
    tell(Answer::Say("Waiting for initialization to complete".to_owned()));
    if !initialized(daemon, &name, wait) {
        return Err(Failure::each(&["timed out waiting for initialization to complete".to_owned()]));
    }
    let zone = match request.profile {
        Profile::V16 => String::new(),
        Profile::V17 => format!(" in {zone}"),
    };
    Ok(json!({ "name": name, "launched": format!("{name}{zone}") }))
}

/// Waits for the file that cloud-init leaves, whatever came of it.
fn initialized(daemon: &Daemon, name: &str, wait: Duration) -> bool {
    let gives_up = Knob::InitTimeout.is_on(&daemon.state, name);
    let deadline = Instant::now() + if gives_up { Duration::from_secs(1) } else { wait };
    let Some(pid) = daemon.get(name).and_then(|instance| instance.keeper) else { return false };
    let finished = PathBuf::from(format!("/proc/{pid}/root/var/lib/cloud/instance/boot-finished"));
    while gives_up || !finished.exists() {
        if Instant::now() > deadline || daemon.get(name).is_none_or(|instance| instance.keeper.is_none()) {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// A name nobody asked for, as multipass makes them.
fn invented(daemon: &Daemon) -> String {
    let taken = daemon.names();
    let names =
        ["amiable-stoat", "brisk-heron", "candid-newt", "dapper-finch", "earnest-mole", "fluent-carp"];
    let free =
        (0..).flat_map(|n| names.map(|name| if n == 0 { name.to_owned() } else { format!("{name}{n}") }));
    free.into_iter().find(|name| !taken.contains(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes() {
        assert!(["a", "a-b", "A9", "nixoci-1a2b"].iter().all(|name| valid_name(name)));
        assert!(!["", "-a", "a-", "1a", "a_b", "ä"].iter().any(|name| valid_name(name)));
        let launch = |memory: &str, disk: &str| Launch {
            memory: Some(memory.to_owned()),
            disk: Some(disk.to_owned()),
            ..Launch::default()
        };
        let sizes = |launch: &Launch, profile| sizes(launch, profile).map_err(|failure| failure.details);
        let too_small = |what: &str, size: &str| Err(format!("Invalid {what} size value supplied: {size}."));
        assert_eq!(sizes(&launch("128M", "512M"), Profile::V16), Ok((128 << 20, 512 << 20)));
        assert_eq!(sizes(&launch("512M", "1G"), Profile::V17), Ok((512 << 20, GIB)));
        assert_eq!(sizes(&launch("127M", "10M"), Profile::V16), too_small("disk", "10M"));
        assert_eq!(sizes(&launch("511M", "1G"), Profile::V17), too_small("memory", "511M"));
        assert_eq!(sizes(&launch("512M", "1023M"), Profile::V17), too_small("disk", "1023M"));
    }
}
