//! The arguments that Nix is called with, all in one place.
//!
//! What always holds: features are switched on for the call, no lock file is written, standard input is
//! closed (Nix would prompt), `--system` is never passed (it is a restricted setting, and full attributes
//! say the same).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nixoci_core::artifact::StorePath;
use nixoci_core::platform::NixSystem;
use nixoci_core::request::{NixArg, NixFlags};
use nixoci_core::runner::Command;

use crate::driver::Nix;
use crate::place::Place;
use crate::version::Ability;

/// A thing to build with nothing left to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A full attribute of a flake.
    Flake { reference: String, attribute: String },
    /// An attribute of a file, or the file's value itself.
    File { file: PathBuf, attribute: Option<String>, args: BTreeMap<String, NixArg>, system: NixSystem },
    /// A store path, or all outputs of a derivation.
    Store(StorePath),
}

impl Target {
    /// The attribute, in the words of an error message.
    pub(crate) fn attribute(&self) -> Option<&str> {
        match self {
            Target::Flake { attribute, .. } => Some(attribute),
            Target::File { attribute, .. } => attribute.as_deref(),
            Target::Store(_) => None,
        }
    }
}

/// `nix WORDS…` with the features that nixoci needs.
pub(crate) fn nix(nix: &Nix, words: &[&str]) -> Command {
    Command::new(&nix.program)
        .args(words.iter().copied())
        .args(["--extra-experimental-features", "nix-command flakes"])
}

/// The same for a command about a store: the one that this Nix works in.
fn in_store(nix: &Nix, words: &[&str]) -> Command {
    let command = self::nix(nix, words);
    match nix.place() {
        Place::Own | Place::Guest(_) => command,
        Place::Machine(machine) => {
            command.args(["--store", &machine.uri]).env("NIX_SSHOPTS", &machine.ssh_options)
        }
        Place::Private(private) => {
            command.arg("--store").arg(&private.root).env("NIX_SSHOPTS", &private.ssh_options)
        }
    }
}

/// What `nix build` does about results.
pub(crate) enum Mode<'a> {
    /// Evaluates and plans only.
    DryRun,
    /// Builds, and makes this symlink a garbage collector root of the result.
    Root(&'a Path),
}

/// `nix build` for one target.
pub(crate) fn build(nix: &Nix, target: &Target, flags: &NixFlags, mode: &Mode<'_>) -> Command {
    let command = logged(in_store(nix, &["build", "--json"]));
    let command = match nix.place() {
        Place::Own | Place::Guest(_) => command,
        // Evaluated here: there, every file of the project would be sent before anything is known.
        Place::Machine(_) => command.args(["--eval-store", "auto"]),
        Place::Private(private) => command
            .args(["--builders", &private.builders, "--max-jobs", "0"])
            // No `min-free`: a collection of garbage in the middle of a build takes what machines have just sent back, which
            // nothing holds in a store without a daemon.
            .args(["--option", "builders-use-substitutes", "true"]),
    };
    let command = match (mode, nix.place()) {
        (Mode::DryRun, _) => command.args(["--dry-run", "--no-link"]),
        // Nix makes no link to a store that is not here, and says nothing.
        (Mode::Root(_), Place::Machine(_)) => command.arg("--no-link"),
        (Mode::Root(root), _) => command.arg("--out-link").arg(*root),
    };
    with_target(nix, with_flags(nix, command, &flags_for(nix, flags), target), target)
}

/// What of the user's flags counts in this store: our own does not build here.
fn flags_for<'a>(nix: &Nix, flags: &'a NixFlags) -> Cow<'a, NixFlags> {
    match nix.place() {
        Place::Private(_) => Cow::Owned(NixFlags { max_jobs: None, ..flags.clone() }),
        _ => Cow::Borrowed(flags),
    }
}

/// `nix build` of all outputs of derivations, which leaves no link.
pub(crate) fn build_derivations(nix: &Nix, drvs: &[StorePath], flags: &NixFlags) -> Command {
    let command = logged(in_store(nix, &["build", "--no-link"]));
    let targets: Vec<Target> = drvs.iter().cloned().map(Target::Store).collect();
    let Some(first) = targets.first() else { return command };
    let command = with_flags(nix, command, flags, first);
    targets.iter().fold(command, |command, target| with_target(nix, command, target))
}

/// `nix copy` of all outputs of derivations from this host's own store. They have no signatures, and the machine has to trust the user.
pub(crate) fn copy(nix: &Nix, drvs: &[StorePath]) -> Command {
    let command = logged(self::nix(nix, &["copy", "--no-check-sigs"]));
    let command = match nix.place() {
        Place::Own | Place::Guest(_) => command,
        Place::Machine(machine) => {
            command.args(["--to", &machine.uri]).env("NIX_SSHOPTS", &machine.ssh_options)
        }
        Place::Private(private) => command.arg("--to").arg(&private.root),
    };
    command.args(drvs.iter().map(|drv| format!("{drv}^*")))
}

