//! What Nix says, and what nixoci makes of it: the table.
//!
//! The first rule that fits wins, so causes come before their consequences. Texts: Nix 2.24 to 2.34 as
//! measured, both wordings where they differ; a 2.26 client with a 2.34 builder shows both at once.

use nixoci_core::error::Code;
use nixoci_core::help::Help::{self, Advice, Command, Lines};

use crate::codes as c;
use crate::guest::remedies as guest;

/// How to understand one kind of failure.
pub(crate) struct Rule {
    pub(crate) code: &'static Code,
    /// Any of these; see [`pattern`](nixoci_core::pattern).
    pub(crate) patterns: &'static [&'static str],
    /// Filled with what the pattern found, and with `reference`, `attribute`, `system`, `user`.
    pub(crate) message: &'static str,
    /// Filled with the same. In a command, `{on}` makes it run where Nix runs, and `{build}` builds the attribute `near`.
    pub(crate) remedies: &'static [Help],
    /// Those where Nix runs in a guest, if they are others.
    pub(crate) guest: Option<&'static [Help]>,
    /// Whether a builder may say it in its log.
    pub(crate) in_log: bool,
    /// What has to be looked at besides.
    pub(crate) then: Then,
}

/// What makes the error.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// The rule's own message and remedies.
    Say,
    /// The systems in the text.
    Platform,
    /// The user's files.
    Source,
    /// The flake's directory.
    NoFlake,
    /// The argument's name.
    Argument,
}

const fn rule(
    code: &'static Code,
    patterns: &'static [&'static str],
    message: &'static str,
    remedies: &'static [Help],
) -> Rule {
    Rule { code, patterns, message, remedies, guest: None, in_log: false, then: Then::Say }
}

impl Rule {
    const fn in_log(mut self) -> Rule {
        self.in_log = true;
        self
    }

    const fn in_guest(mut self, remedies: &'static [Help]) -> Rule {
        self.guest = Some(remedies);
        self
    }

    const fn then(mut self, then: Then) -> Rule {
        self.then = then;
        self
    }
}

const RESTART: Help = Command(
    "start the daemon (on a Mac: sudo launchctl kickstart -k system/org.nixos.nix-daemon)",
    "{on}sudo systemctl restart nix-daemon",
);

const NETWORK: &[Help] = &[
    Command("look at the network and at the proxy variables", "env | grep -i _proxy"),
    Command("or use a local copy of the input", "nixoci build --override-input NAME path:/DIRECTORY"),
];

const TOKENS: &[Help] = &[
    Lines(
        "a private repository, or GitHub's limit: give Nix a token, in ~/.config/nix/nix.conf",
        "access-tokens = github.com=TOKEN",
    ),
    Lines("or fetch by ssh, with your key", "git+ssh://git@github.com/OWNER/REPOSITORY"),
    Command("or use a local copy of the input", "nixoci build --override-input NAME path:/DIRECTORY"),
];

