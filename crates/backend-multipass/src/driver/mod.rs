//! The program `multipass`, typed: what is asked of it, and what its answers mean.
//!
//! Rules that the program's quirks ask for: standard output of whatever changes something is noise (it animates also where
//! nobody looks); exit codes tell little, texts and a second look decide; `exec` is always called with `-n`, because it would
//! guess a directory, and with `--`, and carries little (see [`Multipass::exec`]); `purge` is never called, because it purges everybody's.

mod json;
mod texts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, Output, output, output_with_input};
use nixoci_core::{Error, Remedy, Result};
use semver::Version;

pub use json::{Info, Instance, State};
pub(crate) use texts::no_route;

use crate::error::{FAILED, MISSING, SLOW, TOO_OLD, UNEXPECTED};

/// How long Multipass may take for what it does in a virtual machine, `exec` and `info`: it has no limit of its own.
const LIMIT: Duration = Duration::from_secs(60);

/// Older ones print other JSON.
const OLDEST: Version = Version::new(1, 14, 0);

/// An installed Multipass.
#[derive(Clone, Debug)]
pub struct Multipass {
    program: PathBuf,
}

/// What a new virtual machine gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Ubuntu's release, such as `24.04`.
    pub image: String,
    /// CPUs.
    pub cpus: u32,
    /// Memory, as Multipass writes sizes: `8G`.
    pub memory: String,
    /// The disk's size.
    pub disk: String,
    /// How long the first boot may take, in seconds.
    pub timeout: u64,
    /// The cloud-init configuration of the first boot, a YAML mapping.
    pub cloud_init: String,
}

/// Who owns files that a virtual machine is to see, most common first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Users.
    pub uids: Vec<u32>,
    /// Groups.
    pub gids: Vec<u32>,
}

/// The user of every instance.
const USER_ID: u32 = 1000;

impl Multipass {
    /// Finds Multipass.
    ///
    /// # Errors
    /// [`MISSING`].
    pub async fn find(cx: &Cx<'_>) -> Result<Multipass> {
        let program = cx.runner.find("multipass").await.ok_or_else(missing)?;
        Ok(Multipass { program })
    }

    /// Looks whether it is one that is understood, and whether its daemon answers; its version.
    ///
    /// # Errors
    /// [`TOO_OLD`], [`crate::error::DAEMON_DOWN`] and the other reasons why the daemon does not serve this user.
    pub async fn check(&self, cx: &Cx<'_>) -> Result<String> {
        let (client, daemon) = self.versions(cx).await?;
        if parse(&client).is_some_and(|version| version < OLDEST) {
            return Err(Error::new(
                &TOO_OLD,
                format!("Multipass {client} is too old: nixoci needs {OLDEST} or newer"),
            )
            .remedy(Remedy::command("upgrade it", "brew upgrade --cask multipass")));
        }
        // Without its daemon it says nothing of it, and ends well: who asks for the machines is told why.
        if daemon.is_none() {
            self.list(cx).await?;
        }
        Ok(daemon.unwrap_or(client))
    }

    /// The versions of the client and of the daemon, which is absent when it does not answer.
    ///
    /// # Errors
    /// [`UNEXPECTED`].
    pub async fn versions(&self, cx: &Cx<'_>) -> Result<(String, Option<String>)> {
        let text = self.ask(cx, "", &["version", "--format", "json"]).await?;
        json::versions(&text).map_err(|why| unexpected("version", &why))
    }

    /// Every virtual machine. Asks none of them.
    ///
    /// # Errors
    /// Why the daemon does not serve this user; [`UNEXPECTED`].
    pub async fn list(&self, cx: &Cx<'_>) -> Result<Vec<Instance>> {
        let text = self.ask(cx, "", &["list", "--format", "json", "--no-ipv4"]).await?;
        json::list(&text).map_err(|why| unexpected("list", &why))
    }

    /// How a virtual machine stands; nothing if there is none of that name.
    ///
    /// # Errors
    /// As [`Multipass::list`].
    pub async fn state(&self, cx: &Cx<'_>, name: &str) -> Result<Option<State>> {
        let all = self.list(cx).await?;
        Ok(all.into_iter().find(|instance| instance.name == name).map(|instance| instance.state))
    }

    /// What is known of a virtual machine. Logs in to it if it runs, and fails if that fails.
    ///
    /// # Errors
    /// [`crate::error::ABSENT`] and others.
    pub async fn info(&self, cx: &Cx<'_>, name: &str) -> Result<Info> {
        // The daemon logs in to the machine for this, and has no limit for one that does not answer.
        let words = ["info", "--format", "json", name];
        let Ok(text) = tokio::time::timeout(LIMIT, self.ask(cx, name, &words)).await else {
            return Err(slow(name, "`multipass info`"));
        };
        json::info(&text?, name).map_err(|why| unexpected("info", &why))
    }

