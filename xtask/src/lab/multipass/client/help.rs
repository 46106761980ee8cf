//! What `multipass help` says.

use super::super::Profile;
use super::super::args::Args;
use super::terminal::out;
use super::{Client, wrong};

/// Commands with what people read about them.
const COMMANDS: [(&str, &str); 28] = [
    ("alias", "Create an alias"),
    ("aliases", "List available aliases"),
    ("authenticate", "Authenticate client"),
    ("clone", "Clone an instance"),
    ("delete", "Delete instances and snapshots"),
    ("exec", "Run a command on an instance"),
    ("find", "Display available images to create instances from"),
    ("get", "Get a configuration setting"),
    ("help", "Display help about a command"),
    ("info", "Display information about instances or snapshots"),
    ("launch", "Create and start an Ubuntu instance"),
    ("list", "List all available instances or snapshots"),
    ("mount", "Mount a local directory in the instance"),
    ("networks", "List available network interfaces"),
    ("prefer", "Switch the current alias context"),
    ("purge", "Purge all deleted instances permanently"),
    ("recover", "Recover deleted instances"),
    ("restart", "Restart instances"),
    ("restore", "Restore an instance from a snapshot"),
    ("set", "Set a configuration setting"),
    ("shell", "Open a shell on an instance"),
    ("snapshot", "Take a snapshot of an instance"),
    ("start", "Start instances"),
    ("stop", "Stop running instances"),
    ("suspend", "Suspend running instances"),
    ("transfer", "Transfer files between the host and instances"),
    ("umount", "Unmount a directory from an instance"),
    ("unalias", "Remove aliases"),
];
/// Commands that only 1.17 has.
const NEWER: [(&str, &str); 4] = [
    ("disable-zones", "Make zones unavailable"),
    ("enable-zones", "Make zones available"),
    ("wait-ready", "Wait for the Multipass daemon to be ready"),
    ("zones", "List all availability zones"),
];
const VERSION: (&str, &str) = ("version", "Show version details");

/// Whether a version has such a command.
pub(super) fn knows(profile: Profile, name: &str) -> bool {
    let newer = NEWER.iter().any(|(known, _)| *known == name);
    about(name).is_some() && (!newer || profile == Profile::V17)
}

fn about(name: &str) -> Option<&'static str> {
    let found = COMMANDS.iter().chain(&NEWER).chain([&VERSION]).find(|(known, _)| *known == name);
    found.map(|(_, about)| *about)
}

impl Client {
    pub(super) fn help_about(&self, args: &Args) -> i32 {
        match args.words.first().map(String::as_str) {
            None => out(&self.help()),
            Some(name) if knows(self.profile, name) => {
                out(&command_help(name));
            }
            Some(name) => {
                return wrong(&format!("Error: Unknown Command: {name}\n"));
            }
        }
        0
    }

    pub(super) fn help(&self) -> String {
        let mut text = "Usage: multipass [options] <command>\n\
                        Create, control and connect to Ubuntu instances.\n\n\
                        This is a command line utility for multipass, a\n\
                        service that manages Ubuntu instances.\n\n\
                        Options:\n\
                        \x20 -h, --help     Displays help on commandline options\n\
                        \x20 -v, --verbose  Increase logging verbosity. Repeat the 'v' in the short option\n\
                        \x20                for more detail. Maximum verbosity is obtained with 4 (or more)\n\
                        \x20                v's, i.e. -vvvv.\n\n\
                        Available commands:\n"
            .to_owned();
        let newer = if self.profile == Profile::V17 { &NEWER[..] } else { &[] };
        for (name, about) in COMMANDS.iter().chain([&VERSION]).chain(newer) {
            text.push_str(&format!("  {name:<12}  {about}\n"));
        }
        text
    }
}

pub(super) fn command_help(name: &str) -> String {
    format!(
        "Usage: multipass {name} [options]\n{}.\n\nOptions:\n  -h, --help     Displays help on commandline options\n",
        about(name).unwrap_or_default()
    )
}
