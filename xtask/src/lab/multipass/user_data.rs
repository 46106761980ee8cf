//! What the daemon makes of a guest's user data.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::files;
use super::protocol::Failure;

/// How a client says that user data cannot be read: then it fails as if it had not asked.
pub(super) const UNREADABLE: &str = "Could not load cloud-init configuration: ";

/// User data as the guest gets it: with the daemon's key, and without comments.
pub(super) fn merge(user_data: &str, key: &str) -> Result<String, Failure> {
    match run(user_data, key)? {
        Ok(merged) => Ok(merged),
        Err(why) => {
            Err(Failure::new(format!("{UNREADABLE}{why}\nPlease ensure that Multipass can read it.")))
        }
    }
}

fn run(user_data: &str, key: &str) -> Result<Result<String, String>> {
    let mut python = Command::new("/usr/bin/python3")
        .arg(files().join("merge-user-data.py"))
        .arg(key)
        .env_clear()
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run python3")?;
    python.stdin.take().context("no way in")?.write_all(user_data.as_bytes())?;
    let output = python.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr).trim_end().to_owned())
    })
}
