//! The program `multipass`: it reads arguments, asks the daemon, and says what came of it.

mod help;
mod launch;
mod mount;
mod settings;
mod terminal;
mod zones;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{getegid, geteuid};
use serde_json::Value;

use super::args::{Args, Opt, flag, value};
use super::json::Json;
use super::protocol::{Answer, Ask, Failure, Request, send};
use super::yaml::Yaml;
use super::{HOST, Profile, SOCKET, exec, timestamp};
use terminal::Spinner;
pub(super) use terminal::{err, out};

const FAILED: i32 = 2;
const WRONG_ARGUMENTS: i32 = 1;
const TIMED_OUT: i32 = 5;

const ALL: Opt = flag("", "all");
/// The values of `--format`.
const FORMATS: [&str; 4] = ["table", "json", "csv", "yaml"];
const FORMAT: Opt = value("", "format");
const TIMEOUT: Opt = value("", "timeout");

/// Connects, asks, and passes on what is said until it is done. The error is the daemon's word, or that there is none.
pub(super) fn ask(
    stream: &UnixStream,
    profile: Profile,
    ask: Ask,
    tell: &mut dyn FnMut(Option<Answer>),
) -> Result<Result<Value, Failure>> {
    let request = Request { profile, host: host(), uid: geteuid().as_raw(), gid: getegid().as_raw(), ask };
    send(stream, &request)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(Err(Failure::new("cannot connect to the multipass socket"))),
            Ok(_) if line.ends_with(b"\n") => match serde_json::from_slice(&line)? {
                Answer::Done(value) => return Ok(Ok(value)),
                Answer::Fail(failure) => return Ok(Err(failure)),
                answer => {
                    tell(Some(answer));
                    line.clear();
                }
            },
            Ok(_) => {}
            // Time for the spinner to turn.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => tell(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn host() -> String {
    fs::read_to_string(HOST).unwrap_or_default()
}

/// This client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) profile: Profile,
}

/// The program. The number is its exit status.
pub(crate) fn run(profile: Profile, words: &[String]) -> Result<i32> {
    let client = Client { profile };
    let at = words.iter().position(|word| !word.starts_with('-'));
    if words.iter().take(at.unwrap_or(words.len())).any(|word| word == "-V" || word == "--version") {
        return client.version(&Args::default());
    }
    let Some(at) = at else {
        out(&client.help());
        let asked = words.iter().any(|word| word == "-h" || word == "--help");
        return Ok(if asked { 0 } else { FAILED });
    };
    // Options may come before the command.
    let rest = [&words[..at], &words[at + 1..]].concat();
    client.command(&words[at], &rest)
}

impl Client {
    fn command(&self, name: &str, rest: &[String]) -> Result<i32> {
        let options: &[Opt] = match name {
            "launch" => &[
                value("n", "name"),
                value("c", "cpus"),
                value("m", "memory"),
                value("", "mem"),
                value("d", "disk"),
                value("", "cloud-init"),
                value("", "mount"),
                value("", "network"),
                flag("", "bridged"),
                value("", "zone"),
                TIMEOUT,
            ],
            "info" => &[FORMAT, flag("", "no-runtime-information"), flag("", "snapshots")],
            "list" | "ls" => &[FORMAT, flag("", "no-ipv4"), flag("", "snapshots")],
            "start" | "restart" => &[ALL, TIMEOUT],
            "stop" => &[ALL, flag("", "force"), value("t", "time"), flag("c", "cancel")],
            "suspend" | "recover" => &[ALL],
            "delete" => &[ALL, flag("p", "purge")],
            "exec" => &[value("d", "working-directory"), flag("n", "no-map-working-directory")],
            "shell" | "sh" | "connect" | "wait-ready" => &[TIMEOUT],
            "mount" => &[value("t", "type"), value("u", "uid-map"), value("g", "gid-map")],
            "get" => &[flag("", "raw"), flag("", "keys")],
            "version" | "networks" | "aliases" | "zones" => &[FORMAT],
            "enable-zones" => &[ALL],
            "disable-zones" => &[ALL, flag("", "force")],
            "find" => &[FORMAT, flag("", "show-unsupported"), flag("", "force-update")],
            _ => &[],
        };
        if !help::knows(self.profile, name) && !["ls", "sh", "connect"].contains(&name) {
            out(&format!("Error: Unknown command or alias '{name}' (try \"multipass help\")\n"));
            return Ok(WRONG_ARGUMENTS);
        }
        let args = match Args::parse(rest, options) {
            Ok(args) => args,
            Err((why, args)) => {
                err(&format!("{why}\n"));
                if name == "exec" && !args.dashes && why.starts_with("Unknown") {
                    err("\nOptions to the inner command should come after \"--\", like this:\n\
                         multipass exec <instance> -- <command> <arguments>\n");
                }
                return Ok(WRONG_ARGUMENTS);
            }
        };
        if args.has("help") {
            out(&help::command_help(name));
            return Ok(0);
        }
        self.parsed(name, &args)
    }

