//! What can be wrong with the command line itself.

nixoci_core::codes! {
    /// The command line cannot be understood.
    USAGE = ("nixoci::usage", Usage, "the command line cannot be understood",
        "A flag or an argument is not what it should be. `nixoci help COMMAND` shows what a command takes.");
    /// An image without a command.
    NOTHING_TO_START = ("nixoci::run::nothing_to_start", Image, "the image names no command to start",
        "`nixoci run` starts what the image's Entrypoint and Cmd say, and this image has neither. Arguments after `--` are the \
         command; `config.Cmd` in the expression makes one a part of the image.");
    /// A project wants more than it may do by itself.
    UNTRUSTED_PROJECT = ("nixoci::project::not_trusted", Untrusted, "the project is not trusted",
        "nixoci.toml came with the project, and names machines, keys, addresses, directories or clusters, or sets up your \
         virtual machines. Settings that describe the image need no trust; this does: `nixoci config trust` lists it and \
         remembers your answer for this file, until it changes. On a terminal nixoci asks by itself. In CI, \
         --trust-project or NIXOCI_TRUST_PROJECT=true trusts the file for that command. docs/trust.md has every class of key.");
    /// The list of trusted projects cannot be used.
    TRUST_FILE = ("nixoci::project::list", Config, "the list of trusted projects cannot be used",
        "Projects that you trust are listed in $XDG_STATE_HOME/nixoci/trusted-projects.json \
         (~/.local/state/nixoci/trusted-projects.json). It cannot be read or written; the cause says why. Deleted, it trusts \
         no project, and nixoci asks again.");
    /// A configuration file of somebody else.
    FOREIGN_FILE = ("nixoci::config::owner", Untrusted, "the configuration file belongs to another user",
        "nixoci looks for nixoci.toml in this directory and, in a repository or below your home directory, in those above. It \
         found one that belongs to neither you nor root, and whoever owns it could have everything built in this \
         directory go their way. Name the file if you mean it.");
    /// Not a date.
    BAD_DATE = ("nixoci::usage::date", Usage, "not a date for the image",
        "--created takes keep (the image's own date, which Nix sets to 1970 so that equal images are equal), now, commit \
         (when the commit was made that is checked out here), or a date such as 2026-01-31T12:00:00Z.");
    /// There is no home directory.
    NO_HOME = ("nixoci::no_home", Config, "there is no place for the cache",
        "nixoci keeps images in $XDG_CACHE_HOME/nixoci, or in .cache/nixoci in the home directory. Neither \
         XDG_CACHE_HOME (with XDG_CONFIG_HOME and XDG_STATE_HOME) nor HOME is set.");
    /// The host's system cannot be found out.
    NO_HOST = ("nixoci::no_host", Unexpected, "this machine cannot be recognised",
        "nixoci asks `uname` for the operating system and the CPU, and did not understand the answer.");
    /// `-C` names no directory.
    NO_DIRECTORY = ("nixoci::usage::no_directory", Usage, "the directory does not exist",
        "-C names a directory to run in, and it is not there or cannot be entered.");
    /// `--progress-fd` names no open file descriptor.
    NO_DESCRIPTOR = ("nixoci::usage::no_descriptor", Usage, "the file descriptor is not open",
        "--progress-fd takes the number of a file descriptor that the shell or the program that starts nixoci has \
         opened for it, such as 3 in `nixoci build --progress-fd 3 3> events.jsonl`. Nothing is open under the number \
         that was given.");
    /// Standard output cannot be written.
    NO_OUTPUT = ("nixoci::no_output", Delivery, "the result cannot be written",
        "The result goes to standard output, and writing there failed: usually it is a file on a disk that is \
         full. What was built, loaded or written to files is kept: the same command again takes seconds.");
    /// An answer could not be read.
    NO_ANSWER = ("nixoci::no_answer", Unexpected, "the answer could not be read",
        "nixoci asked something on the terminal, and reading the answer failed. The cause is the system's own reason. \
         --yes and --allow-root agree beforehand, and nothing is asked.");
    /// The file of `provision --write` cannot be read or written.
    CONFIGURATION_FILE = ("nixoci::provision::file", Permission, "the configuration file cannot be read or written",
        "`nixoci provision --write FILE` reads FILE, shows what it would change, and puts a new file in its place. The file has to \
         be there, yours, and in a directory that you may write to. Files in the Nix store (home-manager's, for example) are written by \
         what made them.");
    /// The file of `provision --write` is written in another way.
    NOT_PLACED = ("nixoci::provision::not_placed", Config, "the lines cannot be placed in that file",
        "`nixoci provision --write FILE` adds lines before the last closing brace of a module that is written as a set, or as a \
         function to one: `{ pkgs, ... }: { … }`. A flake.nix, a module with `config = …` of its own, or a set that is computed is \
         changed by hand: the lines are below the message.");
    /// A Dockerfile where a Nix file belongs.
    DOCKERFILE = ("nixoci::usage::dockerfile", Usage, "a Dockerfile is not a Nix expression",
        "nixoci makes images from Nix expressions: a flake's attribute, or a Nix file with -f. It reads no Dockerfile. \
         `nixoci init` writes a small flake to begin with; what a Dockerfile installs with a package manager goes into \
         `contents`, its CMD into `config.Cmd`, its FROM (if it is needed at all) into `fromImage`.");
    /// A project without an image.
    INIT_NOTHING = ("nixoci::init::no_image", Evaluation, "there is no image to write a nixoci.toml for",
        "`nixoci init` asked Nix what the flake.nix or default.nix here yields, and nothing of it is an image of \
         nixpkgs' dockerTools or of nix2container. Add one, or, if an attribute is an image that was made in another \
         way, name it: `nixoci init .#ATTRIBUTE`.");
    /// Nothing with that name to explain.
    NOTHING_TO_EXPLAIN = ("nixoci::usage::nothing_to_explain", Usage, "no such code or topic",
        "`nixoci explain` without an argument lists everything it can explain.");
}
