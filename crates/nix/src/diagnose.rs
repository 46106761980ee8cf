//! From what any version of Nix says to an error with a code, a cause and remedies.
//!
//! The texts are described in the table of [`rules`](crate::rules); what needs a look at the user's files is
//! in [`crate::source`].

use nixoci_core::error::Excerpt;
use nixoci_core::help::{Help, Values};
use nixoci_core::host::Host;
use nixoci_core::pattern::{self, Captures, find};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::{BuildRequest, Installable, attribute_name};
use nixoci_core::{Error, Remedy, shell};

use crate::cli::Target;
use crate::place::Place;
use crate::record::{Record, Unplaced};
use crate::reference::as_typed;
use crate::rules::{RULES, Rule, Then};
use crate::{codes, source};

/// What Nix was asked to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) host: &'a Host,
    /// The message if Nix's text is not recognised.
    failure: &'a str,
    pub(crate) build: Option<(&'a BuildRequest, &'a Target)>,
    /// Whose store Nix worked in.
    place: Option<&'a Place>,
}

impl<'a> Subject<'a> {
    /// Some command.
    pub(crate) fn command(host: &'a Host, failure: &'a str) -> Self {
        Subject { host, failure, build: None, place: None }
    }

    /// A build, or a forecast of one.
    pub(crate) fn build(host: &'a Host, request: &'a BuildRequest, target: &'a Target) -> Self {
        Subject { host, failure: "Nix failed", build: Some((request, target)), place: None }
    }

    /// The same, in this place.
    pub(crate) fn at(self, place: &'a Place) -> Self {
        Subject { place: Some(place), ..self }
    }

    /// The flake or file as the user typed it.
    pub(crate) fn reference(&self) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        match self.build.map(|(request, _)| &request.installable) {
            Some(Installable::Flake { reference, .. }) => as_typed(reference, &here),
            Some(Installable::File { path, .. }) => {
                path.strip_prefix(&here).unwrap_or(path).display().to_string()
            }
            Some(Installable::StorePath { path }) => path.to_string(),
            _ => String::new(),
        }
    }

    /// A command that builds another attribute of the same flake or file. `name` is one name, not a path.
    fn build_command(&self, name: &str) -> String {
        let name = attribute_name(name);
        match self.build {
            Some((_, Target::File { .. })) => shell!("nixoci build -f {} {}", self.reference(), name),
            _ => shell!("nixoci build {}", format!("{}#{name}", self.reference())),
        }
    }
}

/// The error for a run of Nix that failed.
pub(crate) fn diagnose(record: &Record, subject: &Subject<'_>) -> Error {
    let plain = Vec::from_iter(record.plain.iter().cloned()).join("\n");
    if let Some(error) = dropped_out(record) {
        return error;
    }
    let found = RULES.iter().find_map(|rule| {
        let mut texts = record.errors.iter().chain([&plain]);
        let hit = texts.find_map(|text| Some((text.as_str(), matched(rule, text)?)));
        let in_log = || record.tails().find_map(|line| Some(("", matched(rule, line)?)));
        hit.or_else(|| if rule.in_log { in_log() } else { None }).map(|(text, values)| (rule, text, values))
    });
    let error = match found {
        Some((rule, text, values)) => {
            let others = others(rule, &values, record);
            let error = recognised(rule, text, values, record, subject);
            if others.is_empty() {
                error
            } else {
                error.because(format!("{} failed, too", others.join(", ")))
            }
        }
        None => unrecognised(record, &plain, subject),
    };
    match record.path() {
        Some(path) => error.log_at(path),
        None => error,
    }
}

/// A machine that failed a build for a reason of its own: Nix gives the reason in one message, and says in another that the
/// build failed.
fn dropped_out(record: &Record) -> Option<Error> {
    const FAILED: &[&str] = &[
        "builder for '{drv}' failed with exit code 1",
        "Cannot build '{drv}'. Reason: builder failed with exit code 1",
    ];
    let reason =
        |text: &&String| text.contains("Nix daemon disconnected unexpectedly") || text.contains(UNSIGNED);
    let said = record.errors.iter().find(reason)?;
    let failed = |text: &String| FAILED.iter().find_map(|pattern| find(pattern, text)?.remove("drv"));
    let drv = record.errors.iter().find_map(failed)?;
    let uri = record.sent.get(&drv)?;
    let (machine, name) = (destination(uri), crate::log::store_name(&drv));
    let why = format!("{uri}: {}", words(said));
    if said.contains(UNSIGNED) {
        return Some(untrusted(machine).because(why));
    }
    let error =
        Error::new(&codes::BUILDER_LOST, format!("the connection to {machine} broke while it built {name}"));
    Some(error.because(why).remedy(Remedy::command("build again: what was finished is kept", "nixoci build")))
}