    fn parsed(&self, name: &str, args: &Args) -> Result<i32> {
        let names = args.words.clone();
        let all = args.has("all");
        let selects = ["start", "stop", "suspend", "restart", "delete", "recover"].contains(&name);
        if selects && names.is_empty() && !all {
            // These take the primary instance, where there is one.
            if ["delete", "recover"].contains(&name) {
                return Ok(wrong("Name argument or --all is required\n"));
            }
            return match self.primary() {
                primary if primary.is_empty() => Ok(wrong("Name argument or --all is required\n")),
                primary => self.command(name, &[primary]),
            };
        }
        if selects && all && !names.is_empty() {
            let plural = if names.len() > 1 { "s" } else { "" };
            return Ok(wrong(&format!("Cannot specify name{plural} when --all option set\n")));
        }
        let timeout = match timeout(args) {
            Ok(timeout) => timeout,
            Err(()) => return Ok(wrong("error: --timeout value has to be a positive integer\n")),
        };
        match name {
            "help" => Ok(self.help_about(args)),
            "version" => self.version(args),
            "launch" => self.launch(args, timeout),
            "start" => self.start(names, all, timeout),
            "stop" => self.work(
                name,
                &action("Stopping", &names),
                Ask::Stop { names, all, force: args.has("force") },
                None,
            ),
            "suspend" => self.work(name, &action("Suspending", &names), Ask::Suspend { names, all }, None),
            "restart" => {
                let late = timeout.map(|seconds| (seconds, "Timed out waiting for instance to restart."));
                self.work(name, &action("Restarting", &names), Ask::Restart { names, all, timeout }, late)
            }
            "delete" => self.work(name, "", Ask::Delete { names, all, purge: args.has("purge") }, None),
            "recover" => self.work(name, "", Ask::Recover { names, all }, None),
            "purge" => self.work(name, "", Ask::Purge, None),
            "info" => {
                self.show(name, args, Ask::Info { names, runtime: !args.has("no-runtime-information") })
            }
            "list" | "ls" => self.list(args),
            "find" => self.find(args),
            "zones" => self.show(name, args, Ask::Zones),
            "enable-zones" => self.set_zones(name, args, true),
            "disable-zones" => self.set_zones(name, args, false),
            "exec" => exec::exec(*self, args),
            "shell" | "sh" | "connect" => exec::shell(*self, args),
            "mount" => self.mount(args),
            "umount" => self.umount(args),
            "get" => self.get(args),
            "set" => self.set(args),
            "authenticate" => self.work(name, "", Ask::Authenticate, None),
            "wait-ready" => self.wait_ready(timeout),
            _ => {
                err(&format!("{name} failed: the lab's multipass does not know it\n"));
                Ok(FAILED)
            }
        }
    }

    /// Asks, with nothing to see meanwhile.
    pub(super) fn ask(&self, ask: Ask) -> Result<Result<Value, Failure>> {
        self.ask_telling(ask, &mut |_| ())
    }

    fn ask_telling(&self, what: Ask, tell: &mut dyn FnMut(Option<Answer>)) -> Result<Result<Value, Failure>> {
        let address = std::env::var("MULTIPASS_SERVER_ADDRESS").ok().filter(|address| !address.is_empty());
        let socket = address.as_deref().map_or(SOCKET, |text| text.strip_prefix("unix:").unwrap_or(text));
        match UnixStream::connect(socket) {
            Ok(stream) => ask(&stream, self.profile, what, tell),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(Err(Failure::details(
                "multipass socket access denied",
                format!("Please check that you have read/write permissions to '{socket}'"),
            ))),
            Err(_) => Ok(Err(Failure::details(
                "cannot connect to the multipass socket",
                format!("Please ensure multipassd is running and '{socket}' is accessible"),
            ))),
        }
    }

    /// Asks, with a spinner, for as long as the caller is patient.
    fn spin(&self, first: &str, ask: Ask, late: Option<(u64, &str)>) -> Result<Result<Value, Failure>> {
        let deadline = late.map(|(seconds, text)| (Instant::now() + Duration::from_secs(seconds), text));
        let mut spinner = Spinner::default();
        if !first.is_empty() {
            spinner.start(first);
        }
        let outcome = self.ask_telling(ask, &mut |answer| {
            match answer {
                Some(Answer::Say(text)) => spinner.start(&text),
                Some(Answer::Warn(text)) => {
                    spinner.stop();
                    err(&text);
                }
                _ => spinner.turn(),
            }
            if let Some((_, text)) = deadline.filter(|(deadline, _)| Instant::now() > *deadline) {
                spinner.stop();
                err(&format!("{text}\n"));
                std::process::exit(TIMED_OUT);
            }
        });
        spinner.stop();
        outcome
    }