    /// Makes a virtual machine. A failure does not mean that there is none now: [`Multipass::state`] tells.
    ///
    /// # Errors
    /// [`crate::error::SLOW`], [`crate::error::BAD_SIZE`] and others.
    pub async fn launch(&self, cx: &Cx<'_>, name: &str, launch: &Launch) -> Result<()> {
        let (cpus, timeout) = (launch.cpus.to_string(), launch.timeout.to_string());
        let words = [
            "launch",
            &launch.image,
            "--name",
            name,
            "--cpus",
            &cpus,
            "--memory",
            &launch.memory,
            "--disk",
            &launch.disk,
            "--timeout",
            &timeout,
            "--cloud-init",
            "-",
        ];
        let command = whole(&self.command(&words));
        let input = format!("{}\n{WHOLE_MARK}\n", launch.cloud_init.trim_end());
        let answer = output_with_input(cx.runner, &command, input.as_bytes(), cx.cancel).await?;
        if answer.exit.success() { Ok(()) } else { Err(texts::diagnose(name, &answer.stderr_text())) }
    }

    /// Starts a virtual machine. One that runs is fine.
    ///
    /// # Errors
    /// [`crate::error::SLOW`], [`crate::error::DELETED`], [`crate::error::UNKNOWN_STATE`] and others.
    pub async fn start(&self, cx: &Cx<'_>, name: &str) -> Result<()> {
        self.change(cx, name, &["start", name]).await
    }

    /// Stops a virtual machine; with `force`, as if its plug were pulled.
    ///
    /// # Errors
    /// Multipass's own.
    pub async fn stop(&self, cx: &Cx<'_>, name: &str, force: bool) -> Result<()> {
        let words: &[&str] = if force { &["stop", "--force", name] } else { &["stop", name] };
        self.change(cx, name, words).await
    }

    /// Switches a virtual machine off, and keeps its memory.
    ///
    /// # Errors
    /// Multipass's own.
    pub async fn suspend(&self, cx: &Cx<'_>, name: &str) -> Result<()> {
        self.change(cx, name, &["suspend", name]).await
    }

    /// Deletes a virtual machine so that it can be recovered.
    ///
    /// # Errors
    /// Multipass's own.
    pub async fn discard(&self, cx: &Cx<'_>, name: &str) -> Result<()> {
        self.change(cx, name, &["delete", name]).await
    }

    /// Brings a deleted virtual machine back.
    ///
    /// # Errors
    /// Multipass's own.
    pub async fn recover(&self, cx: &Cx<'_>, name: &str) -> Result<()> {
        self.change(cx, name, &["recover", name]).await
    }

    /// Deletes this one virtual machine for good.
    ///
    /// # Errors
    /// Multipass's own.
    pub async fn delete(&self, cx: &Cx<'_>, name: &str) -> Result<()> {
        self.change(cx, name, &["delete", "-p", name]).await
    }

    /// Changes a size of a virtual machine that is off: `cpus`, `memory` or `disk`.
    ///
    /// # Errors
    /// [`crate::error::BAD_SIZE`] and others.
    pub async fn set(&self, cx: &Cx<'_>, name: &str, key: &str, value: &str) -> Result<()> {
        self.change(cx, name, &["set", &format!("local.{name}.{key}={value}")]).await
    }

