//! What helps when the Nix of a guest fails. What [`rules`](crate::rules) says otherwise is about this machine: its daemon, its
//! nix.conf, and commands of a Nix that it need not have. `{on}` leads into the guest, `{backend}` is the table of its settings.

use nixoci_core::help::Help::{self, Command, Lines};

type Remedies = &'static [Help];

/// The command that builds once more, for another platform or in another place.
const ELSEWHERE: Help = Command("or use another backend", "nixoci backends");
const OVERRIDE: Help = Command("or use a local copy of the input", OVERRIDDEN);
const OVERRIDDEN: &str = "nixoci build --override-input NAME path:/DIRECTORY";

pub(crate) const ANEW: Help = Command("or make the virtual machine anew", MADE_ANEW);
const MADE_ANEW: &str =
    "nixoci provision --backend {backend} --remove --yes && nixoci provision --backend {backend} --yes";

pub(crate) const DAEMON: Remedies =
    &[Command("restart its daemon", "{on}sudo systemctl restart nix-daemon.socket nix-daemon.service"), ANEW];

pub(crate) const PERMISSION: Remedies =
    &[Command("let its user use the daemon", "{on}sudo usermod -aG nix-users {user}"), ANEW];

pub(crate) const SETTINGS: Remedies = &[
    Command("see what its Nix takes", "{on}nix config show"),
    Command(
        "nixoci's own settings there are in /etc/nix/nixoci.conf; make the virtual machine anew",
        MADE_ANEW,
    ),
];

pub(crate) const SANDBOX: Remedies =
    &[Command("allow user namespaces", "{on}sudo sysctl -w user.max_user_namespaces=15000"), ANEW];

pub(crate) const PLATFORM: Remedies = &[
    Lines(
        "let qemu run the other CPU's programs there, many times slower than its own, in nixoci.toml",
        "[backend.{backend}]\nemulate = true",
    ),
    ELSEWHERE,
];

pub(crate) const EXEC_FORMAT: Remedies = &[
    PLATFORM[0],
    Command(
        "if it says so already: let its kernel know of qemu again",
        "{on}sudo systemctl restart systemd-binfmt",
    ),
    ELSEWHERE,
];

pub(crate) const JOBS: Remedies = &[Command("allow this build there", "nixoci build --max-jobs 1")];

pub(crate) const CERTIFICATE: Remedies = &[
    Command(
        "see what the time is on {here}: a clock that stood still makes certificates look wrong",
        "{on}date",
    ),
    Command(
        "a company's proxy: name the company's certificates to nixoci, which passes them on",
        "export NIX_SSL_CERT_FILE=/PATH/TO/CERTIFICATES.pem",
    ),
    Command(
        "a clock is set when the virtual machine starts: switch it off, and build again",
        "nixoci provision --backend {backend} --stop",
    ),
];

pub(crate) const TOKENS: Remedies = &[
    Lines(
        "a private repository, or GitHub's limit: let it have your token, in your own ~/.config/nixoci/config.toml; `gh auth login` gets one",
        "[credentials]\ngithub = \"gh\"",
    ),
    Lines("another server, by user name and password: the same file", "[credentials]\nnetrc = \"~/.netrc\""),
    Command(
        "or fetch by ssh, with your key: git+ssh://git@github.com/OWNER/REPOSITORY",
        "nixoci build --ssh default",
    ),
    OVERRIDE,
];

pub(crate) const GIT: Remedies = &[Command("install it", "{on}sudo apt-get install git")];

pub(crate) const NETWORK: Remedies = &[
    Command(
        "see whether the virtual machine has a way out",
        "{on}curl -sSI https://cache.nixos.org/nix-cache-info",
    ),
    Command("it gets the proxies of this environment", "env | grep -i _proxy"),
    OVERRIDE,
];

/// A lock needs nothing of a project but these two files.
pub(crate) const LOCK: Remedies = &[
    Command(
        "bring it up to date with the virtual machine's Nix, in the directory of flake.nix",
        "tar c flake.* | {on}sh -c 'cd $(mktemp -d) && tar x && nix flake lock && cat flake.lock' >flake.lock.new && mv flake.lock.new flake.lock",
    ),
    Command("or where Nix is, and for an input that is a local directory only there", "nix flake lock"),
];

pub(crate) const CHANGED: Remedies = &[
    Command("a local directory that was changed: take it as it is now", OVERRIDDEN),
    Command(
        "or lock what is there now, with the virtual machine's Nix, in the directory of flake.nix",
        "tar c flake.* | {on}sh -c 'cd $(mktemp -d) && tar x && nix flake update && cat flake.lock' >flake.lock.new && mv flake.lock.new flake.lock",
    ),
    Command("or where Nix is", "nix flake update NAME"),
];

pub(crate) const REGISTRY: Remedies = &[
    Command("a directory begins with a dot or a slash", "nixoci build ./{reference}"),
    Command("see the flakes that have names", "{on}nix registry list"),
];

pub(crate) const FEATURE: Remedies =
    &[Command("switch it on for this build", "nixoci build --option extra-experimental-features {feature}")];

/// What there is, is said already.
pub(crate) const OUTPUTS: Remedies = &[];

pub(crate) const FLAG: Remedies = &[Command("see what it knows", "{on}nix build --help")];
