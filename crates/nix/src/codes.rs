//! The error codes of everything that has to do with Nix.

nixoci_core::codes! {
    /// Nix is not installed.
    MISSING = ("nixoci::nix::missing", ToolMissing, "Nix is not installed",
        "nixoci drives Nix, and `nix` was not found on PATH. Install it, or, if it is installed, open a new login \
         shell: the installer adds it to the shell's start-up files.");
    /// The version of Nix is not supported.
    TOO_OLD = ("nixoci::nix::too_old", ToolMissing, "Nix is too old",
        "nixoci needs Nix 2.24 or Lix 2.90. Older versions lack parts of the command line that nixoci builds on. \
         Distributions ship old versions (Debian 12 has 2.8): the installer from nixos.org brings a current one.");
    /// `nix --version` says something odd.
    UNKNOWN_VERSION = ("nixoci::nix::unknown_version", ToolMissing, "the program called nix is not known",
        "`nix --version` printed no version that nixoci understands. Perhaps another program is called `nix`, or \
         a wrapper prints something first.");
    /// nix.conf is wrong.
    BAD_CONFIG = ("nixoci::nix::bad_config", Config, "Nix's configuration is wrong",
        "Nix reads /etc/nix/nix.conf, ~/.config/nix/nix.conf and the variable NIX_CONFIG, and one of them has a \
         line that it does not understand.");
    /// Nix answered in a form that nixoci does not know.
    UNEXPECTED = ("nixoci::nix::unexpected", Unexpected, "Nix answered in an unknown form",
        "A command succeeded, but its output is not what any supported version prints. Most likely this version \
         of Nix is newer than this nixoci: please report it with `nix --version`.");
    /// A Nix command failed for a reason that nixoci does not recognise.
    COMMAND_FAILED = ("nixoci::nix::command_failed", Unexpected, "a Nix command failed",
        "Nix reported an error that nixoci does not recognise. Nix's own words are below the message.");

    /// The daemon's socket may not be used.
    DAEMON_PERMISSION = ("nixoci::nix::daemon_permission", Permission, "the Nix daemon may not be used",
        "Nix runs as a daemon here, and its socket is closed to your user. Either `allowed-users` in \
         /etc/nix/nix.conf does not name you, or the socket's directory belongs to a group that you are not in \
         (Debian: nix-users). Group membership takes effect at the next login.");
    /// The daemon does not run.
    DAEMON_DOWN = ("nixoci::nix::daemon_down", NoBackend, "the Nix daemon does not run",
        "Nix is installed for several users, and its daemon does not answer. It is usually started by systemd or \
         launchd.");
    /// The garbage collector root could not be made or removed.
    ROOT = ("nixoci::nix::root", Permission, "the garbage collector root cannot be kept",
        "While nixoci reads an image out of the Nix store, a link in nixoci's cache directory keeps Nix's garbage \
         collector away from it. That link could not be made or removed: look at the permissions and the free \
         space of the directory that is named.");
    /// The store belongs to root.
    STORE_PERMISSION = ("nixoci::nix::store_permission", Permission, "the Nix store may not be written",
        "There is no Nix daemon, and the store belongs to another user. Start the daemon, or give the store to \
         your user in a single-user installation.");
    /// No `nixbld` group.
    NO_BUILD_USERS = ("nixoci::nix::no_build_users", NoBackend, "there are no build users",
        "Nix runs as root and wants to build as members of a group that does not exist (usually nixbld). Either \
         the installation was not finished, or Nix came from a package that leaves this to you.");
    /// The kernel does not allow sandboxing.
    NO_SANDBOX = ("nixoci::nix::no_sandbox", NoBackend, "builds cannot be sandboxed here",
        "Nix isolates builds with kernel namespaces, which are not allowed here: inside a container without the \
         right, in a chroot, or by a kernel setting (kernel.unprivileged_userns_clone, user.max_user_namespaces, \
         AppArmor).");
    /// The derivation is for another platform.
    PLATFORM = ("nixoci::nix::platform", NoBackend, "this machine does not build for that platform",
        "A derivation for one CPU and kernel can only be built where programs for it run. A Linux machine can be \
         taught to run programs of other CPUs (qemu-user with binfmt_misc); Nix must then be told with \
         `extra-platforms`. Anything else needs a builder of that platform.");
    /// What this host had to build did not reach the builder.
    MIXED = ("nixoci::nix::mixed", Build, "the image needs derivations of this machine's system as well",
        "Some derivations of the image are for this machine's own system, such as aarch64-darwin, and others for Linux. With the transports `store` \
         and `builders`, nixoci builds the first on this machine and copies their outputs to where the rest is built, which \
         takes a builder that trusts your user (`trusted-users` in its nix.conf). With `transport = \"daemon\"` the Nix daemon distributes such a build by itself.");
    /// A remote builder could not be used.
    BUILDER = ("nixoci::nix::builder", NoBackend, "a remote builder could not be used",
        "Nix tried to send a build to another machine, could not, and cannot do it here. It hides ssh's own reason: with a \
         daemon, root is who connects, with root's keys, known hosts and configuration. The usual reasons are a builder that \
         is down, a key that it does not accept, and a host key that is not known or not the one in Nix's list.");
    /// A remote builder was lost.
    BUILDER_LOST = ("nixoci::nix::builder_lost", Transfer, "a builder was lost in the middle of a build",
        "The connection to the machine that built ended: the machine went away or slept, its ssh server or its Nix daemon was \
         restarted, or it ran out of memory. Nix does not start the build elsewhere; nixoci does if another machine is there. \
         Finished store paths are kept.");
    /// A remote builder does not trust its user.
    UNTRUSTED = ("nixoci::nix::untrusted", Permission, "a machine does not trust its user",
        "A Nix daemon takes store paths that were built on another machine from trusted users only, unless they are signed by a \
         key it knows. Where several machines build parts of one image, or an expression is evaluated with what was built \
         before, the account that ssh logs in with must be in `trusted-users` of that machine's nix.conf. It need not be \
         trusted on the machine where nixoci runs.");
    /// A transport that a builder does not allow.
    TRANSPORT = ("nixoci::nix::transport_refused", Config, "the transport cannot be used with this builder",
        "The transports `store` and `builders` connect as your user, so that the builder must be in Nix's list with ssh-ng:// \
         and a key that you may read. The transport `daemon` lets the Nix daemon connect, which is root.");
    /// The derivation needs features that no builder has.
    SYSTEM_FEATURES = ("nixoci::nix::system_features", NoBackend, "the builder lacks a system feature",
        "A derivation asks for features such as kvm or big-parallel (requiredSystemFeatures) that the builder does \
         not have. They are declared with `system-features` in the builder's nix.conf, if the machine has them.");
    /// `max-jobs = 0` and nobody else to build.
    NO_JOBS = ("nixoci::nix::no_jobs", NoBackend, "local builds are switched off",
        "`max-jobs` is 0, so that this machine builds nothing itself, and no remote builder can take the build.");

    /// A derivation failed to build.
    BUILD_FAILED = ("nixoci::nix::build_failed", Build, "a derivation failed to build",
        "The builder of a derivation ended with an error. The end of its log is shown, and the file with all of it \
         is named. Nix stops at the first failure; finished derivations are kept.");
    /// Nothing was left at the output's path.
    NO_OUTPUT = ("nixoci::nix::no_output", Build, "a build left no output",
        "The builder of a derivation ended well, but left nothing at the path of its output ($out).");
    /// The Mac runs what a builder should.
    LINUX_ON_MAC = ("nixoci::nix::linux_on_mac", Build, "a Linux program was run on the Mac itself",
        "macOS does not run Linux programs. Nix tries to when it believes that the Mac is a Linux machine: by `--option system` or \
         `--system`, or by a Linux system in `extra-platforms`. nixoci names the full attribute instead \
         (packages.aarch64-linux.x), and the builder runs it.");
    /// A certificate that is not believed.
    CERTIFICATE = ("nixoci::nix::certificate", Evaluation, "a certificate was not believed",
        "A download over HTTPS was refused, because its certificate is not signed by anybody known, or not valid now. A company's \
         proxy that looks into connections has its own certificates, which Nix must be told; a virtual machine that slept may \
         have the wrong time, or have lost its certificates (nix-darwin#768).");
    /// A fixed-output derivation yields something else.
    HASH_MISMATCH = ("nixoci::nix::hash_mismatch", Build, "a download is not what was expected",
        "A fixed-output derivation names the hash of what it downloads, and what came has another. Either the \
         source has changed since, or the hash in the expression was not updated. Make sure that the new \
         content is what you want before you take its hash.");
    /// The builder was killed.
    BUILD_KILLED = ("nixoci::nix::build_killed", Build, "a build was killed",
        "Something ended the builder with a signal, most often the kernel because memory ran out. Fewer jobs at \
         once need less memory.");
    /// The disk of the builder is full.
    DISK_FULL = ("nixoci::nix::disk_full", Build, "the disk is full where Nix builds",
        "Nix could not write to its store or to the build's temporary directory.");
    /// Programs of that platform do not run on the builder.
    EXEC_FORMAT = ("nixoci::nix::exec_format", Build, "programs for that platform do not run here",
        "Nix was told by `extra-platforms` that this machine runs programs of another CPU, but the kernel refused \
         one. The emulator is not registered with binfmt_misc, or without the flag F, so that it is not found \
         inside the build sandbox.");
    /// Nix's own time limit.
    BUILD_TIMEOUT = ("nixoci::nix::build_timeout", Build, "a build ran into Nix's time limit",
        "`timeout` or `max-silent-time` in nix.conf limits how long a build may take or be silent.");
    /// A derivation that is needed during evaluation failed.
    IFD = ("nixoci::nix::import_from_derivation", Build, "a build that evaluation needs failed",
        "The expression reads what another derivation makes (import from derivation), and building that failed. It \
         may be a derivation for another system than the one that builds.");
    /// A path without a trusted signature.
    UNSIGNED = ("nixoci::nix::unsigned", Permission, "a store path is not signed by a trusted key",
        "Only trusted users may put unsigned paths into a multi-user store. The path was built elsewhere and \
         carries no signature that the store accepts.");

    /// The expression is wrong.
    EVALUATION = ("nixoci::nix::evaluation", Evaluation, "the expression cannot be evaluated",
        "Nix found an error while evaluating the expression. Its words and the place are below the message; \
         --show-trace shows how it got there.");
    /// The expression is no Nix.
    SYNTAX = ("nixoci::nix::syntax", Evaluation, "a syntax error in the expression",
        "Nix could not parse a file. The place is below the message; the mistake is there or just before, most \
         often a missing semicolon or bracket.");
    /// There is no flake.nix.
    NOT_A_FLAKE = ("nixoci::nix::not_a_flake", Evaluation, "not a flake",
        "A flake reference names a directory with a file called flake.nix, or one below it in the same \
         repository. A project without one is built from a file: `nixoci build -f default.nix`.");
    /// The directory does not exist.
    NO_DIRECTORY = ("nixoci::nix::no_directory", Evaluation, "the directory does not exist",
        "The flake reference names a directory that is not there. A reference that begins with a dot is relative \
         to the current directory.");
    /// The file does not exist.
    NO_FILE = ("nixoci::nix::no_file", Evaluation, "the Nix file does not exist",
        "--file names a file that is not there, or a directory without a default.nix.");
    /// The flake has no such attribute.
    NO_ATTRIBUTE = ("nixoci::nix::no_attribute", Evaluation, "the attribute does not exist",
        "The expression has nothing under that name. A name such as `container` is looked up in a flake as \
         packages.<system>.container, legacyPackages.<system>.container, the same for the host's system, and as an \
         output of its own.");
    /// The flake has nothing for the system.
    NO_SYSTEM = ("nixoci::nix::no_system", Evaluation, "the flake has no output for that system",
        "A flake lists its outputs for each system separately, and this one has the name, but not for the \
         Linux system that was asked for. A container image always needs a Linux system, also on a Mac.");
    /// What the attribute yields is no derivation.
    NOT_A_DERIVATION = ("nixoci::nix::not_a_derivation", Evaluation, "the attribute cannot be built",
        "The attribute exists, but is neither a derivation nor a path: perhaps a set of packages, a function, or \
         a NixOS configuration.");
    /// A function wants an argument.
    MISSING_ARGUMENT = ("nixoci::nix::missing_argument", Evaluation, "a function's argument is missing",
        "The file is a function with an argument that has no default. nixoci passes `system` by itself; everything \
         else is given with --arg NAME EXPRESSION or --argstr NAME TEXT.");
    /// Git does not know the file.
    UNTRACKED = ("nixoci::nix::untracked", Evaluation, "Nix does not see a file that Git does not track",
        "In a Git repository Nix sees only files that Git tracks. A new file must be added first; it need not be \
         committed.");
    /// The file is in a submodule.
    SUBMODULE = ("nixoci::nix::submodule", Evaluation, "Nix does not see Git submodules",
        "A flake reference includes the repository's submodules only with `?submodules=1`.");
    /// The file does not exist.
    MISSING_SOURCE = ("nixoci::nix::missing_source", Evaluation, "the expression names a file that does not exist",
        "A path in the expression leads nowhere. Paths are relative to the file they are written in.");
    /// The repository belongs to somebody else.
    NOT_OWNED = ("nixoci::nix::not_owned", Evaluation, "the Git repository belongs to another user",
        "Git refuses repositories of other users unless they are listed as safe, and Nix does as well. It reads \
         ~/.gitconfig and /etc/gitconfig for that, not the environment.");
    /// A socket or the like in the flake.
    UNSUPPORTED_FILE = ("nixoci::nix::unsupported_file", Evaluation, "a file cannot be copied to the store",
        "A `path:` reference copies the whole directory to the store, and sockets, pipes and devices cannot be \
         copied. In a Git repository a reference without `path:` copies only tracked files.");
    /// An impure access.
    IMPURE = ("nixoci::nix::impure", Evaluation, "the expression reads something outside the flake",
        "Flakes are evaluated purely: no absolute paths, no environment variables, no NIX_PATH.");
    /// An input cannot be fetched.
    FETCH = ("nixoci::nix::fetch", Evaluation, "an input cannot be fetched",
        "Nix could not download an input of the flake: no network, a name that does not resolve, a proxy, a server \
         that does not answer. `--override-input NAME PATH` uses a local copy.");
    /// A directory with a `.git` that is none.
    NO_REPOSITORY = ("nixoci::nix::no_repository", Evaluation, "a `.git` is no Git repository",
        "Nix takes a directory with `.git` in it, or in a directory above, for a Git repository, and Git does not. `git init` \
         makes it one; `nixoci build path:.` builds the directory as it is; or remove the `.git`.");
    /// An input may not be fetched.
    FETCH_DENIED = ("nixoci::nix::fetch_denied", Evaluation, "the server refuses to hand out an input",
        "The server answered that the input does not exist or may not be read, or that there were too many requests. \
         Private repositories need an access token in nix.conf (access-tokens) or ssh (git+ssh://); a token also \
         raises GitHub's limit.");
    /// The lock file would have to change.
    LOCK = ("nixoci::nix::lock", Evaluation, "the lock file is out of date",
        "flake.lock does not match the inputs of flake.nix, and may not be changed now.");
    /// An experimental feature is off.
    FEATURE_DISABLED = ("nixoci::nix::feature_disabled", Evaluation, "an experimental feature is switched off",
        "The expression uses a feature of Nix that is experimental. nixoci itself switches on nix-command and \
         flakes for its own calls.");
    /// Nix does not know a flag.
    BAD_FLAG = ("nixoci::nix::bad_flag", Usage, "Nix does not understand a flag",
        "Nix refused a flag or a setting. If it is one that you passed on, this version of Nix may not have it.");

    /// The store path is gone.
    GONE = ("nixoci::nix::gone", Transfer, "the store path is not valid",
        "Nix does not have the store path, or no longer: a garbage collection may have removed it. Build again.");
    /// A NAR is not what path-info says.
    DAMAGED = ("nixoci::nix::damaged", Transfer, "a store path does not match its hash",
        "What came out of the store has another hash or length than Nix recorded when it was made: the store is \
         damaged, or the transfer was.");
    /// A NAR ended too early.
    TRANSFER = ("nixoci::nix::transfer", Transfer, "reading from the store failed",
        "The contents of a store path could not be read to the end: Nix or the connection ended early, or whoever \
         takes the bytes stopped taking them. Nothing of it was kept; try again.");
    /// The connection to a store broke.
    CONNECTION_LOST = ("nixoci::nix::connection_lost", Transfer, "the connection to the Nix daemon broke",
        "The daemon, here or on a builder, ended the connection: it was restarted or killed, it does not exist \
         there, or the machine went away. Finished store paths are kept.");
    /// A NAR is malformed.
    BAD_NAR = ("nixoci::nix::bad_nar", Transfer, "not a Nix archive",
        "A stream that should be a Nix archive (NAR) is none, or breaks the format's rules.");
    /// A store path that should be a file is something else.
    NOT_A_FILE = ("nixoci::nix::not_a_file", Image, "what was built is a directory, not an image file",
        "An image is one file in the Nix store; what was built is a directory, as packages are, or a symbolic link. \
         Name the attribute of the image, which `dockerTools.buildImage` or `dockerTools.buildLayeredImage` makes.");
    /// A proof build made something else, or could not be prepared.
    PROOF = ("nixoci::nix::proof", Build, "a builder does not make what it should",
        "`nixoci doctor --build`, and `nixoci provision` at its end, build something tiny, a file with a random word, and \
         read it back. Either that could not be prepared in nixoci's cache directory, or nothing came back for five minutes, \
         or another thing did: whoever built it does not do what it is told.");
}