pub(crate) static RULES: &[Rule] = &[
    rule(&nixoci_core::codes::CANCELLED, &["interrupted by the user"], "Nix was interrupted", &[]),
    // The machine.
    rule(
        &c::BAD_CONFIG,
        &[
            "syntax error in configuration line '{line}' in '{file}'",
            "illegal configuration line '{line}' in '{file}'",
            "setting '{file}' has invalid value '{line}'",
        ],
        "Nix's configuration is wrong: {file}: {line}",
        &[Command("correct it, then see whether Nix takes it", "nix config show")],
    )
    .in_guest(guest::SETTINGS),
    rule(
        &c::DAEMON_PERMISSION,
        &["cannot connect to socket at '{socket}': Permission denied", "getting status of '{prefix}daemon-socket/socket': Permission denied", "user '{name}' is not allowed to connect to the Nix daemon"],
        "your user may not use the Nix daemon",
        &[
            Command("on Debian, join the group that may, then log in again", "sudo usermod -aG nix-users {user}"),
            Lines("elsewhere, name yourself in /etc/nix/nix.conf, and restart the daemon", "allowed-users = root {user}"),
        ],
    )
    .in_guest(guest::PERMISSION),
    rule(
        &c::DAEMON_DOWN,
        &["cannot connect to socket at '{socket}': Connection refused", "cannot connect to socket at '{socket}': No such file or directory"],
        "the Nix daemon does not run",
        &[RESTART],
    )
    .in_guest(guest::DAEMON),
    rule(
        &c::STORE_PERMISSION,
        &[
            "opening lock file '{path}': Permission denied",
            "opening lock file '{path}': Read-only file system",
            "creating directory '/nix/{path}': Permission denied",
            "creating directory '/nix': Permission denied",
            "changing ownership of path '{path}': Operation not permitted",
            "remounting {path} writable: Operation not permitted",
        ],
        "your user may not write the Nix store, and no daemon does it for you",
        &[RESTART, Command("or, on a machine only you use, own the store", "sudo chown -R {user} /nix")],
    )
    .in_guest(guest::DAEMON),
    rule(
        &c::NO_BUILD_USERS,
        &["the group '{group}' specified in 'build-users-group' does not exist", "the build users group '{group}' has no members"],
        "Nix has no build users: the group {group} is missing or empty",
        &[
            Lines("build without them, as root, by a line in /etc/nix/nix.conf", "build-users-group ="),
            Command("or create them, and restart the daemon", "sudo groupadd -r {group} && sudo useradd -r -g {group} -G {group} -d /var/empty -s /usr/sbin/nologin {group}1"),
        ],
    )
    .in_guest(&[guest::ANEW]),
    rule(
        &c::NO_SANDBOX,
        &[
            "this system does not support the kernel namespaces that are required for sandboxing",
            "cloning builder process: Operation not permitted",
            "setting up a private mount namespace: Operation not permitted",
            "unable to clone a user namespace",
        ],
        "builds cannot be sandboxed on {here}",
        &[
            Command("allow user namespaces", "sudo sysctl -w user.max_user_namespaces=15000"),
            Lines("or, where only trusted expressions are built, do without, by a line in /etc/nix/nix.conf", "sandbox-fallback = true"),
        ],
    )
    .in_guest(guest::SANDBOX),
    rule(
        &c::PLATFORM,
        &[
            "a '{required}' with features {features} is required to build '{drv}', but I am a '{current}' with",
            "Cannot build '{drv}'. Reason: platform mismatch Required system: '{required}' Current system: '{current}'",
            "Required system: '{required}'{*}Current system: '{current}'",
        ],
        "{here} ({current}) does not build for {required}",
        &[],
    )
    .in_guest(guest::PLATFORM)
    .then(Then::Platform),
    rule(
        &c::SYSTEM_FEATURES,
        &["Cannot build '{drv}'. Reason: missing system features Required features: {features}", "Reason: missing system features"],
        "building {drv|store} needs system features that {here} does not offer",
        &[Lines("if the machine can do it, declare the features in /etc/nix/nix.conf, then restart the daemon", "system-features = kvm big-parallel nixos-test benchmark")],
    ),
    rule(
        &c::NO_JOBS,
        &["nable to start any build; either increase '--max-jobs'", "nable to start any build; remote machines may not have all required system features", "local builds are disabled (max-jobs = 0)"],
        "local builds are switched off, and no remote builder takes the build",
        &[Command("allow this build here", "nixoci build --max-jobs 1"), Lines("or for good, in nix.conf", "max-jobs = auto")],
    )
    .in_guest(guest::JOBS),
    rule(
        &c::DISK_FULL,
        &["No space left on device", "database or disk is full", "may have been caused by lack of free disk space"],
        "the disk is full on {here}, where Nix builds",
        &[
            Command("remove what no root holds any more", "{on}nix-collect-garbage"),
            Command("see what is full", "{on}df -h /nix /tmp"),
        ],
    )
    .in_log(),
    // macOS's words. (NixOS/nix#10762, cpick/nix-rosetta-builder#19.)
    rule(
        &c::LINUX_ON_MAC,
        &["executing '{program}': Undefined error: 0", "executing '{program}': Bad CPU type in executable"],
        "the Mac was made to run a Linux program itself",
        &[
            Command("see whether `system` or `extra-platforms` names Linux, and take that out of /etc/nix/nix.conf", "nix config show | grep -E '^(system|extra-platforms) '"),
            Command("build without `--option system`: the platform says enough", "nixoci build --platform linux/arm64"),
        ],
    )
    .in_log(),
    rule(
        &c::EXEC_FORMAT,
        &["executing '{program}': Exec format error", "cannot execute binary file: Exec format error", "cannot execute binary file", "Exec format error"],
        "{here} does not run programs for the platform that is built, although `extra-platforms` says so",
        &[
            Command("register an emulator (Debian, Ubuntu)", "{on}sudo apt-get install qemu-user-static"),
            Command("see what is registered: the flags must contain F", "{on}grep -H flags /proc/sys/fs/binfmt_misc/*"),
        ],
    )
    .in_guest(guest::EXEC_FORMAT)
    .in_log(),
    rule(
        &c::CERTIFICATE,
        &["SSL certificate problem: {why}", "SSL peer certificate or SSH remote key was not OK", "Problem with the SSL CA cert", "certificate verify failed", "server certificate verification failed"],
        "a download was refused because of its certificate",
        &[
            Command("see what the time is on {here}: a clock that stood still makes certificates look wrong", "{on}date"),
            Lines("a company's proxy: let Nix trust the company's certificates, in the daemon's environment", "NIX_SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"),
            Command("a builder on a Mac that slept for days loses its certificates: restart it", "sudo launchctl kickstart -k system/org.nixos.linux-builder"),
        ],
    )
    .in_guest(guest::CERTIFICATE)
    .in_log(),
    rule(
        &c::HASH_MISMATCH,
        &["hash mismatch in fixed-output derivation '{drv}': specified: {specified} got: {got}", "hash mismatch in fixed-output derivation '{drv}'"],
        "{drv|store} is not what the expression expects",
        &[Lines("if the new content is what you want, write its hash into the expression", "{got}")],
    ),
    rule(
        &c::UNSIGNED,
        &["cannot add path '{path}' because it lacks a signature by a trusted key", "lacks a valid signature"],
        "a store path carries no signature that this store trusts",
        &[Command("let root add it once", "sudo nix copy --no-check-sigs --from STORE {path}")],
    ),
    // Builds that evaluation needs, before builds as such.
    rule(
        &c::IFD,
        &[
            "while realising the context of{*}builder for '{drv}' failed",
            "while realising the context of{*}Cannot build '{drv}'",
            "cannot build '{drv}' during evaluation because the option 'allow-import-from-derivation' is disabled",
        ],
        "evaluation needs {drv|store}, and building it failed",
        &[],
    ),
    rule(
        &c::BUILD_KILLED,
        &["builder for '{drv}' failed with exit code 137", "Cannot build '{drv}'. Reason: builder failed with exit code 137"],
        "a program that builds {drv|store} was killed",
        &[Command("if memory ran out, build with fewer jobs at once", "nixoci build --max-jobs 1 --cores 1"), Command("see whether the kernel did it", "{on}sudo dmesg | grep -i -E 'killed process|out of memory'")],
    ),
    rule(
        &c::BUILD_KILLED,
        &["builder for '{drv}' failed due to signal {signal}", "Cannot build '{drv}'. Reason: builder failed due to signal {signal}"],
        "the builder of {drv|store} was killed by signal {signal}",
        &[Command("if memory ran out, build with fewer jobs at once", "nixoci build --max-jobs 1 --cores 1"), Command("see whether the kernel did it", "{on}sudo dmesg | grep -i -E 'killed process|out of memory'")],
    ),
    rule(
        &c::NO_OUTPUT,
        &["builder for '{drv}' failed to produce output path"],
        "{drv|store} was built without an error, but left no output",
        &[Advice("the builder has to create what $out names")],
    ),
    rule(
        &c::BUILD_TIMEOUT,
        &["building of '{drv}' from .drv file timed out after {time}", "Cannot build '{drv}'. Reason: timed out after {time}", "timed out after {time}"],
        "the build ran into Nix's own time limit of {time}",
        &[Command("allow it more time", "nixoci build --option timeout 0 --option max-silent-time 0")],
    ),
    rule(
        &c::BUILD_FAILED,
        &["builder for '{drv}' failed with exit code {status}", "Cannot build '{drv}'. Reason: builder failed with exit code {status}"],
        "building {drv|store} failed with exit code {status}",
        &[],
    ),
    rule(
        &c::BUILD_FAILED,
        &["builder for '{drv}' failed", "Cannot build '{drv}'. Reason: {reason}", "build of '{drv}' failed", "dependencies of derivation '{drv}' failed to build"],
        "building {drv|store} failed",
        &[],
    ),
    rule(
        &c::CONNECTION_LOST,
        &["Nix daemon disconnected unexpectedly", "cannot open connection to remote store '{store}'"],
        "the connection to the Nix daemon broke",
        &[RESTART],
    )
    .in_guest(guest::DAEMON),
    rule(
        &c::GONE,
        &[
            "path '{path}' is required, but there is no substituter that can build it",
            "path '{path}' is required, but it's missing",
            "path '{path}' is not a valid store path",
            "path '{path}' is not valid",
        ],
        "the store has no {path}",
        &[Advice("build it again from its expression")],
    ),
    // Evaluation, the user's files first.
    rule(
        &c::NOT_OWNED,
        &["repository path '{repo}' is not owned by current user", "detected dubious ownership in repository at '{repo}'"],
        "the Git repository {repo} belongs to another user",
        &[Command("tell Git and Nix that it is safe", "git config --global --add safe.directory {repo}"), Command("or take the directory as it is", "nixoci build path:{repo}#ATTRIBUTE")],
    ),
    rule(
        &c::UNSUPPORTED_FILE,
        &["file '{file}' has an unsupported type"],
        "`{file}` is a socket, pipe or device, which cannot be copied to the store",
        &[Command("remove it", "rm -- {file}"), Advice("or, in a Git repository, name the flake without `path:`, so that only tracked files count")],
    ),
    rule(
        &c::UNTRACKED,
        &[
            "Path '{file}' in the repository '{repo}' is not tracked by Git",
            "Path '{file}' does not exist in Git repository '{repo}'",
            "path '/nix/store/{store}-source/{file}' does not exist",
            "getting status of '/nix/store/{store}-source/{file}': No such file or directory",
            "opening file '/nix/store/{store}-source/{file}': No such file or directory",
        ],
        "",
        &[],
    )
    .then(Then::Source),
    rule(
        &c::NOT_A_FLAKE,
        &["could not find a flake.nix file", "is not a flake (because it's not a directory)", "does not contain a 'flake.nix'", "is not part of a flake", "path '{path}' is not a flake"],
        "",
        &[],
    )
    .then(Then::NoFlake),
    rule(
        &c::NOT_A_FLAKE,
        &["cannot find flake '{flake}' in the flake registries"],
        "`{reference}` is neither a known flake nor a path",
        &[Command("a directory begins with a dot or a slash", "nixoci build ./{reference}"), Command("see the flakes that have names", "nix registry list")],
    )
    .in_guest(guest::REGISTRY),
    rule(
        &c::IMPURE,
        &["attribute 'currentSystem' missing"],
        "the expression asks for the current system, which a flake may not know",
        &[Command("allow it", "nixoci build --impure"), Lines("or take the system from the name of the output", "packages.x86_64-linux.container = ...;")],
    ),
    rule(
        &c::IMPURE,
        &["access to absolute path '{path}' is forbidden in pure eval", "'{path}' is not allowed in pure eval", "cannot look up '{path}' in pure eval", "access to URI '{path}' is forbidden"],
        "the expression reads {path}, which is outside the flake",
        &[Command("allow it", "nixoci build --impure"), Advice("or copy what is needed into the project, and add it to Git")],
    ),
    rule(
        &c::FETCH_DENIED,
        &[
            "unable to download '{url}': HTTP error 401",
            "unable to download '{url}': HTTP error 403",
            "unable to download '{url}': HTTP error 404",
            "unable to download '{url}': HTTP error 407",
            "unable to download '{url}': HTTP error 429",
        ],
        "the server does not hand out {url}",
        TOKENS,
    )
    .in_guest(guest::TOKENS),
    rule(
        &c::FETCH_DENIED,
        &["Permission denied (publickey"],
        "the server does not accept your SSH key",
        &[Command("see which keys are offered", "ssh-add -l"), Command("offer another one", "ssh-add ~/.ssh/KEY")],
    ),
    rule(
        &c::FETCH_DENIED,
        &["Host key verification failed"],
        "nobody has confirmed the host key that the server of an input shows",
        &[Command("connect once, and compare what it shows", "ssh git@github.com")],
    ),
    rule(
        &nixoci_core::codes::TOOL_MISSING,
        &["executing 'git': No such file or directory"],
        "`git` is not installed, and Nix needs it to fetch an input",
        &[Command("install it", "sudo apt-get install git")],
    )
    .in_guest(guest::GIT),
    rule(
        &c::FETCH,
        &["while updating the flake input '{input}'{*}unable to download '{url}/flake-registry.json': {why}"],
        "the flake registry, which says what the input {input} is, cannot be fetched: {why}",
        NETWORK,
    )
    .in_guest(guest::NETWORK),
    rule(
        &c::FETCH,
        &["unable to download '{url}/flake-registry.json': {why}"],
        "the flake registry, which says what `{reference}` is, cannot be fetched: {why}",
        &[Command("look at the network and at the proxy variables", "env | grep -i _proxy"), Command("a directory begins with a dot or a slash", "nixoci build ./{reference}")],
    )
    .in_guest(guest::NETWORK),
    rule(
        &c::NO_REPOSITORY,
        &["while fetching the input 'git+file://{path}'{*}could not find repository"],
        "{path} has a `.git` that is no Git repository, and Nix takes the directory for one",
        &[Command("build the directory as it is", "nixoci build path:{path}"), Command("or make it a repository", "git init -- {path}")],
    ),
    rule(
        &c::FETCH,
        &["while fetching the input 'git+file:{input}'{*}error: {why}", "while fetching the input 'path:{input}'{*}error: {why}",
            "while fetching the input 'file:{input}'{*}error: {why}"],
        "the input {input}, which is on this machine, cannot be read: {why}",
        &[Advice("see whether the path in flake.nix is right, and may be read"),
            Command("or use another directory for it", "nixoci build --override-input NAME path:/DIRECTORY")],
    ),
    rule(
        &c::FETCH,
        &["while fetching the input '{input}'{*}error: {why}", "while updating the flake input '{input}'{*}error: {why}"],
        "the input {input} cannot be fetched: {why}",
        NETWORK,
    )
    .in_guest(guest::NETWORK),
    rule(
        &c::FETCH,
        &["unable to download '{url}': {why}", "Failed to fetch git repository '{url}'", "program '{url}' failed with exit code {why}"],
        "{url} cannot be fetched: {why}",
        NETWORK,
    )
    .in_guest(guest::NETWORK),
    rule(
        &c::LOCK,
        &["requires lock file changes but they're not allowed", "cannot update unlocked flake input '{input}' in pure mode"],
        "flake.lock does not match the flake's inputs",
        &[Command("bring it up to date", "nix flake lock {reference}")],
    )
    .in_guest(guest::LOCK),
    rule(
        &c::LOCK,
        &["NAR hash mismatch in input '{input}'", "mismatch in field '{field}' of input"],
        "an input is not what flake.lock says of it",
        &[
            Command("lock what is there now", "nix flake update NAME"),
            Command("or take a local directory as it is now", "nixoci build --override-input NAME path:/DIRECTORY"),
        ],
    )
    .in_guest(guest::CHANGED),
    rule(
        &c::FEATURE_DISABLED,
        &["experimental Nix feature '{feature}' is disabled"],
        "the experimental feature {feature} is switched off",
        &[Command("switch it on for this build", "nixoci build --option extra-experimental-features {feature}"), Lines("or for good, in nix.conf", "extra-experimental-features = {feature}")],
    )
    .in_guest(guest::FEATURE),
    rule(
        &c::NO_ATTRIBUTE,
        // Of several the first: a command is typed.
        &["in selection path '{attribute}' not found Did you mean one of {near}, ",
            "in selection path '{attribute}' not found Did you mean one of {near} or ",
            "in selection path '{attribute}' not found Did you mean {near}?",
            "does not provide attribute {places} Did you mean one of {near}, ",
            "does not provide attribute {places} Did you mean one of {near} or ",
            "does not provide attribute {places} Did you mean {near}?"],
        "`{reference}` has no `{attribute}`",
        &[Command("did you mean this", "{build}")],
    ),
    rule(
        &c::NO_ATTRIBUTE,
        &["in selection path '{attribute}' not found", "does not provide attribute"],
        "`{reference}` has no `{attribute}`",
        &[Command("see what a flake has", "nix flake show {reference}")],
    )
    .in_guest(guest::OUTPUTS),
    rule(
        &c::NOT_A_DERIVATION,
        &["expected flake output attribute '{attribute}' to be a derivation or path but found {found}: ", "expected flake output attribute '{attribute}' to be a derivation or path but found {found}"],
        "`{attribute}` cannot be built: it is {found}",
        &[Command("name a derivation; see what the flake has", "nix flake show {reference}")],
    )
    .in_guest(guest::OUTPUTS),
    rule(
        &c::NOT_A_DERIVATION,
        &["expression does not evaluate to a derivation", "is not a derivation"],
        "`{reference}` does not yield something that can be built",
        &[Command("name an attribute that is a derivation", "nixoci build -f {reference} ATTRIBUTE")],
    ),
    rule(
        &c::MISSING_ARGUMENT,
        &["has an argument without a value ('{argument}')"],
        "`{reference}` is a function that needs the argument `{argument}`",
        &[Command("give it a text", "nixoci build -f {reference} --argstr {argument} VALUE"), Command("or an expression", "nixoci build -f {reference} --arg {argument} 'EXPRESSION'")],
    )
    .then(Then::Argument),
    rule(&c::SYNTAX, &["syntax error, {what}"], "syntax error: {what}", &[]),
    rule(
        &c::MISSING_SOURCE,
        &["path '{path}' does not exist", "opening file '{path}': No such file or directory", "getting status of '{path}': No such file or directory"],
        "the expression names `{path}`, which does not exist",
        &[Advice("paths in an expression are relative to the file they are written in")],
    ),
    rule(
        &c::BAD_FLAG,
        &["unrecognised flag '{flag}'", "unknown setting '{flag}'"],
        "this version of Nix does not know {flag}",
        &[Command("see what it knows", "nix build --help")],
    )
    .in_guest(guest::FLAG),
];
