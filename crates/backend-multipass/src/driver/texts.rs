//! What Multipass says, and what nixoci makes of it: one table. Exit codes tell little (a daemon that is down and a virtual
//! machine that does not exist are both 2), so the texts decide.
//!
//! Sources: Multipass 1.16.3 and 1.17-dev, `include/multipass/cli/dispatch_rpc.h`, `src/daemon/daemon.cpp`,
//! `src/client/cli/cmd/*.cpp`.

use nixoci_core::Error;
use nixoci_core::error::Code;
use nixoci_core::help::Help::{self, Command, Lines};
use nixoci_core::help::Values;
use nixoci_core::pattern::{self, Captures};

use crate::error as c;

struct Rule {
    code: &'static Code,
    /// Any of these; see [`pattern`].
    says: &'static [&'static str],
    /// `{name}` is the virtual machine.
    remedies: &'static [Help],
}

const RULES: &[Rule] = &[
    Rule {
        code: &c::DAEMON_DOWN,
        says: &["cannot connect to the multipass socket"],
        remedies: &[
            Command("start it", "sudo launchctl kickstart -k system/com.canonical.multipassd"),
            Command("see why it ended", "sudo tail -50 /Library/Logs/Multipass/multipassd.log"),
        ],
    },
    Rule {
        code: &c::SOCKET_DENIED,
        says: &["multipass socket access denied"],
        remedies: &[Command("authenticate once, as an administrator", "sudo multipass authenticate")],
    },
    Rule {
        code: &c::UNAUTHENTICATED,
        says: &["is not authenticated with the Multipass service"],
        remedies: &[Command("authenticate", "multipass authenticate")],
    },
    Rule {
        code: &c::NO_ROUTE,
        says: &["ssh connection failed", "No route to host", "Timeout connecting to"],
        remedies: &[
            Command(
                "allow your terminal to reach the local network: System Settings, Privacy & Security, Local Network; then open it anew",
                "open 'x-apple.systempreferences:com.apple.preference.security?Privacy_LocalNetwork'",
            ),
            Command(
                "see whether it is the permission: as root none is needed",
                "sudo multipass exec -n {name} -- true",
            ),
            Command(
                "if it did answer before this machine slept: switch it off and on",
                "multipass stop --force {name} && multipass start {name}",
            ),
        ],
    },
    Rule {
        code: &c::DELETED,
        says: &["is deleted. Use 'recover'"],
        remedies: &[
            Command("recover it", "multipass recover {name}"),
            Command("or let go of its name for good", "multipass delete -p {name}"),
        ],
    },
    Rule {
        code: &c::UNKNOWN_STATE,
        says: &["in an unknown state", "credentials in unknown state"],
        remedies: &[Command(
            "stop it by force, and start it",
            "multipass stop --force {name} && multipass start {name}",
        )],
    },
    Rule {
        code: &c::PREPARING,
        says: &["is being prepared"],
        remedies: &[
            Command("try again when it is listed: the image is fetched", "multipass list"),
            Lines(
                "or take another name, in nixoci.toml",
                "[backend.multipass]\ninstance = \"nixoci-builder\"",
            ),
        ],
    },
    Rule {
        code: &c::SLOW,
        says: &[
            "timed out waiting for response",
            "timed out waiting for initialization to complete",
            "Timed out waiting for instance",
        ],
        remedies: &[
            Command(
                "on a Mac, let its firewall give the virtual machine an address, and restart the Mac",
                "sudo /usr/libexec/ApplicationFirewall/socketfilterfw --add /usr/libexec/bootpd --unblockapp /usr/libexec/bootpd",
            ),
            Command(
                "a VPN, or Internet Sharing, takes the network away, too: switch it off, and try again",
                "nixoci provision --backend multipass --yes",
            ),
            Command("see how it stands", "multipass info {name}"),
        ],
    },
    Rule { code: &c::BAD_NAME, says: &["Invalid instance name supplied"], remedies: &[] },
    Rule {
        code: &c::BAD_SIZE,
        says: &[
            "Invalid memory size value supplied",
            "Invalid disk size value supplied",
            "below minimum for this image",
            "Disk can only be expanded",
            "minimum not allowed",
        ],
        remedies: &[],
    },
    Rule {
        code: &c::NO_IMAGE,
        says: &["Unable to find an image matching", "failed to download from"],
        remedies: &[Command("see which there are", "multipass find")],
    },
    Rule {
        code: &c::MOUNT,
        says: &["Error enabling mount support"],
        remedies: &[
            Command(
                "see what keeps its package from being installed there",
                "multipass exec -n {name} -- sudo snap install multipass-sshfs",
            ),
            Lines(
                "or let nixoci send the files, which needs nothing, in nixoci.toml",
                "[backend.multipass]\nsources = \"stream\"",
            ),
        ],
    },
    Rule {
        code: &c::NO_MOUNTS,
        says: &["Mounts are disabled on this installation"],
        remedies: &[
            Command("switch them on", "multipass set local.privileged-mounts=true"),
            Lines(
                "or let nixoci send the files, in nixoci.toml",
                "[backend.multipass]\nsources = \"stream\"",
            ),
        ],
    },
    Rule {
        code: &c::ABSENT,
        says: &["does not exist", "instance(s) missing"],
        remedies: &[Command("make one", "nixoci provision --backend multipass")],
    },
];

