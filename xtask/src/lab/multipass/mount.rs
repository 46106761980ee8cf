//! `mount` and `umount`. What sshfs and 9p do in life a bind mount does here: the daemon takes a directory of a host and puts
//! it into a guest, with the owners that the maps say where the file system can have that.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::chown;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use super::daemon::Daemon;
use super::fault::Knob;
use super::instance::{Instance, Mounted, Status};
use super::protocol::{Answer, Failure, Mount, Outcome, Pair, Request};
use super::{PROGRAM, dir, settings};
use crate::sh;

const HOME: &str = "/home/ubuntu";
/// Whom a guest's new directories belong to.
const USER_ID: u32 = 1000;
/// Where the daemon sees the machine's processes, whose numbers the lab's hosts go by.
pub(super) const MACHINE: &str = "/machine/proc";

/// Where in a guest something is to appear.
fn target_of(wanted: &Mount) -> String {
    let name = || Path::new(&wanted.source).file_name().map(|name| name.to_string_lossy().into_owned());
    let target = match wanted.target.as_deref() {
        None | Some("") => name().unwrap_or_default(),
        Some(target) => target.to_owned(),
    };
    clean(&Path::new(HOME).join(target)).display().to_string()
}

/// Without `.`, `..` and what is said twice.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    out
}

/// Whether nothing may be mounted there.
fn forbidden(target: &str) -> bool {
    let below = |dir: &str| target == dir || target.starts_with(&format!("{dir}/"));
    ["/", "/home", HOME].contains(&target) || ["/dev", "/proc", "/sys"].iter().any(|dir| below(dir))
}

pub(super) fn mount(
    daemon: &Daemon,
    request: &Request,
    wanted: &Mount,
    tell: &mut dyn FnMut(Answer),
) -> Outcome {
    let name = wanted.name.as_str();
    if settings::mounts_disabled(daemon, name) {
        return Err(Failure::new(
            "Mounts are disabled on this installation of Multipass.\n\n\
             See https://documentation.ubuntu.com/multipass/en/latest/how-to-guides/manage-instances/share-data-with-an-instance/ \
             for information\non how to enable them.",
        ));
    }
    let refuse = |line: String| Err(Failure::each(&[line]));
    let Some(instance) = daemon.get(name) else {
        return refuse(format!("instance '{name}' does not exist"));
    };
    let target = target_of(wanted);
    if forbidden(&target) {
        return refuse(format!("unable to mount to \"{target}\""));
    }
    if instance.status == Status::Unavailable {
        return refuse(format!("instance '{name}' is not available"));
    }
    if instance.mounts.contains_key(&target) {
        return refuse(format!("\"{target}\" is already mounted in '{name}'"));
    }
    let running = instance.status == Status::Running;
    if wanted.native && running {
        return refuse(format!("Please stop the instance {name} before attempting native mounts."));
    }
    if wanted.native && (wanted.uids.len() > 1 || wanted.gids.len() > 1) {
        return refuse("Only one mapping per native mount allowed.".to_owned());
    }
    let mounted = Mounted {
        host: request.host.clone(),
        source: wanted.source.clone(),
        native: wanted.native,
        uids: wanted.uids.clone(),
        gids: wanted.gids.clone(),
    };
    if running {
        if Knob::SshfsMissing.is_on(&daemon.state, name) {
            tell(Answer::Say(format!("Enabling support for mounting for {name}")));
            return Err(Failure::new(format!(
                "Error enabling mount support in '{name}'\n\n\
                 Please install the 'multipass-sshfs' snap manually inside the instance."
            )));
        }
        if let Err(why) = activate(daemon, &instance, &target, &mounted) {
            return refuse(format!("error mounting \"{target}\": {why}"));
        }
    }
    daemon.change(name, |instance| {
        instance.mounts.insert(target, mounted);
    });
    Ok(Value::Null)
}

/// Makes a mount of a guest that runs.
pub(super) fn activate(
    daemon: &Daemon,
    instance: &Instance,
    target: &str,
    mounted: &Mounted,
) -> Result<(), String> {
    put(daemon, instance, target, mounted).map_err(|error| {
        let text = format!("{error:#}");
        text.lines()
            .rfind(|line| !line.is_empty())
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned()
    })
}

fn put(daemon: &Daemon, instance: &Instance, target: &str, mounted: &Mounted) -> Result<()> {
    let guest = format!("/proc/{}/ns/mnt", instance.keeper.context("the guest does not run")?);
    if Knob::MountEmpty.is_on(&daemon.state, &instance.name) {
        // As macOS shows what a program may not read.
        let nothing = dir(&daemon.state, "daemon/nothing");
        fs::create_dir_all(&nothing)?;
        return attach_by("/proc/self/ns/mnt", &guest, &nothing.to_string_lossy(), target);
    }
    let host = daemon.state.pid(&format!("{}.pid", mounted.host))?;
    let host = format!("{MACHINE}/{host}/ns/mnt");
    match Mapped::new(&host, mounted)? {
        Some(mapped) => attach_by(&format!("/proc/{}/ns/mnt", mapped.0.id()), &guest, MAPPED, target),
        None => attach_by(&host, &guest, &mounted.source, target),
    }
}