    /// A command that says nothing when it succeeds.
    fn work(&self, name: &str, first: &str, ask: Ask, late: Option<(u64, &str)>) -> Result<i32> {
        let outcome = if first.is_empty() { self.ask(ask)? } else { self.spin(first, ask, late)? };
        Ok(match outcome {
            Ok(_) => 0,
            Err(failure) => failed(name, &failure),
        })
    }

    pub(super) fn start(&self, names: Vec<String>, all: bool, timeout: Option<u64>) -> Result<i32> {
        let late = timeout.map(|seconds| (seconds, "Timed out waiting for instance to start."));
        self.work("start", &action("Starting", &names), Ask::Start { names, all, timeout }, late)
    }

    fn list(&self, args: &Args) -> Result<i32> {
        let (snapshots, addresses) = (args.has("snapshots"), !args.has("no-ipv4"));
        if !args.words.is_empty() {
            return Ok(wrong("This command takes no arguments\n"));
        }
        if snapshots && !addresses {
            return Ok(wrong("IP addresses are not applicable in conjunction with listing snapshots\n"));
        }
        self.show("list", args, if snapshots { Ask::Snapshots } else { Ask::List { addresses } })
    }

    fn find(&self, args: &Args) -> Result<i32> {
        let words: Vec<&str> = match args.words.as_slice() {
            [] => vec![],
            [one] => one.split(':').collect(),
            _ => return Ok(wrong("Wrong number of arguments\n")),
        };
        let (remote, search) = match words[..] {
            [] => ("", ""),
            [search] => ("", search),
            [remote, search] => (remote, search),
            _ => return Ok(wrong("Invalid remote and search string supplied\n")),
        };
        self.show("find", args, Ask::Find { remote: remote.to_owned(), search: search.to_owned() })
    }

    /// A command whose answer comes in every format.
    fn show(&self, name: &str, args: &Args, ask: Ask) -> Result<i32> {
        let format = args.get("format").unwrap_or("table");
        if !FORMATS.contains(&format) {
            return Ok(wrong("Invalid format type given.\n"));
        }
        Ok(match self.ask(ask)? {
            Ok(answer) => {
                out(answer[format].as_str().unwrap_or_default());
                0
            }
            Err(failure) => failed(name, &failure),
        })
    }

    fn version(&self, args: &Args) -> Result<i32> {
        let own = self.profile.version(&host());
        let daemon = self.ask(Ask::Version)?.ok();
        let daemon = daemon.as_ref().and_then(Value::as_str);
        let both = [("multipass", Some(own.as_str())), ("multipassd", daemon)];
        let known = both.iter().filter_map(|(name, version)| Some((*name, (*version)?)));
        out(&match args.get("format").unwrap_or("table") {
            "json" => Json::map(known.map(|(name, text)| (name, Json::text(text)))).print(self.profile),
            "yaml" => Yaml::map(known.map(|(name, text)| (name, Yaml::text(text)))).print(),
            "csv" => format!(
                "Multipass,Multipassd,Title,Description,URL\n{own},{},,,\n",
                daemon.unwrap_or_default()
            ),
            "table" => known.map(|(name, text)| format!("{name:<12}{text}\n")).collect(),
            _ => return Ok(wrong("Invalid format type given.\n")),
        });
        Ok(0)
    }

    /// It also waits for the servers that images come from: without a network it waits until it is told not to.
    fn wait_ready(&self, timeout: Option<u64>) -> Result<i32> {
        let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut spinner = Spinner::default();
        spinner.start("Waiting for Multipass daemon to be ready");
        while deadline.is_none_or(|deadline| Instant::now() < deadline) {
            std::thread::sleep(Duration::from_millis(100));
            spinner.turn();
        }
        spinner.stop();
        err("Timed out waiting for Multipass daemon to be ready.\n");
        Ok(TIMED_OUT)
    }
}

/// Says how a request failed, in the form that all commands have.
pub(super) fn failed(command: &str, failure: &Failure) -> i32 {
    err(&format!("{command} failed: {}\n", failure.message));
    if !failure.details.is_empty() {
        err(&format!("{}\n", failure.details));
    }
    FAILED
}

pub(super) fn wrong(text: &str) -> i32 {
    err(text);
    WRONG_ARGUMENTS
}

/// The text and the exit code of an exception that upstream's client does not handle.
pub(super) fn unhandled(what: &str) -> i32 {
    wrong(&format!("[{}] [error] [client] Caught an unhandled exception: {what}\n", timestamp::now()))
}

fn action(what: &str, names: &[String]) -> String {
    match names {
        [] => format!("{what} all instances"),
        [one] => format!("{what} {one}"),
        _ => format!("{what} requested instances"),
    }
}

fn timeout(args: &Args) -> Result<Option<u64>, ()> {
    match args.get("timeout") {
        None => Ok(None),
        Some(text) => text.parse().ok().filter(|seconds| *seconds > 0).map(Some).ok_or(()),
    }
}
