//! `multipass mount` and `umount`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::process::{getegid, geteuid};

use super::super::args::Args;
use super::super::protocol::{Ask, Mount, Pair};
use super::{Client, wrong};

impl Client {
    pub(super) fn mount(&self, args: &Args) -> Result<i32> {
        let [source, targets @ ..] = args.words.as_slice() else {
            return Ok(wrong("Not enough arguments given\n"));
        };
        if targets.is_empty() {
            return Ok(wrong("Not enough arguments given\n"));
        }
        let native = match args.get("type").unwrap_or("classic") {
            "classic" => false,
            "native" => true,
            _ => return Ok(wrong("Bad mount type specified, please use 'classic' or 'native'.\n")),
        };
        let source = match source_of(source, "Source") {
            Ok(source) => source,
            Err(why) => return Ok(wrong(&why)),
        };
        let maps = id_maps(args.all("uid-map"), geteuid().as_raw(), "UID")
            .and_then(|uids| Ok((uids, id_maps(args.all("gid-map"), getegid().as_raw(), "GID")?)));
        let (uids, gids) = match maps {
            Ok(maps) => maps,
            Err(why) => return Ok(wrong(&why)),
        };
        for target in targets {
            let (name, target) = match target.split_once(':') {
                Some((name, target)) => (name, Some(target.to_owned())),
                None => (target.as_str(), None),
            };
            let wanted = Mount {
                name: name.to_owned(),
                source: source.display().to_string(),
                target,
                native,
                uids: uids.clone(),
                gids: gids.clone(),
            };
            let code =
                self.work("mount", &format!("Mounting {}", source.display()), Ask::Mount(wanted), None)?;
            if code != 0 {
                return Ok(code);
            }
        }
        Ok(0)
    }

    pub(super) fn umount(&self, args: &Args) -> Result<i32> {
        if args.words.is_empty() {
            return Ok(wrong("Not enough arguments given\n"));
        }
        for word in &args.words {
            let (name, target) =
                word.split_once(':').map_or((word.as_str(), None), |(n, t)| (n, Some(t.to_owned())));
            let code = self.work("umount", "", Ask::Umount { name: name.to_owned(), target }, None)?;
            if code != 0 {
                return Ok(code);
            }
        }
        Ok(0)
    }
}

/// A directory that can be mounted, made absolute.
pub(super) fn source_of(text: &str, what: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let problem = if !path.exists() {
        "does not exist"
    } else if !path.is_dir() {
        "is not a directory"
    } else if fs::read_dir(path).is_err() {
        "is not readable"
    } else {
        return std::path::absolute(path).map_err(|error| format!("{error}\n"));
    };
    let what = if what == "Source" { "Source path" } else { "Mount source path" };
    Err(format!("{what} \"{text}\" {problem}\n"))
}

/// The maps of one kind of id, of which the caller's own is what there is without any.
fn id_maps(given: &[String], own: u32, what: &str) -> Result<Vec<Pair>, String> {
    if given.is_empty() {
        return Ok(vec![Pair(own, None)]);
    }
    let parse = |text: &String| {
        let (host, guest) = text.split_once(':')?;
        let guest = if guest == "default" { None } else { Some(guest.parse().ok()?) };
        Some(Pair(host.parse().ok()?, guest))
    };
    given
        .iter()
        .map(|text| parse(text).ok_or_else(|| format!("Invalid {what} map given: {text}\n")))
        .collect()
}
