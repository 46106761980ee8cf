//! `multipass launch`.

use std::fs;
use std::io::Read;

use anyhow::Result;

use super::super::args::Args;
use super::super::protocol::{Ask, Launch};
use super::super::{Machine, Profile, size, user_data};
use super::mount::source_of;
use super::terminal::out;
use super::zones::unknown_zones;
use super::{Client, failed, host, unhandled, wrong};

impl Client {
    pub(super) fn launch(&self, args: &Args, timeout: Option<u64>) -> Result<i32> {
        if args.words.len() > 1 {
            return Ok(wrong("Too many arguments supplied\n"));
        }
        if self.profile == Profile::V17 && args.has("mem") || self.profile == Profile::V16 && args.has("zone")
        {
            let name = if args.has("mem") { "mem" } else { "zone" };
            return Ok(wrong(&format!("Unknown option '{name}'.\n")));
        }
        let mut wanted = match request(args, timeout) {
            Ok(wanted) => wanted,
            Err(why) => return Ok(wrong(&why)),
        };
        // A size that is none at all never gets as far as the daemon.
        let sizes = [&wanted.memory, &wanted.disk].into_iter().flatten();
        if let Some(size) = sizes.into_iter().find(|size| size::parse(size).is_none()) {
            return Ok(unhandled(&format!("{size} {}", size::INVALID)));
        }
        if let Some(code) = wanted.zone.as_ref().and_then(|zone| unknown_zones(std::slice::from_ref(zone))) {
            return Ok(code);
        }
        let mounts = args.all("mount");
        for mount in mounts {
            if let Err(why) = source_of(mount.split(':').next().unwrap_or_default(), "Mount source") {
                return Ok(wrong(&why));
            }
        }
        if let Some(file) = args.get("cloud-init") {
            match user_data_from(file) {
                Ok(text) => wanted.user_data = Some(text),
                Err(why) => return Ok(wrong(&why)),
            }
        }
        let late = timeout.map(|seconds| (seconds, "Timed out waiting for instance launch."));
        let answer = match self.spin("", Ask::Launch(wanted), late)? {
            Ok(answer) => answer,
            Err(failure) if failure.message.starts_with(user_data::UNREADABLE) => {
                return Ok(wrong(&format!("{}\n", failure.message)));
            }
            Err(failure) => return Ok(failed("launch", &failure)),
        };
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        out(&format!("Launched: {}\n", text("launched")));
        for mount in mounts {
            let (source, target) = mount.split_once(':').unwrap_or((mount, ""));
            let target = if target.is_empty() { text("name") } else { format!("{}:{target}", text("name")) };
            let code = self.command("mount", &[source.to_owned(), target.clone()])?;
            if code != 0 {
                return Ok(code);
            }
            out(&format!("Mounted '{source}' into '{target}'\n"));
        }
        Ok(0)
    }
}

/// As `uname` on PATH would say.
fn has_apples_cpu() -> bool {
    let intel = || std::env::var("PATH").is_ok_and(|path| path.contains("/lab/doubles/intel"));
    host().starts_with(Machine::Mac.name()) && !intel()
}

/// What `launch` is asked for, as far as arguments say.
fn request(args: &Args, timeout: Option<u64>) -> Result<Launch, String> {
    let (remote, image) = image_of(args.words.first().map_or("", String::as_str))?;
    let cpus = match args.get("cpus") {
        None => None,
        Some(text) => match text.parse() {
            Ok(cpus) if cpus >= 1 => Some(cpus),
            _ => return Err("error: Invalid CPU count, need a positive integer value.\n".to_owned()),
        },
    };
    let text = |name: &str| args.get(name).map(str::to_owned);
    Ok(Launch {
        name: text("name"),
        cpus,
        memory: text("memory").or_else(|| text("mem")),
        disk: text("disk"),
        remote,
        image,
        user_data: None,
        timeout,
        zone: text("zone"),
        arm: has_apples_cpu(),
    })
}

/// `[REMOTE:]IMAGE`, or an address.
fn image_of(text: &str) -> Result<(String, String), String> {
    if let Some(path) = text.strip_prefix("file://") {
        let path = std::path::absolute(path).map_err(|error| format!("error: {error}\n"))?;
        return Ok((String::new(), format!("file://{}", path.display())));
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok((String::new(), text.to_owned()));
    }
    match text.split(':').collect::<Vec<_>>()[..] {
        [image] => Ok((String::new(), image.to_owned())),
        [remote, image] => Ok((remote.to_owned(), image.to_owned())),
        _ => Err("Invalid remote and source image name supplied\n".to_owned()),
    }
}

fn user_data_from(file: &str) -> Result<String, String> {
    let unreadable =
        |why: String| format!("{}{why}\nPlease ensure that Multipass can read it.\n", user_data::UNREADABLE);
    if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
        return Ok(text);
    }
    if file.starts_with("http://") || file.starts_with("https://") {
        return Err(unreadable(format!("failed to download from '{file}': Host not found")));
    }
    fs::read_to_string(file).map_err(|_| unreadable(format!("bad file: {file}")))
}
