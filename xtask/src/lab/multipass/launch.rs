//! `launch`, and the images there are.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::daemon::{DEFAULT_TIMEOUT, Daemon};
use super::fault::Knob;
use super::instance::{self, Instance, Status};
use super::json::Json;
use super::protocol::{Answer, Failure, Launch, Outcome, Request};
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
        if !matches!(remote, "" | "release" | "daily") {
            return Err(Failure::new(format!("Remote \"{remote}\" is unknown or unreachable.")));
        }
        let known = |image: &&Self| {
            image.name == name
                || image.aliases.contains(&name)
                || (name.len() >= 3 && image.hash.starts_with(name))
        };
        IMAGES.iter().find(known).copied().ok_or_else(|| {
            Failure::new(format!("Unable to find an image matching \"{name}\" in remote \"{remote}\"."))
        })
    }
}

/// `find --format json`.
pub(super) fn find(profile: Profile) -> Value {
    let images = IMAGES.map(|image| {
        let aliases = image.aliases.iter().map(|name| Json::text(*name)).collect();
        let entry = Json::map([
            ("os", Json::text("Ubuntu")),
            ("release", Json::text(image.release())),
            ("version", Json::text(image.serial)),
            ("aliases", Json::List(aliases)),
            ("remote", Json::text("")),
        ]);
        (image.name, entry)
    });
    let mut all = vec![("errors", Json::List(vec![]))];
    if profile == Profile::V16 {
        all.push(("blueprints (deprecated)", Json::Map(vec![])));
    }
    all.push(("images", Json::map(images)));
    let mut table = format!("{:<28}{:<18}{:<17}{}\n", "Image", "Aliases", "Version", "Description");
    for image in IMAGES {
        table.push_str(&format!(
            "{:<28}{:<18}{:<17}Ubuntu {}\n",
            image.name,
            image.aliases.join(","),
            image.serial,
            image.release()
        ));
    }
    json!({ "json": Json::map(all).print(profile), "table": format!("{table}\n") })
}

/// Whether a name is one that an instance may have.
fn valid_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.ends_with(|last: char| last.is_ascii_alphanumeric())
        && name.bytes().all(inner)
}

/// A size that was asked for, no smaller than what there has to be.
fn at_least(text: Option<&str>, default: u64, least: u64) -> Option<u64> {
    text.map_or(Some(default), size::parse).filter(|bytes| *bytes >= least)
}

/// Memory and disk in bytes. Of several problems the last is told.
fn sizes(wanted: &Launch) -> Result<(u64, u64), Failure> {
    let memory = at_least(wanted.memory.as_deref(), GIB, 512 << 20);
    let disk = at_least(wanted.disk.as_deref(), 5 * GIB, GIB);
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
    let (memory, disk) = sizes(wanted)?;
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
        Profile::V16 => "",
        Profile::V17 => " in zone1",
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
        assert_eq!(sizes(&launch("512M", "1G")), Ok((512 << 20, GIB)));
        let last = sizes(&launch("100M", "10M")).map_err(|failure| failure.details);
        assert_eq!(last, Err("Invalid disk size value supplied: 10M.".to_owned()));
    }
}