/// `nix derivation show` of everything that a derivation is built from.
pub(crate) fn graph(nix: &Nix, drv: &StorePath) -> Command {
    self::nix(nix, &["derivation", "show", "--recursive"]).arg(drv.as_str())
}

/// `nix eval --json` of a function applied to a target.
pub(crate) fn eval(nix: &Nix, target: &Target, flags: &NixFlags, apply: &str) -> Command {
    let command = self::nix(nix, &["eval", "--json", "--apply", apply]);
    with_target(nix, with_flags(nix, command, flags, target), target)
}

/// `nix eval` of the path of a target's derivation, which is written to this host's store by that. Nothing for a store path.
pub(crate) fn derivation_path(nix: &Nix, target: &Target, flags: &NixFlags) -> Option<Command> {
    let within = |attribute: &str| format!("{attribute}.drvPath");
    let target = match target.clone() {
        Target::Flake { reference, attribute } => Target::Flake { reference, attribute: within(&attribute) },
        Target::File { file, attribute, args, system } => {
            let attribute = attribute.map_or_else(|| "drvPath".to_owned(), |attribute| within(&attribute));
            Target::File { file, attribute: Some(attribute), args, system }
        }
        Target::Store(_) => return None,
    };
    // What an evaluation builds has to be built in the store that the result is for: then the build evaluates.
    let command = logged(self::nix(nix, &["eval", "--raw"])).args([
        "--option",
        "allow-import-from-derivation",
        "false",
    ]);
    Some(with_target(nix, with_flags(nix, command, flags, &target), &target))
}

/// The same command with its log in a form that [`crate::log`] reads.
pub(crate) fn logged(command: Command) -> Command {
    command.args(["--log-format", "internal-json"])
}

fn with_flags(nix: &Nix, mut command: Command, flags: &NixFlags, target: &Target) -> Command {
    for (set, name) in [
        (flags.impure, "--impure"),
        (flags.accept_flake_config, "--accept-flake-config"),
        (flags.refresh, "--refresh"),
        (flags.show_trace, "--show-trace"),
        (flags.keep_going, "--keep-going"),
        (flags.keep_failed, "--keep-failed"),
    ] {
        if set {
            command = command.arg(name);
        }
    }
    if let Some(jobs) = &flags.max_jobs {
        command = command.args(["--max-jobs", jobs]);
    }
    if let Some(cores) = flags.cores {
        command = command.arg("--cores").arg(cores.to_string());
    }
    if matches!(target, Target::Flake { .. }) {
        for (input, reference) in &flags.override_inputs {
            command = command.args(["--override-input", input, nix.place().reference(reference)]);
        }
    }
    for (name, value) in &flags.options {
        command = command.args(["--option", name, value]);
    }
    command
}

fn with_target(nix: &Nix, command: Command, target: &Target) -> Command {
    match target {
        // The leading dot keeps Nix from trying the host's own sets first.
        Target::Flake { reference, attribute } => {
            let reference = nix.place().reference(reference);
            command.arg("--no-write-lock-file").arg(format!("{reference}#.{attribute}"))
        }
        Target::File { file, attribute, args, system } => {
            let command = command.arg("--file").arg(nix.place().file(file)).args(file_args(args, system));
            match attribute {
                Some(attribute) => command.arg(attribute),
                None => command,
            }
        }
        Target::Store(path) if path.is_derivation() => command.arg(format!("{path}^*")),
        Target::Store(path) => command.arg(path.as_str()),
    }
}

/// Arguments for a file's function. `system` comes by itself: a function that does not take it is not given
/// it, because Nix passes only what the function names.
fn file_args(args: &BTreeMap<String, NixArg>, system: &NixSystem) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    let mut push =
        |flag: &str, name: &str, value: &str| words.extend([flag, name, value].map(OsString::from));
    if !args.contains_key("system") {
        push("--argstr", "system", system.as_str());
    }
    for (name, value) in args {
        match value {
            NixArg::Expr(expression) => push("--arg", name, expression),
            NixArg::Str(text) => push("--argstr", name, text),
        }
    }
    words
}

/// `nix path-info --json`.
pub(crate) fn path_info(nix: &Nix, paths: &[StorePath], closure: bool) -> Command {
    let mut command = in_store(nix, &["path-info", "--json"]);
    if nix.version.has(Ability::JsonFormat) {
        command = command.args(["--json-format", "2"]);
    }
    if closure {
        command = command.arg("--recursive");
    }
    command.args(paths.iter().map(StorePath::as_str))
}

/// `nix store dump-path`; in a guest `nix-store --dump`, which reads the files itself: the way through a daemon costs a third of
/// the time, and what comes is checked against its hash in any case.
pub(crate) fn dump_path(nix: &Nix, path: &StorePath) -> Command {
    if let Place::Guest(_) = nix.place() {
        return Command::new("nix-store").args(["--dump", path.as_str()]);
    }
    in_store(nix, &["store", "dump-path"]).arg(path.as_str())
}

