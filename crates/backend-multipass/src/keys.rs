//! The files that belong to the ssh connection to a virtual machine: the key that logs in, and the host key that is accepted.
//!
//! They lie beside the receipt, in `multipass/INSTANCE` in nixoci's state directory, and are removed with it.

use std::path::{Path, PathBuf};

use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, output};
use nixoci_core::{Error, Remedy, Result, ResultExt};
use tempfile::TempDir;

use crate::error::KEY;
use crate::receipt::dir;

/// The files of one virtual machine.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// The virtual machine's name in ssh's files.
    pub(crate) alias: String,
    dir: PathBuf,
}

/// A host key for a virtual machine that is to be launched.
pub(crate) struct HostKey {
    /// In OpenSSH's format, several lines.
    pub(crate) private: String,
    /// `ssh-ed25519 AAAA…`.
    pub(crate) public: String,
}

impl Keys {
    pub(crate) fn of(cx: &Cx<'_>, instance: &str) -> Keys {
        Keys { alias: format!("nixoci-vm-{instance}"), dir: dir(cx, instance) }
    }

    /// The private key that logs in. [`Keys::authorized`] makes it.
    pub(crate) fn private(&self) -> PathBuf {
        self.dir.join("id_ed25519")
    }

    /// The only host key that is accepted: `ssh-ed25519 AAAA…`.
    pub(crate) fn pinned(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.known_hosts()).ok()?;
        host_key(text.strip_prefix(&format!("{} ", self.alias))?)
    }

    /// The pinned host key, if there is a key that logs in, too: without one of them, the virtual machine has to let a key in first.
    pub(crate) fn complete(&self) -> Option<String> {
        self.pinned().filter(|_| self.private().exists())
    }

    /// The file with that host key, in ssh's format.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    /// Accepts this host key from now on, and no other.
    ///
    /// # Errors
    /// [`KEY`] if the file cannot be written.
    pub(crate) fn pin(&self, host_key: &str) -> Result<()> {
        let write = || {
            std::fs::create_dir_all(&self.dir)?;
            let mut new = tempfile::NamedTempFile::new_in(&self.dir)?;
            std::io::Write::write_all(&mut new, format!("{} {host_key}\n", self.alias).as_bytes())?;
            new.persist(self.known_hosts()).map_err(std::io::Error::other)
        };
        write().map(drop).or_error(&KEY, || format!("{} cannot be written", self.known_hosts().display()))
    }

    /// The line for the virtual machine's `authorized_keys`: the key, which is made when there is none, for commands and terminals but no
    /// forwarding.
    ///
    /// # Errors
    /// [`KEY`].
    pub(crate) async fn authorized(&self, cx: &Cx<'_>) -> Result<String> {
        if !self.private().exists() {
            // An older nixoci kept the public half, too, which ssh would prefer to the one in the new key.
            let _ = std::fs::remove_file(self.private().with_extension("pub"));
            let (new, made) = self.generate(cx).await?;
            // Another nixoci may have made one meanwhile, which counts then.
            if let Err(error) = std::fs::hard_link(&made, self.private())
                && !self.private().exists()
            {
                return Err(self.not_made(&error.to_string()));
            }
            drop(new);
        }
        let command = Command::new("ssh-keygen").args(["-y", "-P", "", "-f"]).arg(self.private());
        let answer = output(cx.runner, &command, cx.cancel).await?;
        let public = host_key(&answer.stdout_text()).filter(|_| answer.exit.success());
        let damaged = || {
            let text = format!("the key {} cannot be read", self.private().display());
            Error::new(&KEY, text).because(answer.stderr_text().trim()).remedy(self.another())
        };
        Ok(format!("restrict,pty {} nixoci", public.ok_or_else(damaged)?))
    }

    /// Makes a host key for a virtual machine that is to be launched. nixoci keeps the public half only.
    ///
    /// # Errors
    /// [`KEY`].
    pub(crate) async fn new_host_key(&self, cx: &Cx<'_>) -> Result<HostKey> {
        let (new, made) = self.generate(cx).await?;
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|why| self.not_made(&why.to_string()));
        let key = HostKey { private: read(&made)?, public: read(&made.with_extension("pub"))? };
        drop(new);
        let public =
            host_key(&key.public).ok_or_else(|| self.not_made("ssh-keygen wrote another kind of key"))?;
        Ok(HostKey { public, ..key })
    }

    /// A new pair of files in a directory of its own, which goes when it is dropped.
    async fn generate(&self, cx: &Cx<'_>) -> Result<(TempDir, PathBuf)> {
        let new = std::fs::create_dir_all(&self.dir).and_then(|()| tempfile::tempdir_in(&self.dir));
        let new = new.map_err(|error| self.not_made(&error.to_string()))?;
        let made = new.path().join("key");
        let command = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "nixoci", "-f"])
            .arg(&made);
        let answer = output(cx.runner, &command, cx.cancel).await?;
        if answer.exit.success() { Ok((new, made)) } else { Err(self.not_made(answer.stderr_text().trim())) }
    }

    fn not_made(&self, why: &str) -> Error {
        Error::new(&KEY, format!("no key could be made in {}", self.dir.display())).because(why)
    }

    /// Has the next build make another key that logs in.
    pub(crate) fn another(&self) -> Remedy {
        let command = Command::new("rm").arg("-f").arg(self.private());
        Remedy::command("have another key made, by the next build", command.to_string())
    }
}

/// Type and key of `ssh-ed25519 AAAA… root@vm`.
pub(crate) fn host_key(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    (kind == "ssh-ed25519" && key.chars().all(base64)).then(|| format!("{kind} {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_key_is_two_words_of_a_known_kind() {
        assert_eq!(host_key("ssh-ed25519 AAAA root@vm\n").as_deref(), Some("ssh-ed25519 AAAA"));
        for odd in ["", "ssh-ed25519", "ssh-rsa AAAA", "cat: no such file", "ssh-ed25519 A\"B"] {
            assert_eq!(host_key(odd), None);
        }
    }

    #[test]
    fn a_pinned_key_is_read_back_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys { alias: "vm".to_owned(), dir: dir.path().join("new") };
        assert_eq!(keys.pinned(), None);
        for key in ["ssh-ed25519 AAAA", "ssh-ed25519 BBBB"] {
            keys.pin(key).unwrap();
            assert_eq!(keys.pinned().as_deref(), Some(key));
        }
        std::fs::write(keys.known_hosts(), "another ssh-ed25519 AAAA\n").unwrap();
        assert_eq!(keys.pinned(), None);
    }
}
