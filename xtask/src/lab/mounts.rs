//! Mounting, in words: what every root of the lab needs.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};

use super::guard;
use super::state::State;

/// A root file system while it is put together: paths are given as they will be inside.
#[derive(Debug)]
pub(crate) struct Root {
    merged: PathBuf,
}

impl Root {
    /// A writable root over a pristine one. What it writes goes to `work`.
    pub(crate) fn over(pristine: &Path, work: &Path) -> Result<Self> {
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        let merged = work.join("merged");
        overlay(pristine, work, &merged)?;
        Ok(Self { merged })
    }

    /// The same file as seen from outside.
    pub(crate) fn outside(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.merged.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The kernel's own file systems. The machine's devices are shared, its shared memory is not.
    pub(crate) fn kernel(&self) -> Result<()> {
        self.fresh("proc", "/proc", "")?;
        self.fresh("sysfs", "/sys", "")?;
        self.bind_all(Path::new("/dev"), "/dev")?;
        self.fresh("tmpfs", "/dev/shm", "mode=1777")?;
        self.fresh("tmpfs", "/run", "mode=755")
    }

    /// A corner of the machine's control groups as if it were all of them, so that what containers are put into is found
    /// and removed with the lab.
    pub(crate) fn control_groups(&self, state: &State) -> Result<()> {
        let all = Path::new("/sys/fs/cgroup");
        let name = guard::cgroup(state);
        if all.join("cgroup.controllers").exists() {
            let corner = all.join(name);
            fs::create_dir_all(&corner)?;
            // Somebody else may have handed the controllers down, or some may not be there to be had.
            for controller in fs::read_to_string(all.join("cgroup.controllers"))?.split_whitespace() {
                let _ = fs::write(all.join("cgroup.subtree_control"), format!("+{controller}"));
            }
            return self.bind_all(&corner, all);
        }
        self.fresh("tmpfs", "/sys/fs/cgroup", "mode=755")?;
        for entry in fs::read_dir(all)? {
            let path = entry?.path();
            if path.is_symlink() {
                symlink(fs::read_link(&path)?, self.outside(&path))?;
                continue;
            }
            let corner = path.join(&name);
            fs::create_dir_all(&corner)?;
            // A group without processors and memory takes no process.
            for file in
                ["cpuset.cpus", "cpuset.mems"].map(|file| path.join(file)).iter().filter(|file| file.exists())
            {
                fs::write(corner.join(file.file_name().unwrap_or_default()), fs::read(file)?)?;
            }
            self.bind_all(&corner, &path)?;
        }
        Ok(())
    }

    /// A new file system of this type.
    pub(crate) fn fresh(&self, kind: &str, target: &str, options: &str) -> Result<()> {
        fresh(kind, &self.directory(target)?, options)
    }

    /// An overlay below the root, for what must survive neither in the root nor elsewhere.
    pub(crate) fn overlay(&self, pristine: &Path, work: &Path, target: &str) -> Result<()> {
        let inside = self.directory(target)?;
        overlay(pristine, work, &inside)
    }

    pub(crate) fn bind(&self, source: &Path, target: impl AsRef<Path>) -> Result<()> {
        let inside = self.mount_point(source, target.as_ref())?;
        mount_bind(source, &inside)
            .with_context(|| format!("cannot bind {} to {}", source.display(), inside.display()))
    }

    pub(crate) fn bind_all(&self, source: &Path, target: impl AsRef<Path>) -> Result<()> {
        let inside = self.mount_point(source, target.as_ref())?;
        mount_bind_recursive(source, &inside)
            .with_context(|| format!("cannot bind {} to {}", source.display(), inside.display()))
    }

    pub(crate) fn bind_read_only(&self, source: &Path, target: impl AsRef<Path>) -> Result<()> {
        let target = target.as_ref();
        self.bind(source, target)?;
        mount_remount(self.outside(target), MountFlags::BIND | MountFlags::RDONLY, "")?;
        Ok(())
    }

    pub(crate) fn directory(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let inside = self.outside(path);
        fs::create_dir_all(&inside).with_context(|| format!("cannot make {}", inside.display()))?;
        Ok(inside)
    }

    pub(crate) fn write(&self, path: &str, text: &str, mode: u32) -> Result<()> {
        let inside = self.outside(path);
        if let Some(parent) = inside.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&inside, text).with_context(|| format!("cannot write {}", inside.display()))?;
        fs::set_permissions(&inside, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Gives Nix's build users other ids. Nix kills every process of a build user, and all machines of a lab share one
    /// numbering of processes: no two of them may share a build user.
    pub(crate) fn build_users(&self, first: u32) -> Result<()> {
        let file = self.outside("/etc/passwd");
        let mut next = first;
        let mut text = String::new();
        for line in fs::read_to_string(&file)?.lines() {
            let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
            if let (true, Some(id)) = (line.starts_with("nixbld"), fields.get_mut(2)) {
                *id = next.to_string();
                next += 1;
            }
            text.push_str(&fields.join(":"));
            text.push('\n');
        }
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Adds lines to a file that is there.
    pub(crate) fn append(&self, path: &str, lines: &str) -> Result<()> {
        let inside = self.outside(path);
        let text =
            fs::read_to_string(&inside).with_context(|| format!("cannot read {}", inside.display()))?;
        fs::write(&inside, text + lines).with_context(|| format!("cannot write {}", inside.display()))
    }

    /// Makes this the root of our mount namespace; what was there before is gone for us.
    pub(crate) fn enter(self) -> Result<()> {
        let old = self.directory("/.old")?;
        std::env::set_current_dir(&self.merged)?;
        rustix::process::pivot_root(".", &old).context("cannot make the root ours (pivot_root)")?;
        std::env::set_current_dir("/")?;
        unmount("/.old", UnmountFlags::DETACH)?;
        fs::remove_dir("/.old")?;
        Ok(())
    }

    fn mount_point(&self, source: &Path, target: &Path) -> Result<PathBuf> {
        if source.is_dir() {
            return self.directory(target);
        }
        let inside = self.outside(target);
        if !inside.exists() {
            if let Some(parent) = inside.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&inside, "")?;
        }
        Ok(inside)
    }
}

/// A file system in memory, somewhere that our mount namespace alone sees.
pub(crate) fn tmpfs(path: &Path, options: &str) -> Result<()> {
    fresh("tmpfs", path, options)
}

fn fresh(kind: &str, path: &Path, options: &str) -> Result<()> {
    let options = CString::new(options)?;
    mount(kind, path, kind, MountFlags::empty(), options.as_c_str())
        .with_context(|| format!("cannot mount {kind} on {}", path.display()))
}

fn overlay(pristine: &Path, work: &Path, target: &Path) -> Result<()> {
    let (upper, scratch) = (work.join("upper"), work.join("work"));
    for dir in [&upper, &scratch, &target.to_path_buf()] {
        fs::create_dir_all(dir)?;
    }
    let options =
        format!("lowerdir={},upperdir={},workdir={}", pristine.display(), upper.display(), scratch.display());
    let options = CString::new(options)?;
    mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())
        .with_context(|| format!("cannot mount an overlay over {}", pristine.display()))
}