/// What a store says of a path that was built elsewhere.
const UNSIGNED: &str = "because it lacks a signature by a trusted key";

/// A machine takes what was built elsewhere from users whom it trusts.
pub(crate) fn untrusted(machine: &str) -> Error {
    let user = machine.split_once('@').map_or("USER", |(user, _)| user);
    Error::new(&codes::UNTRUSTED, format!("{machine} does not take what was built elsewhere: it does not trust its user"))
        .remedy(Remedy::lines(
            "let it trust the account that ssh logs in with, in its own /etc/nix/nix.conf, and restart its daemon",
            format!("trusted-users = root {user}"),
        ))
}

/// The derivations that failed in the same way, where Nix kept going.
fn others(rule: &Rule, first: &Captures, record: &Record) -> Vec<String> {
    // Without an exit code of its own, a derivation failed because of another.
    let (Some(first), Some(_)) = (first.get("drv"), first.get("status")) else { return Vec::new() };
    let mut drvs: Vec<String> = Vec::new();
    for values in record.errors.iter().filter_map(|text| matched(rule, text)) {
        let name =
            values.get("drv").filter(|drv| *drv != first).map(|drv| crate::log::store_name(drv).to_owned());
        drvs.extend(name.filter(|name| !drvs.contains(name)));
    }
    drvs
}

fn matched(rule: &Rule, text: &str) -> Option<Captures> {
    rule.patterns.iter().find_map(|pattern| find(pattern, text))
}

fn recognised(rule: &Rule, text: &str, found: Captures, record: &Record, subject: &Subject<'_>) -> Error {
    let values = context(found, subject);
    let drv = values.texts.get("drv").cloned();
    // A Mac that was made to believe that it is another machine, and not one that lacks an emulator.
    let mac = subject.host.system.kernel() == "darwin" && subject.place.and_then(Place::name).is_none();
    let guest = subject.place.and_then(Place::guest);
    let rule = match RULES.iter().find(|rule| rule.code.id == codes::LINUX_ON_MAC.id) {
        Some(linux_on_mac) if mac && rule.code.id == codes::EXEC_FORMAT.id => linux_on_mac,
        _ => rule,
    };
    let unplaced = record.unplaced.as_ref().filter(|unplaced| !unplaced.offered.is_empty());
    let nobody = [&codes::PLATFORM, &codes::SYSTEM_FEATURES, &codes::NO_JOBS]
        .iter()
        .any(|code| rule.code.id == code.id);
    let mut error = match rule.then {
        _ if nobody && unplaced.is_some_and(|unplaced| !unplaced.features.is_empty()) => {
            unplaced.map_or_else(|| said(rule, &values, subject), no_features)
        }
        Then::Say => said(rule, &values, subject),
        Then::Platform if !record.builders.is_empty() => builders(record),
        Then::Platform => platform(rule, &values, subject),
        Then::Source => source::missing_file(&values.texts, subject),
        Then::NoFlake => source::no_flake(&values.texts, subject),
        Then::Argument => argument(rule, &values, subject),
    };
    let words = words(text);
    if !words.is_empty() {
        error = error.because(words);
    }
    let leads = |help: &Help| help.copied().is_some_and(|copied| copied.contains("{on}"));
    let leads_there = rule.guest.unwrap_or_default().iter().any(leads);
    if let Some(guest) = guest.filter(|_| leads_there && !rule.message.contains("{here}")) {
        error = error.because(format!("that is the Nix of {}", guest.name));
    }
    if let Some(excerpt) = place(text, subject) {
        error = error.at(excerpt);
    }
    let tail = drv.map(|drv| record.tail(&drv)).unwrap_or_default();
    if tail.is_empty() { error } else { error.log(tail) }
}

/// The platform is missing because the builders that have it could not be used.
fn builders(record: &Record) -> Error {
    let names: Vec<&str> = record.builders.keys().map(|uri| destination(uri)).collect();
    let error = Error::new(&codes::BUILDER, format!("no build could be sent to {}", names.join(", ")));
    let error =
        record.builders.iter().fold(error, |error, (uri, why)| error.because(format!("{uri}: {why}")));
    names.iter().fold(error, |error, name| {
        error.remedy(Remedy::command(
            "see ssh's own reason, as root, who connects",
            shell!("sudo ssh {} true", name),
        ))
    })
}

/// What ssh is given: user and host.
fn destination(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split(['?', '/']).next().unwrap_or_default()
}

