//! `multipass enable-zones` and `disable-zones`.

use std::io::{BufRead, IsTerminal};

use anyhow::Result;

use super::super::args::Args;
use super::super::protocol::Ask;
use super::super::zones::ZONES;
use super::terminal::out;
use super::{Client, FAILED, failed, unhandled, wrong};

impl Client {
    pub(super) fn set_zones(&self, name: &str, args: &Args, on: bool) -> Result<i32> {
        let (zones, all) = (args.words.clone(), args.has("all"));
        if zones.is_empty() && !all {
            return Ok(wrong("Name argument or --all is required\n"));
        }
        if let Some(code) = unknown_zones(&zones) {
            return Ok(code);
        }
        if !on && !args.has("force") {
            if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
                return Ok(unhandled(
                    "Unable to query client for confirmation. Use '--force' to forcefully make unavailable all instances in the \
                     specified zones.",
                ));
            }
            let what = if all { "all zones".to_owned() } else { zones.join(" and ") };
            out(&format!(
                "This operation will forcefully stop the VMs in {what}. Are you sure you want to continue? (Yes/no): "
            ));
            let mut answer = String::new();
            std::io::stdin().lock().read_line(&mut answer)?;
            if !["", "y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
                return Ok(FAILED);
            }
        }
        let (doing, done) = if on { ("Enabling", "enabled") } else { ("Disabling", "disabled") };
        let plural = if zones.len() == 1 { "" } else { "s" };
        let first = if all { format!("{doing} all zones") } else { format!("{doing} {}", zones.join(", ")) };
        let last = if all {
            format!("All zones {done}\n")
        } else {
            format!("Zone{plural} {done}: {}\n", zones.join(", "))
        };
        Ok(match self.spin(&first, Ask::SetZones { names: zones, on }, None)? {
            Ok(_) => {
                out(&last);
                0
            }
            Err(failure) => failed(name, &failure),
        })
    }
}

/// Says which of these are no zones.
pub(super) fn unknown_zones(names: &[String]) -> Option<i32> {
    let unknown: Vec<&str> = names.iter().map(String::as_str).filter(|name| !ZONES.contains(name)).collect();
    if unknown.is_empty() {
        return None;
    }
    let plural = if unknown.len() > 1 { "s" } else { "" };
    super::err(&format!("No AZ{plural} with name{plural}: {}\n", unknown.join(", ")));
    Some(FAILED)
}