fn attach_by(host: &str, guest: &str, source: &str, target: &str) -> Result<()> {
    let mut helper = Command::new(PROGRAM);
    helper.args(["lab", "multipass-mount", host, guest, source, target]);
    sh::quiet(&mut helper).map(drop)
}

/// Where a [`Mapped`] has its directory: any that is there on every host.
const MAPPED: &str = "/lab/multipass/now";

/// A process on a host with a mount namespace of its own, where a directory is mounted with other owners.
#[derive(Debug)]
struct Mapped(Child);

impl Mapped {
    /// None: the directory's file system cannot do that, and owners stay as they are.
    fn new(host: &str, mounted: &Mounted) -> Result<Option<Self>> {
        const SCRIPT: &str = "mount --bind -o \"X-mount.idmap=$2\" \"$1\" \"$3\" 2> /dev/null && echo mapped || echo no; read -r _";
        let mut holder = Command::new("/usr/bin/nsenter")
            .arg(format!("--mount={host}"))
            .args(["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", SCRIPT, "sh"])
            .args([&mounted.source, &id_maps(mounted), MAPPED])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run nsenter")?;
        let out = holder.stdout.take().context("no way out")?;
        let mapped = Self(holder);
        let mut said = String::new();
        BufReader::new(out).read_line(&mut said)?;
        Ok((said == "mapped\n").then_some(mapped))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The maps of a mount, in the words of mount(8).
fn id_maps(mounted: &Mounted) -> String {
    let maps = |kind: char, pairs: &[Pair]| {
        let map = |Pair(host, guest): &Pair| format!("{kind}:{host}:{}:1", guest.unwrap_or(USER_ID));
        pairs.iter().map(map).collect::<Vec<_>>()
    };
    [maps('u', &mounted.uids), maps('g', &mounted.gids)].concat().join(" ")
}

/// Takes a directory of one mount namespace and mounts it in another. A process of its own does it: it never comes back.
pub(crate) fn attach(host: &Path, guest: &Path, source: &Path, target: &Path) -> Result<()> {
    let (host, guest) = (File::open(host)?, File::open(guest)?);
    let enter = |space: &File| move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Mount));
    enter(&host).context("cannot enter the host")?;
    let tree = open_tree(CWD, source, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .with_context(|| format!("Source path \"{}\" does not exist", source.display()))?;
    enter(&guest).context("cannot enter the guest")?;
    make_directory(target)?;
    move_mount(tree.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .with_context(|| format!("cannot mount on {}", target.display()))
}

/// With all that leads there; what is new belongs to the guest's user.
fn make_directory(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    fs::create_dir(path)?;
    Ok(chown(path, Some(USER_ID), Some(USER_ID))?)
}

pub(super) fn umount(daemon: &Daemon, name: &str, target: Option<&str>) -> Outcome {
    let refuse = |line: String| Err(Failure::each(&[line]));
    let Some(instance) = daemon.get(name) else {
        return refuse(format!("instance '{name}' does not exist"));
    };
    let wanted = target.map(|target| clean(&Path::new(HOME).join(target)).display().to_string());
    if let Some(wanted) = wanted.as_ref().filter(|wanted| !instance.mounts.contains_key(*wanted)) {
        return refuse(format!("path \"{wanted}\" is not mounted in '{name}'"));
    }
    let targets: Vec<String> =
        wanted.map_or_else(|| instance.mounts.keys().cloned().collect(), |one| vec![one]);
    for target in targets {
        let native = instance.mounts.get(&target).is_some_and(|mounted| mounted.native);
        if native && instance.status == Status::Running {
            return refuse(format!("Please stop the instance {name} before unmount it natively."));
        }
        if let Some(pid) = instance.keeper {
            let mut umount = Command::new("/usr/bin/nsenter");
            umount.args([
                "--target",
                &pid.to_string(),
                "--mount",
                "--pid",
                "/usr/bin/umount",
                "--lazy",
                &target,
            ]);
            // A mount that was lost is gone already.
            let _ = sh::quiet(umount.env_clear());
        }
        daemon.change(name, |instance| {
            instance.mounts.remove(&target);
        });
    }
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_things_appear() {
        let at = |target: Option<&str>| {
            target_of(&Mount {
                name: String::new(),
                source: "/Users/me/p".to_owned(),
                target: target.map(str::to_owned),
                native: false,
                uids: vec![],
                gids: vec![],
            })
        };
        assert_eq!(at(None), "/home/ubuntu/p");
        assert_eq!(at(Some("a/../b")), "/home/ubuntu/b");
        assert_eq!(at(Some("/Users/me/p/")), "/Users/me/p");
        assert!(["/", "/home", "/home/ubuntu", "/proc/x", "/dev"].iter().all(|target| forbidden(target)));
        assert!(!["/home/ubuntu/x", "/mnt", "/devices"].iter().any(|target| forbidden(target)));
    }
}