    /// Has a virtual machine see a directory of this host's, by Multipass's own server, with these owners mapped to its user and
    /// to themselves.
    ///
    /// # Errors
    /// [`crate::error::NO_MOUNTS`] and others.
    pub async fn mount(&self, cx: &Cx<'_>, name: &str, from: &Path, at: &str, owners: &Owners) -> Result<()> {
        let mut words: Vec<String> = vec!["mount".into(), "--type".into(), "classic".into()];
        for (flag, ids) in [("--uid-map", &owners.uids), ("--gid-map", &owners.gids)] {
            for (place, id) in ids.iter().enumerate() {
                // The first one becomes the guest's user, and nobody else does.
                match place {
                    0 => words.extend([flag.to_owned(), format!("{id}:{USER_ID}")]),
                    _ if *id == USER_ID => {}
                    _ => words.extend([flag.to_owned(), format!("{id}:{id}")]),
                }
            }
        }
        words.extend([from.to_string_lossy().into_owned(), format!("{name}:{at}")]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.change(cx, name, &words).await
    }

    /// Takes a mount away.
    ///
    /// # Errors
    /// Multipass's own.
    pub async fn umount(&self, cx: &Cx<'_>, name: &str, at: &str) -> Result<()> {
        self.change(cx, name, &["umount", &format!("{name}:{at}")]).await
    }

    /// Runs a small command in a virtual machine that runs, without input. `multipass exec` loses standard input beyond about 2 MiB, and its
    /// output may get stuck: with 100 kB that was seen, with a few lines never. The command exits with 0 or 1: a 4 makes Multipass up to 1.16 run
    /// it again, for ever, and other codes are Multipass's own.
    ///
    /// # Errors
    /// [`crate::error::NO_ROUTE`] and others; [`SLOW`] after a minute.
    pub async fn exec(&self, cx: &Cx<'_>, name: &str, command: &Command) -> Result<Output> {
        let exec = self.command(&["exec", "-n", name, "--"]).arg(&command.program).args(&command.args);
        let Ok(answer) = tokio::time::timeout(LIMIT, output(cx.runner, &exec, cx.cancel)).await else {
            return Err(slow(name, "a command through `multipass exec`"));
        };
        let answer = answer?;
        let error = texts::diagnose(name, &answer.stderr_text());
        // The command's own words are none of Multipass's texts.
        if answer.exit.success() || error.is(&FAILED) { Ok(answer) } else { Err(error) }
    }

    fn command(&self, words: &[&str]) -> Command {
        Command::new(&self.program).args(words.iter().copied())
    }

    /// A command that answers on standard output and changes nothing.
    async fn ask(&self, cx: &Cx<'_>, name: &str, words: &[&str]) -> Result<String> {
        let answer = nixoci_core::runner::output(cx.runner, &self.command(words), cx.cancel).await?;
        if answer.exit.success() {
            Ok(answer.stdout_text())
        } else {
            Err(texts::diagnose(name, &answer.stderr_text()))
        }
    }

    /// A command that changes something: what it prints is decoration.
    async fn change(&self, cx: &Cx<'_>, name: &str, words: &[&str]) -> Result<()> {
        let answer = output(cx.runner, &self.command(words), cx.cancel).await?;
        if answer.exit.success() { Ok(()) } else { Err(texts::diagnose(name, &answer.stderr_text())) }
    }
}

/// Ends the cloud-init configuration.
const WHOLE_MARK: &str = "# end of the configuration";
/// Runs a command when all of its input has come.
const WHOLE: &str = r#"input=$(cat); case $input in *"$0") ;; *) exit 1 ;; esac
exec "$@" <<END
$input
END"#;

/// The command, which is not run unless all of its input comes, up to the mark. `multipass launch` takes whatever comes before the end of its
/// input for all of the configuration: if nixoci is killed before it has written them, a machine that does not know who made it would be
/// launched.
fn whole(command: &Command) -> Command {
    Command::new("sh").args(["-c", WHOLE, WHOLE_MARK]).arg(&command.program).args(&command.args).with_stdin()
}

/// `1.16.3+mac`, `1.17.0-dev.134+g…`.
fn parse(text: &str) -> Option<Version> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Version::parse(&text[..end]).ok()
}

fn missing() -> Error {
    Error::new(&MISSING, MISSING.title)
        .because("no program called `multipass` is on PATH")
        .remedy(Remedy::command("install it, on a Mac", "brew install --cask multipass"))
        .remedy(Remedy::advice("or by its package, from multipass.run"))
}

fn slow(name: &str, what: &str) -> Error {
    Error::new(&SLOW, format!("{name}: {what} did not end within {} s", LIMIT.as_secs())).remedy(
        Remedy::command(
            "switch the virtual machine off and on",
            nixoci_core::shell!("multipass stop --force {} && multipass start {}", name, name),
        ),
    )
}

fn unexpected(verb: &str, why: &str) -> Error {
    Error::new(&UNEXPECTED, format!("`multipass {verb}` answered in an unknown form")).because(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_launch_that_does_not_get_all_of_its_configuration_does_not_happen() {
        let (runner, never) = (nixoci_nix::HostRunner::default(), Default::default());
        for (input, code) in [("", 1), ("a: $b\n# end of", 1), ("a: $b\n# end of the configuration\n", 0)] {
            let answer = output_with_input(&runner, &whole(&Command::new("cat")), input.as_bytes(), &never)
                .await
                .unwrap();
            assert_eq!(answer.exit, nixoci_core::runner::Exit::Code(code), "{input}");
            assert_eq!(answer.stdout_text(), if code == 0 { input } else { "" });
        }
    }

    #[test]
    fn versions_have_suffixes() {
        for (text, version) in [
            ("1.16.3+mac", Version::new(1, 16, 3)),
            ("1.17.0-dev.134+g9b0af2ec3", Version::new(1, 17, 0)),
            ("1.13.1", Version::new(1, 13, 1)),
        ] {
            assert_eq!(parse(text), Some(version));
        }
        assert_eq!(parse("odd"), None);
    }
}
