//! The program `multipass`: it reads arguments, asks the daemon, and says what came of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{getegid, geteuid};
use serde_json::Value;

use super::args::{Args, Opt, flag, value};
use super::json::Json;
use super::protocol::{Answer, Ask, Failure, Launch, Mount, Pair, Request, send};
use super::{HOST, Profile, SOCKET, exec, transfer, user_data};

const FAILED: i32 = 2;
const WRONG_ARGUMENTS: i32 = 1;
const TIMED_OUT: i32 = 5;

const ALL: Opt = flag("", "all");
const FORMAT: Opt = value("", "format");
const TIMEOUT: Opt = value("", "timeout");

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
const WAIT_READY: (&str, &str) = ("wait-ready", "Wait for the Multipass daemon to be ready");
const VERSION: (&str, &str) = ("version", "Show version details");

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

/// The host that we are on.
/// As `uname` on PATH would say.
fn has_apples_cpu() -> bool {
    let intel = || std::env::var("PATH").is_ok_and(|path| path.contains("/lab/doubles/intel"));
    host().starts_with(super::Machine::Mac.name()) && !intel()
}

fn host() -> String {
    fs::read_to_string(HOST).unwrap_or_default()
}

/// What turns on stdout while the daemon works, terminal or not.
#[derive(Debug, Default)]
struct Spinner {
    turns: Option<usize>,
}

const CLEAR: &str = "\x1b[2K\x1b[0A\x1b[0E";

impl Spinner {
    fn start(&mut self, text: &str) {
        self.stop();
        out(&format!("{CLEAR}{text}  "));
        self.turns = Some(0);
        self.turn();
    }

    fn turn(&mut self) {
        if let Some(turns) = &mut self.turns {
            *turns += 1;
            out(&format!("\u{8}{}", ["|", "/", "-", "\\"][*turns % 4]));
        }
    }

    fn stop(&mut self) {
        if self.turns.take().is_some() {
            out("\u{8} ");
        }
        out(CLEAR);
    }
}

/// Writes to stdout at once. That nobody reads is no reason to stop.
pub(super) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

