//! A person's own connection.

use std::ffi::OsString;

use nixoci_core::runner::{Command, quote};

/// Opens a shell with this command of ssh's, or runs `command` there if it is not empty.
pub fn shell(ssh: Command, command: &[OsString]) -> Command {
    // Without a command, ssh asks for a terminal only if it is told to.
    let ssh = if command.is_empty() { ssh.arg("-t") } else { ssh };
    ssh.args(command.iter().map(|word| quote(word))).interactive()
}