/// What remedies and messages may name besides what the text says.
fn context(mut texts: Captures, subject: &Subject<'_>) -> Values {
    let mut commands = Captures::new();
    let elsewhere = subject.place.and_then(Place::name);
    texts.insert("here", elsewhere.unwrap_or("this machine").to_owned());
    commands.insert("on", subject.place.map(Place::on).unwrap_or_default());
    let guest = subject.place.and_then(Place::guest);
    let user = guest.map(|guest| guest.user.as_str()).or_else(|| subject.host.var("USER"));
    if user.is_none() {
        // The user's shell may know it.
        commands.insert("user", "$USER".to_owned());
    }
    texts.insert("user", user.unwrap_or("USER").to_owned());
    texts.insert("backend", guest.map_or("", |guest| guest.backend).to_owned());
    texts.insert("reference", subject.reference());
    if let Some(near) = texts.get("near") {
        commands.insert("build", subject.build_command(near));
    }
    if let Some((request, target)) = subject.build {
        texts.insert("system", request.system.to_string());
        let attribute = target.attribute().unwrap_or_default().to_owned();
        texts.entry("attribute").or_insert(attribute);
    }
    Values { texts, commands }
}

/// Makes the name of a store path of `{name|store}` in the table.
fn filtered(_: &str, path: &str) -> String {
    crate::log::store_name(path)
}

fn said(rule: &Rule, values: &Values, subject: &Subject<'_>) -> Error {
    let error = Error::new(rule.code, pattern::fill(rule.message, &values.texts, filtered));
    let in_guest = rule.guest.filter(|_| subject.place.and_then(Place::guest).is_some());
    helped(error, in_guest.unwrap_or(rule.remedies), values)
}

fn helped(error: Error, ways: &[Help], values: &Values) -> Error {
    ways.iter().fold(error, |error, help| error.remedy(help.remedy(values, filtered)))
}

/// A function that lacks an argument. What is called `pkgs` is nixpkgs, and no text.
fn argument(rule: &Rule, values: &Values, subject: &Subject<'_>) -> Error {
    let value = |name| values.texts.get(name).map(String::as_str).unwrap_or_default();
    let error = said(rule, values, subject);
    if value("argument") != "pkgs" {
        return error;
    }
    let nixpkgs = format!("import <nixpkgs> {{ system = \"{}\"; }}", value("system"));
    let command = shell!("nixoci build -f {} --arg pkgs {}", value("reference"), nixpkgs);
    Error::new(rule.code, error.to_string()).remedy(Remedy::command("give it nixpkgs", command))
}

/// Nix's scheduler has machines for the system, and none of them offers the features.
fn no_features(unplaced: &Unplaced) -> Error {
    let name = unplaced.drv.strip_suffix(".drv").unwrap_or(&unplaced.drv);
    let name = name.split_once('-').map_or(name, |(_, name)| name);
    let message = format!(
        "no machine for {} offers what building {name} needs: {}",
        unplaced.system, unplaced.features
    );
    let error = unplaced.offered.iter().fold(Error::new(&codes::SYSTEM_FEATURES, message), |error, offer| {
        error.because(if offer.is_empty() {
            "one offers nothing".to_owned()
        } else {
            format!("one offers {offer}")
        })
    });
    error.remedy(Remedy::lines(
        "if a machine can do it, say so where it is listed (field 6 in /etc/nix/machines, `features` in nixoci.toml), and in \
         its own nix.conf",
        format!("system-features = {}", unplaced.features.replace(',', " ")),
    ))
}

/// Ways to build for another platform than the machine's own.
const FOREIGN: &[Help] = &[
    Help::Command(
        "teach {here} to run its programs (Debian, Ubuntu)",
        "{on}sudo apt-get install qemu-user-static",
    ),
    Help::Lines(
        "then tell Nix, in /etc/nix/nix.conf, and restart the daemon",
        "extra-platforms = {required}",
    ),
    Help::Lines("on NixOS, this does both", "boot.binfmt.emulatedSystems = [ \"{required}\" ];"),
    Help::Command("or use another backend", "nixoci backends"),
];
const NOT_FOREIGN: &[Help] = &[Help::Lines(
    "if {here} does not build for {required}, take that from its `systems` in nixoci.toml",
    "systems = [\"{current}\"]",
)];