pub(super) fn err(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
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
            "transfer" | "copy-files" => &[flag("r", "recursive"), flag("p", "parents")],
            "mount" => &[value("t", "type"), value("u", "uid-map"), value("g", "gid-map")],
            "get" => &[flag("", "raw"), flag("", "keys")],
            "version" | "networks" | "aliases" => &[FORMAT],
            "find" => &[FORMAT, flag("", "show-unsupported"), flag("", "force-update")],
            _ => &[],
        };
        let hidden = self.profile == Profile::V16 && name == WAIT_READY.0;
        let known = COMMANDS.iter().chain([&WAIT_READY, &VERSION]).any(|(known, _)| *known == name)
            || ["ls", "sh", "connect", "copy-files"].contains(&name);
        if hidden || !known {
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
            out(&command_help(name));
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
            return self.command(name, &["primary".to_owned()]);
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
            "list" | "ls" => self.show("list", args, Ask::List { addresses: !args.has("no-ipv4") }),
            "find" => self.show(name, args, Ask::Find),
            "exec" => exec::exec(*self, args),
            "shell" | "sh" | "connect" => exec::shell(*self, args),
            "transfer" | "copy-files" => transfer::transfer(*self, args),
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

    /// A command whose answer has two forms.
    fn show(&self, name: &str, args: &Args, ask: Ask) -> Result<i32> {
        let format = args.get("format").unwrap_or("table");
        if !["table", "json"].contains(&format) {
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
        if args.get("format") == Some("json") {
            let mut entries = vec![("multipass", Json::text(&own))];
            entries.extend(daemon.map(|daemon| ("multipassd", Json::text(daemon))));
            out(&Json::map(entries).print(self.profile));
        } else {
            out(&format!("multipass   {own}\n"));
            out(&daemon.map(|daemon| format!("multipassd  {daemon}\n")).unwrap_or_default());
        }
        Ok(0)
    }

    fn launch(&self, args: &Args, timeout: Option<u64>) -> Result<i32> {
        if args.words.len() > 1 {
            return Ok(wrong("Too many arguments supplied\n"));
        }
        if self.profile == Profile::V17 && args.has("mem") || self.profile == Profile::V16 && args.has("zone")
        {
            let name = if args.has("mem") { "mem" } else { "zone" };
            return Ok(wrong(&format!("Unknown option '{name}'.\n")));
        }
        let mut wanted = match request(args, timeout) {
            Ok(wanted) => wanted,
            Err(why) => return Ok(wrong(&why)),
        };
        // A size that is none at all never gets as far as the daemon.
        for size in [&wanted.memory, &wanted.disk].into_iter().flatten() {
            if super::size::parse(size).is_none() && !size.starts_with(|first: char| first.is_ascii_digit()) {
                err(&format!(
                    "[{}] [error] [client] Caught an unhandled exception: {size} is not a valid memory size\n",
                    transfer::now()
                ));
                return Ok(1);
            }
        }
        let mounts = args.all("mount");
        for mount in mounts {
            if let Err(why) = source_of(mount.split(':').next().unwrap_or_default(), "Mount source") {
                return Ok(wrong(&why));
            }
        }
        if let Some(file) = args.get("cloud-init") {
            match user_data_from(file) {
                Ok(text) => wanted.user_data = Some(text),
                Err(why) => return Ok(wrong(&why)),
            }
        }
        let late = timeout.map(|seconds| (seconds, "Timed out waiting for instance launch."));
        let answer = match self.spin("", Ask::Launch(wanted), late)? {
            Ok(answer) => answer,
            Err(failure) if failure.message.starts_with(user_data::UNREADABLE) => {
                return Ok(wrong(&format!("{}\n", failure.message)));
            }
            Err(failure) => return Ok(failed("launch", &failure)),
        };
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        out(&format!("Launched: {}\n", text("launched")));
        for mount in mounts {
            let (source, target) = mount.split_once(':').unwrap_or((mount, ""));
            let target = if target.is_empty() { text("name") } else { format!("{}:{target}", text("name")) };
            let code = self.command("mount", &[source.to_owned(), target.clone()])?;
            if code != 0 {
                return Ok(code);
            }
            out(&format!("Mounted '{source}' into '{target}'\n"));
        }
        Ok(0)
    }

    fn mount(&self, args: &Args) -> Result<i32> {
        let [source, targets @ ..] = args.words.as_slice() else {
            return Ok(wrong("Not enough arguments given\n"));
        };
        if targets.is_empty() {
            return Ok(wrong("Not enough arguments given\n"));
        }
        let native = match args.get("type").unwrap_or("classic") {
            "classic" => false,
            "native" => true,
            _ => return Ok(wrong("Bad mount type specified, please use 'classic' or 'native'.\n")),
        };
        let source = match source_of(source, "Source") {
            Ok(source) => source,
            Err(why) => return Ok(wrong(&why)),
        };
        let maps = id_maps(args.all("uid-map"), geteuid().as_raw(), "UID")
            .and_then(|uids| Ok((uids, id_maps(args.all("gid-map"), getegid().as_raw(), "GID")?)));
        let (uids, gids) = match maps {
            Ok(maps) => maps,
            Err(why) => return Ok(wrong(&why)),
        };
        for target in targets {
            let (name, target) = match target.split_once(':') {
                Some((name, target)) => (name, Some(target.to_owned())),
                None => (target.as_str(), None),
            };
            let wanted = Mount {
                name: name.to_owned(),
                source: source.display().to_string(),
                target,
                native,
                uids: uids.clone(),
                gids: gids.clone(),
            };
            let code =
                self.work("mount", &format!("Mounting {}", source.display()), Ask::Mount(wanted), None)?;
            if code != 0 {
                return Ok(code);
            }
        }
        Ok(0)
    }

    fn umount(&self, args: &Args) -> Result<i32> {
        if args.words.is_empty() {
            return Ok(wrong("Not enough arguments given\n"));
        }
        for word in &args.words {
            let (name, target) =
                word.split_once(':').map_or((word.as_str(), None), |(n, t)| (n, Some(t.to_owned())));
            let code = self.work("umount", "", Ask::Umount { name: name.to_owned(), target }, None)?;
            if code != 0 {
                return Ok(code);
            }
        }
        Ok(0)
    }

    fn get(&self, args: &Args) -> Result<i32> {
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

    fn set(&self, args: &Args) -> Result<i32> {
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

    fn help_about(&self, args: &Args) -> i32 {
        match args.words.first().map(String::as_str) {
            None => out(&self.help()),
            Some(name) if COMMANDS.iter().chain([&WAIT_READY, &VERSION]).any(|(known, _)| *known == name) => {
                out(&command_help(name));
            }
            Some(name) => {
                return wrong(&format!("Error: Unknown Command: {name}\n"));
            }
        }
        0
    }

    fn help(&self) -> String {
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
        let newer = (self.profile == Profile::V17).then_some(&WAIT_READY);
        for (name, about) in COMMANDS.iter().chain([&VERSION]).chain(newer) {
            text.push_str(&format!("  {name:<12}  {about}\n"));
        }
        text
    }
}

fn command_help(name: &str) -> String {
    let about = COMMANDS.iter().chain([&WAIT_READY, &VERSION]).find(|(known, _)| *known == name);
    format!(
        "Usage: multipass {name} [options]\n{}.\n\nOptions:\n  -h, --help     Displays help on commandline options\n",
        about.map_or("", |(_, about)| about)
    )
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

/// What `launch` is asked for, as far as arguments say.
fn request(args: &Args, timeout: Option<u64>) -> Result<Launch, String> {
    let (remote, image) = image_of(args.words.first().map_or("", String::as_str))?;
    let cpus = match args.get("cpus") {
        None => None,
        Some(text) => match text.parse() {
            Ok(cpus) if cpus >= 1 => Some(cpus),
            _ => return Err("error: Invalid CPU count, need a positive integer value.\n".to_owned()),
        },
    };
    let text = |name: &str| args.get(name).map(str::to_owned);
    Ok(Launch {
        name: text("name"),
        cpus,
        memory: text("memory").or_else(|| text("mem")),
        disk: text("disk"),
        remote,
        image,
        user_data: None,
        timeout,
        arm: has_apples_cpu(),
    })
}

/// `[REMOTE:]IMAGE`, or an address.
fn image_of(text: &str) -> Result<(String, String), String> {
    if let Some(path) = text.strip_prefix("file://") {
        let path = std::path::absolute(path).map_err(|error| format!("error: {error}\n"))?;
        return Ok((String::new(), format!("file://{}", path.display())));
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok((String::new(), text.to_owned()));
    }
    match text.split(':').collect::<Vec<_>>()[..] {
        [image] => Ok((String::new(), image.to_owned())),
        [remote, image] => Ok((remote.to_owned(), image.to_owned())),
        _ => Err("Invalid remote and source image name supplied\n".to_owned()),
    }
}

fn user_data_from(file: &str) -> Result<String, String> {
    let unreadable =
        |why: String| format!("{}{why}\nPlease ensure that Multipass can read it.\n", user_data::UNREADABLE);
    if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
        return Ok(text);
    }
    if file.starts_with("http://") || file.starts_with("https://") {
        return Err(unreadable(format!("failed to download from '{file}': Host not found")));
    }
    fs::read_to_string(file).map_err(|_| unreadable(format!("bad file: {file}")))
}

/// A directory that can be mounted, made absolute.
fn source_of(text: &str, what: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let problem = if !path.exists() {
        "does not exist"
    } else if !path.is_dir() {
        "is not a directory"
    } else if fs::read_dir(path).is_err() {
        "is not readable"
    } else {
        return std::path::absolute(path).map_err(|error| format!("{error}\n"));
    };
    let what = if what == "Source" { "Source path" } else { "Mount source path" };
    Err(format!("{what} \"{text}\" {problem}\n"))
}

/// The maps of one kind of id, of which the caller's own is what there is without any.
fn id_maps(given: &[String], own: u32, what: &str) -> Result<Vec<Pair>, String> {
    if given.is_empty() {
        return Ok(vec![Pair(own, None)]);
    }
    let parse = |text: &String| {
        let (host, guest) = text.split_once(':')?;
        let guest = if guest == "default" { None } else { Some(guest.parse().ok()?) };
        Some(Pair(host.parse().ok()?, guest))
    };
    given
        .iter()
        .map(|text| parse(text).ok_or_else(|| format!("Invalid {what} map given: {text}\n")))
        .collect()
}
