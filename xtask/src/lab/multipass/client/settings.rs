//! `multipass get` and `set`.

use anyhow::Result;

use super::super::args::Args;
use super::super::protocol::{Ask, Failure};
use super::terminal::out;
use super::{Client, failed, wrong};

impl Client {
    pub(super) fn get(&self, args: &Args) -> Result<i32> {
        let [key] = args.words.as_slice() else {
            return Ok(wrong("Need exactly one setting key.\n"));
        };
        if let Some(own) = own_setting(key) {
            out(&format!("{own}\n"));
            return Ok(0);
        }
        Ok(match self.ask(Ask::Get { key: key.clone() })? {
            Ok(answer) => {
                let text = answer.as_str().unwrap_or_default();
                out(&format!("{}\n", if text.is_empty() { "<empty>" } else { text }));
                0
            }
            Err(failure) => setting_failed("get", &failure),
        })
    }

    pub(super) fn set(&self, args: &Args) -> Result<i32> {
        let [pair] = args.words.as_slice() else {
            return Ok(wrong("Need exactly one key-value pair (in <key>=<value> form).\n"));
        };
        let Some((key, value)) = pair.split_once('=') else {
            return Ok(wrong("Bad key-value format, need '='.\n"));
        };
        if own_setting(key).is_some() {
            return Ok(0);
        }
        Ok(match self.spin("", Ask::Set { key: key.to_owned(), value: value.to_owned() }, None)? {
            Ok(_) => 0,
            Err(failure) => setting_failed("set", &failure),
        })
    }
}

/// A key that nobody knows is the client's own to refuse.
fn setting_failed(command: &str, failure: &Failure) -> i32 {
    if failure.message.starts_with("Unrecognized settings key") {
        return wrong(&format!("{}\n", failure.message));
    }
    failed(command, failure)
}

/// What clients keep themselves.
fn own_setting(key: &str) -> Option<&'static str> {
    match key {
        "client.primary-name" => Some("primary"),
        "client.apps.windows-terminal.profiles" => Some("none"),
        _ => None,
    }
}