/// `nix store info`, by the name this version has for it.
pub(crate) fn store_info(nix: &Nix) -> Command {
    let word = if nix.version.has(Ability::StoreInfo) { "info" } else { "ping" };
    in_store(nix, &["store", word, "--json"])
}

/// `nix store gc` of a chroot store.
pub(crate) fn collect(nix: &Nix, root: &Path) -> Command {
    self::nix(nix, &["store", "gc"]).arg("--store").arg(root)
}

/// `nix-store --add`: the one form that every version and Lix have. What comes in is public.
pub(crate) fn add(path: &Path) -> Command {
    Command::new("nix-store").arg("--add").arg(path)
}

/// Makes a symlink that keeps a store path from the garbage collector.
pub(crate) fn add_root(path: &StorePath, root: &Path) -> Command {
    Command::new("nix-store").args(["--realise", path.as_str(), "--add-root"]).arg(root)
}

/// `nix config show`.
pub(crate) fn settings(nix: &Nix) -> Command {
    self::nix(nix, &["config", "show", "--json"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nix(version: &str) -> Nix {
        Nix::new("nix".into(), crate::version::Version::parse(version).unwrap())
    }

    fn current() -> Nix {
        nix("nix (Nix) 2.34.8")
    }

    fn words(command: &Command) -> String {
        command.to_string().replace(" --extra-experimental-features 'nix-command flakes'", "")
    }

    fn system() -> NixSystem {
        "aarch64-linux".parse().unwrap()
    }

    #[test]
    fn a_flake_is_built_by_its_full_attribute_and_nothing_is_locked() {
        let target =
            Target::Flake { reference: "/src".into(), attribute: "packages.aarch64-linux.container".into() };
        let command = build(&current(), &target, &NixFlags::default(), &Mode::Root(Path::new("/root")));
        assert_eq!(
            words(&command),
            "nix build --json --log-format internal-json --out-link /root \
             --no-write-lock-file /src#.packages.aarch64-linux.container"
        );
        assert!(!command.stdin);
    }

    #[test]
    fn a_file_gets_the_system_unless_the_user_gave_one() {
        let target = |args| Target::File {
            file: "/src/default.nix".into(),
            attribute: Some("image".into()),
            args,
            system: system(),
        };
        let build = |args| {
            words(&build(&current(), &target(args), &NixFlags::default(), &Mode::DryRun))
                .replace("nix build --json --log-format internal-json --dry-run --no-link ", "")
        };
        assert_eq!(
            build(BTreeMap::from([("tag".into(), NixArg::Expr("1 + 1".into()))])),
            "--file /src/default.nix --argstr system aarch64-linux --arg tag '1 + 1' image"
        );
        assert_eq!(
            build(BTreeMap::from([("system".into(), NixArg::Str("x86_64-linux".into()))])),
            "--file /src/default.nix --argstr system x86_64-linux image"
        );
    }

    #[test]
    fn every_flag_of_nix_is_passed_on() {
        let flags = NixFlags {
            impure: true,
            accept_flake_config: true,
            refresh: true,
            show_trace: true,
            keep_going: true,
            keep_failed: true,
            override_inputs: vec![("nixpkgs".into(), "path:/x".into())],
            max_jobs: Some("auto".into()),
            cores: Some(2),
            options: vec![("warn-dirty".into(), "false".into())],
        };
        let target = Target::Flake { reference: ".".into(), attribute: "a".into() };
        let command = words(&build(&current(), &target, &flags, &Mode::DryRun));
        assert!(command.contains(
            "--impure --accept-flake-config --refresh --show-trace --keep-going --keep-failed \
             --max-jobs auto --cores 2 --override-input nixpkgs path:/x --option warn-dirty false"
        ));
        let store: StorePath = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-x.drv".parse().unwrap();
        let command = words(&build(&current(), &Target::Store(store), &flags, &Mode::DryRun));
        assert!(!command.contains("override-input") && command.ends_with("x.drv^*'"), "{command}");
    }

    #[test]
    fn flags_that_a_version_lacks_are_not_passed() {
        let path: StorePath = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-x".parse().unwrap();
        for (text, format, store) in [
            ("nix (Nix) 2.26.3", false, "info"),
            ("nix (Nix) 2.34.8", true, "info"),
            ("nix (Lix, like Nix) 2.91.1", false, "ping"),
        ] {
            let nix = nix(text);
            let info = words(&path_info(&nix, std::slice::from_ref(&path), true));
            assert_eq!(info.contains("--json-format 2"), format, "{text}");
            assert!(info.contains("--recursive"));
            let ping = words(&store_info(&nix));
            assert_eq!(ping, format!("nix store {store} --json"));
        }
    }
}
