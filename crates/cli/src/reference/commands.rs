//! Every command and flag.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command, CommandFactory};

use super::escaped;
use crate::args::Cli;

pub(super) fn page() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = super::page("Command line", "What `nixoci help` prints, on one page.");
    let _ = write!(text, "\n```text\n{}\n```\n", usage(&root));
    flags(&mut text, "Global options", root.get_arguments().filter(|arg| arg.is_global_set()).collect());
    for command in shown(&root) {
        section(&mut text, command, 2);
    }
    text
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn section(text: &mut String, command: &Command, depth: usize) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let _ = write!(text, "\n{} `{name}`\n\n", "#".repeat(depth));
    if let Some(about) = command.get_about() {
        let _ = writeln!(text, "{}.", sentence(about));
    }
    let _ = write!(text, "\n```text\n{}\n```\n", usage(command));
    let own = |arg: &&Arg| {
        !arg.is_global_set() && !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
    };
    let arguments: Vec<&Arg> = command.get_arguments().filter(own).collect();
    let mut headings: Vec<&str> = Vec::new();
    for arg in &arguments {
        let heading = heading(arg);
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for wanted in headings {
        flags(text, wanted, arguments.iter().copied().filter(|arg| heading(arg) == wanted).collect());
    }
    for below in shown(command) {
        section(text, below, depth + 1);
    }
}

fn heading(arg: &Arg) -> &str {
    let plain = if arg.is_positional() { "Arguments" } else { "Options" };
    arg.get_help_heading().filter(|_| !arg.is_positional()).unwrap_or(plain)
}

fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage: ").to_owned()
}

fn flags(text: &mut String, title: &str, arguments: Vec<&Arg>) {
    let _ = write!(text, "\n**{title}**\n\n");
    for arg in arguments {
        let _ = writeln!(text, "- {}: {}", spelling(arg), help(arg));
        let values = arg.get_possible_values();
        // A switch has "true" and "false".
        for value in values.iter().filter(|value| !value.is_hide_set() && arg.get_action().takes_values()) {
            let about = value.get_help().map(|help| format!(": {}", sentence(help))).unwrap_or_default();
            let _ = writeln!(text, "  - `{}`{about}", value.get_name());
        }
    }
}

/// `-t`, `--tag <REF>`.
fn spelling(arg: &Arg) -> String {
    let aliases = arg.get_visible_aliases().unwrap_or_default();
    let short = arg.get_short().filter(|_| arg.get_long().is_some()).map(|short| format!("-{short}"));
    let long = arg.to_string();
    // More than one of it is said in words; clap's dots stand for the letter that may be repeated.
    let long = if matches!(arg.get_action(), ArgAction::Count) {
        long.trim_end_matches("...").to_owned()
    } else {
        long
    };
    let names = short.into_iter().chain([long]).chain(aliases.into_iter().map(|alias| format!("--{alias}")));
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn help(arg: &Arg) -> String {
    let mut text = arg.get_long_help().or(arg.get_help()).map(sentence).unwrap_or_default();
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        let _ = write!(text, " (default: `{}`)", defaults.join(", "));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " (variable: `{}`)", variable.to_string_lossy());
    }
    text
}

fn sentence(help: &StyledStr) -> String {
    let text: Vec<String> = help.to_string().split_whitespace().map(str::to_owned).collect();
    escaped(text.join(" ").trim_end_matches('.'))
}

#[test]
fn every_command_and_flag_is_told() {
    let mut root = Cli::command();
    root.build();
    let mut waiting: Vec<&Command> = shown(&root).collect();
    while let Some(command) = waiting.pop() {
        assert!(command.get_about().is_some(), "{} says nothing", command.get_name());
        for arg in command.get_arguments() {
            let told = arg.get_help().is_some_and(|help| !help.to_string().is_empty());
            assert!(told, "{} {} says nothing", command.get_name(), arg.get_id());
        }
        waiting.extend(shown(command));
    }
}
