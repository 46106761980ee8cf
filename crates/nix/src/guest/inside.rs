//! Commands in a guest that see this host's directories where this host has them.
//!
//! Nix tells where a source comes from in more than its contents: the name of `./.` is its directory's, messages name files.
//! So a guest's command runs in a mount namespace of its own, in which each [`Tree`](super::sources::Tree) that was sent lies at
//! its path on this host. What is below a directory that the guest has as well (`/home`, `/tmp`) hides the guest's. The namespace
//! goes with its last process, and with it everything that was only in it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use nixoci_core::Result;
use nixoci_core::runner::{Command, Process, Runner};

use super::GuestRunner;
use super::agent::Agent;
use super::secrets::Secrets;

/// Where nixoci keeps its things in a guest.
pub const HOME: &str = "/var/lib/nixoci";
/// What of a login's environment says how to get out, and where Nix finds its settings.
const PASSED: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "NIX_SSL_CERT_FILE",
    "NIX_USER_CONF_FILES",
    "NIX_PATH",
];

const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/nix/var/nix/profiles/default/bin";

/// These are the guest's own in any case: a directory of ours is put among them, and hides what was there.
const SYSTEM: &[&str] =
    &["bin", "boot", "dev", "etc", "lib", "lib64", "nix", "proc", "run", "sbin", "snap", "sys", "usr", "var"];

/// The daemon, which asks binary caches, is outside of the namespace: it reads the netrc file through this process, which becomes the
/// command, and for as long as that runs.
///
/// Run by root in a new mount namespace: USER DIRECTORY VEILS BINDS VEIL… (FROM TO)… COMMAND….
const ENTER: &str = r#"set -e
user=$1 cwd=$2 veils=$3 binds=$4; shift 4
mkdir -p /run/nixoci; exec 9>>/run/nixoci/in-use; flock -s 9; touch /run/nixoci/used
while [ "$veils" -gt 0 ]; do
  mkdir -p "$1"; mount -t tmpfs -o mode=1777 nixoci "$1"; shift; veils=$((veils-1))
done
while [ "$binds" -gt 0 ]; do
  mkdir -p "$2"; mount --bind "$1" "$2"; mount -o remount,bind,ro "$2"; shift 2; binds=$((binds-1))
done
for file in /etc/nixoci/environment /run/nixoci/environment; do if [ -e $file ]; then set -a; . $file; set +a; fi; done
if [ -n "${NIXOCI_SECRETS-}" ]; then
  secrets=/run/nixoci/secrets; mkdir -p "$secrets"; mount -t tmpfs -o mode=700,size=1m nixoci "$secrets"
  umask 077
  printf %s "${NIXOCI_SECRETS%% *}" | base64 -d >"$secrets/nix.conf"
  printf %s "${NIXOCI_SECRETS##* }" | base64 -d >"$secrets/netrc"
  [ ! -s "$secrets/netrc" ] || echo "netrc-file = /proc/$$/root$secrets/netrc" >>"$secrets/nix.conf"
  umask 022; unset NIXOCI_SECRETS; chown -R "$user:" "$secrets"
  export NIX_USER_CONF_FILES="$secrets/nix.conf${NIX_USER_CONF_FILES:+:$NIX_USER_CONF_FILES}"
fi
cd "$cwd" 2>/dev/null || cd /
exec setpriv --reuid="$user" --regid="$user" --init-groups -- "$@""#;

/// A directory of the guest's, and where a command sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where the guest has it.
    pub from: PathBuf,
    /// Where this host has it.
    pub at: PathBuf,
}

/// Runs commands in a guest as its user, in a namespace with these directories. What is interactive is not for it.
#[derive(Clone, Debug)]
pub struct Inside<'a> {
    guest: GuestRunner<'a>,
    user: String,
    seen: Vec<Seen>,
    agent: Option<Arc<Agent>>,
}

impl<'a> Inside<'a> {
    /// Commands of `user`'s, who becomes root by sudo without a password.
    pub fn new(guest: GuestRunner<'a>, user: impl Into<String>, mut seen: Vec<Seen>) -> Self {
        seen.sort_by(|one, other| one.at.cmp(&other.at));
        seen.dedup();
        Inside { guest: guest.entered_by(become_root()), user: user.into(), seen, agent: None }
    }

    /// The same, with secrets for what its commands start. A command that reads gets none.
    #[must_use]
    pub fn knowing(self, secrets: &Secrets) -> Self {
        Inside { guest: self.guest.told(secrets.line()), ..self }
    }

    /// The same, with an ssh agent for its commands to ask.
    #[must_use]
    pub fn asking(self, agent: Option<Agent>) -> Self {
        Inside { agent: agent.map(Arc::new), ..self }
    }

    fn command(&self, command: &Command) -> Command {
        let here = command.cwd.clone().or_else(|| std::env::current_dir().ok()).unwrap_or_default();
        let veils = veils(&self.seen);
        let mut words: Vec<OsString> =
            ["--mount", "--propagation", "private", "sh", "-c", ENTER, "nixoci", &self.user]
                .map(OsString::from)
                .into();
        words.push(here.into_os_string());
        words.extend([veils.len(), self.seen.len()].map(|count| count.to_string().into()));
        words.extend(veils.into_iter().map(OsString::from));
        for seen in &self.seen {
            words.extend([seen.from.clone().into_os_string(), seen.at.clone().into_os_string()]);
        }
        words.extend(["env".into(), format!("HOME={HOME}/home").into(), format!("PATH={PATH}").into()]);
        words.extend(self.agent.iter().flat_map(|agent| agent.environment()).map(OsString::from));
        words.extend(super::script::environment(command));
        words.push(command.program.clone());
        words.extend(command.args.iter().cloned());
        let unshare = Command::new("unshare").args(words);
        if command.stdin { unshare.with_stdin() } else { unshare }
    }
}

/// What a guest's user runs in front of a command to have it run by root, with what [`PASSED`] says.
pub(super) fn become_root() -> Vec<OsString> {
    let passed: Vec<String> = PASSED.iter().map(|name| format!("${{{name}+\"{name}=${name}\"}}")).collect();
    let script = format!("exec sudo -n env {} \"$@\"", passed.join(" "));
    ["sh".into(), "-c".into(), script.into(), "nixoci".into()].into()
}

/// The directories at the top that are covered, so that ours can be made in them and theirs are not written to.
fn veils(seen: &[Seen]) -> BTreeSet<PathBuf> {
    let top = |path: &Path| match path.components().nth(1) {
        Some(Component::Normal(name)) if !SYSTEM.iter().any(|system| name == *system) => {
            Some(Path::new("/").join(name))
        }
        _ => None,
    };
    // A directory right below the root is not in one.
    seen.iter().filter(|seen| seen.at.components().count() > 2).filter_map(|seen| top(&seen.at)).collect()
}

#[async_trait]
impl Runner for Inside<'_> {
    async fn spawn(&self, command: &Command) -> Result<Box<dyn Process>> {
        self.guest.spawn(&self.command(command)).await
    }

    async fn find(&self, program: &str) -> Option<PathBuf> {
        self.guest.find(program).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Seen {
        Seen { from: "/x".into(), at: path.into() }
    }

    #[test]
    fn a_directory_of_the_host_s_covers_what_a_guest_has_there_but_not_its_system() {
        let seen = [at("/Users/me/p"), at("/home/me/p"), at("/usr/src/p"), at("/p"), at("/Users/me/q")];
        let veils: Vec<PathBuf> = veils(&seen).into_iter().collect();
        assert_eq!(veils, [Path::new("/Users"), Path::new("/home")]);
    }
}
