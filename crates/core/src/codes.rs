//! The error codes of the domain itself.

crate::codes! {
    /// Work was stopped because it was asked to.
    CANCELLED = ("nixoci::cancelled", Interrupted, "stopped on request",
        "You pressed Ctrl-C, or something else asked nixoci to stop. Processes that nixoci started were ended, \
         nothing half written was left behind, and running the same command again continues.");
    /// SIGTERM arrived.
    TERMINATED = ("nixoci::terminated", Terminated, "stopped by SIGTERM",
        "Something (a CI system, a supervisor, `kill`) asked nixoci to stop. Processes that nixoci started were \
         ended and nothing half written was left behind.");
    /// `--timeout` passed.
    TIMED_OUT = ("nixoci::timed_out", Timeout, "the time limit passed",
        "The limit given by --timeout passed before the work was done. nixoci enforces it itself, because Nix \
         forwards no time limit to remote builders. Finished store paths are kept: a second run continues.");
    /// A bug.
    BUG = ("nixoci::bug", Unexpected, "a bug in nixoci",
        "Something that nixoci's authors thought impossible happened. Please report it with the message, the \
         command line and `nixoci doctor`'s output.");
    /// A program is not installed.
    TOOL_MISSING = ("nixoci::tool_missing", ToolMissing, "a program is not installed",
        "nixoci starts other programs (nix, docker). The one that is named was not found on PATH. If it is \
         installed, look at how PATH differs between your login shell and where nixoci was started.");
    /// A process could not be started or watched.
    PROCESS = ("nixoci::process", Unexpected, "a process could not be run",
        "The operating system refused to start or to watch a process. The cause names the system's own reason, \
         such as too many open files or too little memory.");
    /// A platform name is wrong.
    BAD_PLATFORM = ("nixoci::platform", Usage, "not a platform",
        "Platforms are written as container tools write them: linux/amd64, linux/arm64, linux/arm/v7. Nix \
         systems (aarch64-linux) and bare architectures (arm64) are understood too.");
    /// An installable cannot be understood.
    BAD_INSTALLABLE = ("nixoci::installable", Usage, "not an installable",
        "An installable says what to build: `.#container` (an attribute of a flake), `./dir#attr`, `path:…`, \
         `git+…`, `github:…`, a store path, or with `-f default.nix` an attribute of a Nix file.");
    /// No configuration file where one was named.
    CONFIG_MISSING = ("nixoci::config::missing", Config, "the configuration file does not exist",
        "--config-file or NIXOCI_CONFIG_FILE names a file that is not there. Without either, nixoci looks for \
         nixoci.toml in this directory and its parents, up to the root of the repository.");
    /// A configuration file cannot be read.
    CONFIG_UNREADABLE = ("nixoci::config::unreadable", Config, "the configuration file cannot be read",
        "The file exists, but the system does not let nixoci read it. The cause says why.");
    /// TOML syntax.
    CONFIG_SYNTAX = ("nixoci::config::syntax", Config, "the configuration is not valid TOML",
        "The file is not TOML (https://toml.io). The excerpt shows where the parser stopped; the mistake is \
         there or just before, most often a missing quote or bracket.");
    /// A key that nobody knows.
    CONFIG_UNKNOWN_KEY = ("nixoci::config::unknown_key", Config, "unknown key in the configuration",
        "Unknown keys are errors, because a misspelt key would silently do nothing. `nixoci config schema` \
         prints everything that is understood.");
    /// A value of the wrong type or out of range.
    CONFIG_VALUE = ("nixoci::config::value", Config, "a value in the configuration is wrong",
        "The key is known, but its value is not what it takes. The excerpt shows the place. `nixoci config \
         schema` prints the type of every key.");
    /// A profile that does not exist.
    CONFIG_NO_PROFILE = ("nixoci::config::no_profile", Config, "the profile does not exist",
        "--profile, NIXOCI_PROFILE or `inherits` names a profile that no configuration file defines. Profiles \
         are tables such as [profile.ci]; `default` always exists.");
    /// Profiles that inherit from each other in a circle.
    CONFIG_CYCLE = ("nixoci::config::cycle", Config, "profiles inherit in a circle",
        "Following `inherits` from this profile comes back to it. Remove one `inherits`.");
    /// A project names secrets.
    CONFIG_CREDENTIALS = ("nixoci::config::credentials", Untrusted, "a project may not name credentials",
        "[credentials] says which of your secrets a virtual machine is given for a build. A project that could say so could have \
         them sent anywhere, so the table is only read from your own configuration, ~/.config/nixoci/config.toml.");
    /// A project trusts plugins.
    CONFIG_PLUGINS = ("nixoci::config::plugins", Untrusted, "a project may not trust plugins",
        "[plugins] says which backends from elsewhere may run, with your rights. A project may name and configure a plugin; whether it runs on \
         your machine is for you to say: `nixoci plugin trust NAME`. The table is only read from your own configuration, \
         ~/.config/nixoci/config.toml.");
    /// The project wants a newer nixoci.
    CONFIG_VERSION = ("nixoci::config::version", Config, "the project requires another version of nixoci",
        "nixoci.toml says `required-version`, and this nixoci does not satisfy it. Install a version that does, or \
         change the line if it is out of date.");
    /// The image that was named is not configured.
    CONFIG_NO_IMAGE = ("nixoci::config::no_image", Config, "no such image in nixoci.toml",
        "nixoci.toml describes several images as [images.<name>], and the one that was asked for is not among them.");
    /// A backend name that nobody registered.
    UNKNOWN_BACKEND = ("nixoci::backend::unknown", Config, "no backend has that name",
        "--backend, NIXOCI_BACKEND or a profile names a backend that this nixoci does not have. `nixoci backends` \
         lists them.");
    /// Nobody can build it.
    NO_BACKEND = ("nixoci::backend::none", NoBackend, "no backend can build for that platform",
        "A backend is a place where Linux derivations can be built. None of those that were considered can build \
         for the platform that was asked for; each says why, and what would change it. `nixoci backends` shows \
         the state of all of them, `nixoci doctor` what stands in the way.");
    /// Provisioning is needed.
    PENDING = ("nixoci::backend::pending", Pending, "a backend must be made ready first",
        "The backend could build this after some provisioning, and provisioning was forbidden (--no-provision), was \
         declined, or could not be agreed to: off a terminal nobody is asked, and --yes (what needs no root) or \
         --allow-root (what does) is missing. `nixoci plan` shows the steps, `nixoci provision` carries them out. Or a \
         step was carried out and had no effect: then it is named.");
}