/// The error for a command of Multipass's about the virtual machine `name` that failed with these words.
pub(crate) fn diagnose(name: &str, said: &str) -> Error {
    let found = pattern::first(RULES, |rule| rule.says, said).map(|(rule, _)| rule);
    told(found, name, &words(said))
}

/// The error for a virtual machine that this host's programs do not reach, with what helps.
pub(crate) fn no_route(name: &str) -> Error {
    told(RULES.iter().find(|rule| rule.code.id == c::NO_ROUTE.id), name, "")
}

fn told(found: Option<&Rule>, name: &str, words: &str) -> Error {
    let code = found.map_or(&c::FAILED, |rule| rule.code);
    let message = if name.is_empty() { code.title.to_owned() } else { format!("{name}: {}", code.title) };
    let error = Error::new(code, message);
    let error = if words.is_empty() { error } else { error.because(words) };
    let values = Values { texts: Captures::from([("name", name.to_owned())]), ..Values::default() };
    let unfiltered = |_: &str, value: &str| value.to_owned();
    let helps = found.into_iter().flat_map(|rule| rule.remedies);
    helps.fold(error, |error, help| error.remedy(help.remedy(&values, unfiltered)))
}

/// Its words in one line, without the frame it puts around them.
fn words(said: &str) -> String {
    const FRAME: &str = "The following errors occurred:";
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && *line != FRAME);
    let lines: Vec<&str> = lines
        .map(|line| {
            line.split_once(" failed: ")
                .filter(|(verb, _)| !verb.contains(' '))
                .map_or(line, |(_, rest)| rest)
        })
        .filter(|line| !line.is_empty() && *line != FRAME)
        .collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_leads_to_its_code() {
        for (said, code) in [
            (
                "list failed: cannot connect to the multipass socket\nPlease ensure that multipassd is running and '/var/run/multipass_socket' is accessible\n",
                &c::DAEMON_DOWN,
            ),
            ("list failed: multipass socket access denied\n", &c::SOCKET_DENIED),
            (
                "list failed: The client is not authenticated with the Multipass service.\n",
                &c::UNAUTHENTICATED,
            ),
            ("list failed: The user is not authenticated with the Multipass service.\n", &c::UNAUTHENTICATED),
            ("exec failed: ssh connection failed: 'Failed to connect: No route to host'\n", &c::NO_ROUTE),
            ("info failed: The following errors occurred:\ninstance \"vm\" does not exist\n", &c::ABSENT),
            ("start failed: instance(s) missing\nInstance 'vm' does not exist.\n", &c::ABSENT),
            (
                "start failed: The following errors occurred:\nInstance 'vm' is deleted. Use 'recover' to recover it or 'purge' to permanently delete it.\n",
                &c::DELETED,
            ),
            (
                "start failed: Instance 'vm' is already running, but in an unknown state.\nTry to stop it first.\n",
                &c::UNKNOWN_STATE,
            ),
            ("launch failed: The following errors occurred:\nvm: timed out waiting for response\n", &c::SLOW),
            (
                "launch failed: Invalid arguments supplied\nInvalid instance name supplied: a_b\n",
                &c::BAD_NAME,
            ),
            (
                "launch failed: Invalid arguments supplied\nInvalid memory size value supplied: 100M.\n",
                &c::BAD_SIZE,
            ),
            (
                "set failed: Invalid setting 'local.vm.memory=1M': Memory less than 512M minimum not allowed\n",
                &c::BAD_SIZE,
            ),
            ("launch failed: Unable to find an image matching \"x\" in remote \"\".\n", &c::NO_IMAGE),
            ("mount failed: Mounts are disabled on this installation of Multipass.\n", &c::NO_MOUNTS),
            ("launch failed: instance \"vm\" is being prepared\n", &c::PREPARING),
            ("odd\n", &c::FAILED),
        ] {
            let error = diagnose("vm", said);
            assert!(error.is(code), "{said}: {}", error.code());
        }
    }

    #[test]
    fn a_name_is_one_word_of_a_command() {
        let command = |name: &str, said: &str| {
            let error = diagnose(name, said);
            error.report().remedies.last().and_then(|remedy| remedy.command.clone())
        };
        let deleted = "Instance 'vm' is deleted. Use 'recover' to recover it.";
        assert_eq!(command("vm", deleted).as_deref(), Some("multipass delete -p vm"));
        assert_eq!(command("v; m", deleted).as_deref(), Some("multipass delete -p 'v; m'"));
        let lines = "[backend.multipass]\nsources = \"stream\"";
        assert_eq!(command("vm", "Mounts are disabled on this installation").as_deref(), Some(lines));
    }

    #[test]
    fn its_words_are_kept_without_their_frame() {
        let said = "start failed: The following errors occurred:\nvm: timed out waiting for response\n";
        assert_eq!(words(said), "vm: timed out waiting for response");
        assert_eq!(words("exec failed: ssh connection failed: 'x'\n"), "ssh connection failed: 'x'");
    }
}