/// Old texts say "a 'x' with features {…} is required, but I am a 'x' with features {…}" for both, a wrong
/// platform and a missing feature.
fn platform(rule: &Rule, values: &Values, subject: &Subject<'_>) -> Error {
    let value = |name| values.texts.get(name).map(String::as_str).unwrap_or_default();
    let (required, current, here) = (value("required"), value("current"), value("here"));
    if required == current {
        let message = format!(
            "building {} needs system features that {here} does not offer",
            crate::log::store_name(value("drv"))
        );
        return Error::new(&codes::SYSTEM_FEATURES, message).remedy(Remedy::lines(
            format!(
                "if {here} can do it, declare the features in its /etc/nix/nix.conf, then restart its daemon"
            ),
            "system-features = kvm big-parallel nixos-test benchmark",
        ));
    }
    let error = said(rule, values, subject);
    let systems = (required.parse::<NixSystem>(), current.parse::<NixSystem>());
    let guest = subject.place.and_then(Place::guest);
    let linux = matches!(&systems, (Ok(required), Ok(current)) if required.is_linux() && current.is_linux());
    if let (false, Some(guest)) = (linux, guest) {
        // What a guest is offered for another CPU does not help with another kernel.
        return Error::new(rule.code, error.to_string()).remedy(Remedy::lines(
            "have this machine's own Nix evaluate, and build what is for this machine, in nixoci.toml",
            format!("[backend.{}]\ntransport = \"store\"", guest.backend),
        ));
    }
    if !linux {
        return error
            .remedy(Remedy::command("see what could build it, and what each needs", "nixoci backends"));
    }
    if guest.is_some() {
        return error;
    }
    let of_a_machine = subject.place.and_then(Place::name).is_some();
    let error = if of_a_machine { helped(error, NOT_FOREIGN, values) } else { error };
    helped(error, FOREIGN, values)
}

fn unrecognised(record: &Record, plain: &str, subject: &Subject<'_>) -> Error {
    let text = record.errors.last().map_or(plain, String::as_str);
    let said = words(text);
    let said = if said.is_empty() { "Nix gave no reason".to_owned() } else { said };
    if subject.build.is_none() {
        return Error::new(&codes::COMMAND_FAILED, subject.failure).because(said);
    }
    let built = record.tails().next().is_some();
    let impure = said
        .contains("--impure")
        .then(|| Remedy::command("do what it says, if you agree", "nixoci build --impure"));
    let (code, what) =
        if built { (&codes::BUILD_FAILED, "the build") } else { (&codes::EVALUATION, "evaluation") };
    let error = Error::new(code, format!("{what} failed: {said}"));
    let error = impure.into_iter().fold(error, Error::remedy);
    match place(text, subject) {
        Some(excerpt) => error.at(excerpt),
        None => error,
    }
}

/// Nix's own words in one line: what comes after the last `error:`, without pictures of the source and without
/// what nixoci shows in its own way.
fn words(text: &str) -> String {
    const LINES: usize = 12;
    const ELSEWHERE: &[&str] = &["Output paths:", "To make it visible to Nix", "last ", "For full logs, run"];
    let after = text.rfind("error:").map_or(text, |at| &text[at + "error:".len()..]);
    let lines = after.lines().map(str::trim).filter(|line| !line.is_empty() && !is_picture(line));
    let lines = lines.take_while(|line| !ELSEWHERE.iter().any(|words| line.starts_with(words)));
    lines.take(LINES).fold(String::new(), |said, line| match said.chars().last() {
        None => line.to_owned(),
        // A new sentence on a new line, and no full stop between.
        Some(end) if !end.is_ascii_punctuation() && line.starts_with(char::is_uppercase) => {
            format!("{said}; {line}")
        }
        Some(_) => format!("{said} {line}"),
    })
}

/// `at /file:1:2:`, `1| source`, `|   ^`.
fn is_picture(line: &str) -> bool {
    let numbered = line.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('|');
    numbered || (line.starts_with("at ") && line.ends_with(':'))
}

/// The innermost place in the source that the text names.
fn place(text: &str, subject: &Subject<'_>) -> Option<Excerpt> {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let (index, place) = lines
        .iter()
        .enumerate()
        .rev()
        .find_map(|(index, line)| Some((index, line.strip_prefix("at ")?.strip_suffix(':')?)))?;
    let mut parts = place.rsplitn(3, ':');
    let column: usize = parts.next()?.parse().ok()?;
    let line: usize = parts.next()?.parse().ok()?;
    // Not a place in what nixoci itself asked.
    let file = parts.next().filter(|file| !file.starts_with('«'))?;
    let file = source::as_the_user_knows_it(file, subject);
    let text = lines[index + 1..].iter().find_map(|shown| {
        let source = shown.strip_prefix(&line.to_string())?.strip_prefix('|')?;
        Some(source.strip_prefix(' ').unwrap_or(source).to_owned())
    })?;
    Some(Excerpt { file, line, column, text, width: 1 })
}

#[cfg(test)]
#[path = "diagnose_tests.rs"]
mod tests;
