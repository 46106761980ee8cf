//! `multipass get` and `set`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::super::args::Args;
use super::super::launch::valid_name;
use super::super::protocol::{Ask, Failure};
use super::terminal::out;
use super::{Client, failed, wrong};

/// The one setting that clients keep themselves, and what it is unless somebody has set it.
const PRIMARY: (&str, &str) = ("client.primary-name", "primary");

impl Client {
    pub(super) fn get(&self, args: &Args) -> Result<i32> {
        let key = match args.words.as_slice() {
            [] if args.has("keys") => return self.keys(None),
            [key] if args.has("keys") => return self.keys(Some(key)),
            [key] => key,
            [] => {
                return Ok(wrong(
                    "Multiple settings not implemented yet. Please try again with one setting key or just the `--keys` \
                     option for now.\n",
                ));
            }
            _ => return Ok(wrong("Need at most one setting key.\n")),
        };
        let raw = args.has("raw");
        let shown = |text: &str| format!("{}\n", if text.is_empty() && !raw { "<empty>" } else { text });
        if key == PRIMARY.0 {
            out(&shown(&self.primary()));
            return Ok(0);
        }
        Ok(match self.ask(Ask::Get { key: key.clone() })? {
            Ok(answer) => {
                out(&shown(answer.as_str().unwrap_or_default()));
                0
            }
            Err(failure) => setting_failed("get", &failure),
        })
    }

    /// All keys, or one of them, if it is known.
    fn keys(&self, wanted: Option<&String>) -> Result<i32> {
        let answer = match self.ask(Ask::Keys)? {
            Ok(answer) => answer,
            Err(failure) => return Ok(failed("get", &failure)),
        };
        let mut keys: Vec<String> = serde_json::from_value(answer)?;
        keys.push(PRIMARY.0.to_owned());
        keys.sort();
        match wanted {
            None => out(&keys.iter().map(|key| format!("{key}\n")).collect::<String>()),
            Some(key) if keys.contains(key) => out(&format!("{key}\n")),
            Some(key) => return Ok(wrong(&format!("Unrecognized settings key: '{key}'\n"))),
        }
        Ok(0)
    }

    pub(super) fn set(&self, args: &Args) -> Result<i32> {
        let [pair] = args.words.as_slice() else {
            return Ok(wrong("Need exactly one key-value pair (in <key>=<value> form).\n"));
        };
        let Some((key, value)) = pair.split_once('=') else {
            return Ok(wrong("Bad key-value format, need '='.\n"));
        };
        if key == PRIMARY.0 {
            if !value.is_empty() && !valid_name(value) {
                return Ok(wrong(&format!("Invalid setting '{pair}': Invalid hostname\n")));
            }
            let file = settings_file();
            fs::create_dir_all(file.parent().context("a file without a directory")?)?;
            fs::write(file, format!("[client]\nprimary-name={value}\n"))?;
            return Ok(0);
        }
        Ok(match self.spin("", Ask::Set { key: key.to_owned(), value: value.to_owned() }, None)? {
            Ok(_) => 0,
            Err(failure) => setting_failed("set", &failure),
        })
    }

    /// The name of the instance that commands without a name are about.
    pub(in super::super) fn primary(&self) -> String {
        let text = fs::read_to_string(settings_file()).unwrap_or_default();
        let set = text.lines().find_map(|line| line.strip_prefix("primary-name="));
        set.unwrap_or(PRIMARY.1).to_owned()
    }
}

/// This user's settings, where upstream's client has them on Linux.
fn settings_file() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    home.join(".config/multipass/multipass.conf")
}

/// A key that nobody knows is the client's own to refuse.
fn setting_failed(command: &str, failure: &Failure) -> i32 {
    if failure.message.starts_with("Unrecognized settings key") {
        return wrong(&format!("{}\n", failure.message));
    }
    failed(command, failure)
}
