//! From what a developer types to what cargo builds and nextest runs.
//!
//! `cargo xtask test WORD…` takes names of tests (or a part of one, or CRATE:NAME), files and crates. Only the test programs that may hold such a test are
//! built: the sources are searched for the word beforehand, which takes milliseconds, where building everything takes minutes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::lab::parts::files_below;
use crate::{cargo, sh, workspace};

/// A program that cargo makes of tests.
#[derive(Debug, Clone)]
struct Target {
    package: String,
    kind: Kind,
    /// Its sources, relative to `root`.
    root: PathBuf,
    files: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Lib,
    Bin(String),
    Test(String),
}

/// The targets to build, and the filter for the tests to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Flags that choose packages and targets, for cargo and nextest alike.
    pub(super) targets: Vec<String>,
    /// nextest's filterset; none for everything.
    pub(super) filterset: Option<String>,
    /// Words that were taken for whole names, because a source declares something of that name.
    pub(super) whole: Vec<String>,
}

impl Selection {
    /// Takes words that are no whole name of a test after all for a part of one.
    pub(super) fn settle(&mut self, tests: &[String]) {
        let Some(filterset) = &mut self.filterset else { return };
        for word in &self.whole {
            let begins = |test: &String| segments_follow(test, word);
            if !tests.iter().any(begins) {
                *filterset = filterset.replace(&named(word, true), &named(word, false));
            }
        }
    }
}

/// Whether the segments of a word are segments of a test's name, in this order, as [`named`] tells nextest. The first may be the end of one.
fn segments_follow(test: &str, word: &str) -> bool {
    let mut rest = test.split("::");
    let mut wanted = word.split("::").filter(|segment| !segment.is_empty());
    let Some(first) = wanted.next() else { return true };
    rest.any(|segment| segment.ends_with(first)) && wanted.all(|next| rest.any(|segment| segment == next))
}

/// The selection for these words; none of them means every test.
///
/// # Errors
/// A file that holds no tests.
pub(super) fn select(words: &[String]) -> Result<Selection> {
    select_among(&targets()?, words, &workspace())
}

fn select_among(all: &[Target], words: &[String], checkout: &Path) -> Result<Selection> {
    let mut chosen: BTreeSet<(&str, &Kind)> = BTreeSet::new();
    let mut filters = Vec::new();
    let mut whole = Vec::new();
    let mut anywhere = words.is_empty();
    for word in words {
        let (filter, targets) = choose(all, word, checkout)?;
        let name = in_crate(all, word).map_or(word.as_str(), |(_, name)| name);
        let strict = named(name, true);
        let guessed = strict != named(name, false) && filter.contains(&strict);
        whole.extend(guessed.then(|| name.to_owned()));
        filters.push(filter);
        // The name may be one that a macro makes. nextest says if there is none.
        anywhere |= targets.is_empty();
        chosen.extend(targets.iter().map(|target| (target.package.as_str(), &target.kind)));
    }
    let filterset = (!filters.is_empty()).then(|| filters.join(" | "));
    let targets = if anywhere { everything() } else { flags(&chosen) };
    Ok(Selection { targets, filterset, whole })
}

/// Every test program. Examples of programs are built, too: a test may want one.
fn everything() -> Vec<String> {
    ["--workspace", "--lib", "--bins", "--tests", "--examples"].map(str::to_owned).to_vec()
}

/// Flags for some targets. Crates are compiled with the features that the whole workspace wants where that is possible: what was built for one
/// test then serves the next.
fn flags(chosen: &BTreeSet<(&str, &Kind)>) -> Vec<String> {
    let mut flags: BTreeSet<Vec<String>> = BTreeSet::new();
    let whole = chosen.iter().any(|(_, kind)| matches!(kind, Kind::Test(_)));
    for (package, kind) in chosen {
        if !whole {
            flags.insert(vec!["--package".to_owned(), (*package).to_owned()]);
        }
        flags.insert(match kind {
            Kind::Lib => vec!["--lib".to_owned()],
            Kind::Bin(name) => vec!["--bin".to_owned(), name.clone()],
            Kind::Test(name) => vec!["--test".to_owned(), name.clone()],
        });
    }
    // Every feature of a crate is wanted by some other crate of the workspace.
    let first = if whole { "--workspace" } else { "--all-features" };
    std::iter::once(first.to_owned()).chain(flags.into_iter().flatten()).collect()
}

/// The filter for one word, and the targets that may have such a test.
fn choose<'a>(all: &'a [Target], word: &str, checkout: &Path) -> Result<(String, Vec<&'a Target>)> {
    let package = |target: &&Target| target.package == word || target.package == format!("nixoci-{word}");
    if let Some(first) = all.iter().find(package) {
        let targets = all.iter().filter(|target| target.package == first.package).collect();
        return Ok((format!("package(={})", first.package), targets));
    }
    if word.ends_with(".rs") {
        return choose_file(all, word, checkout);
    }
    if let Some((first, name)) = in_crate(all, word) {
        let (filter, mut targets) = choose(all, name, checkout)?;
        targets.retain(|target| target.package == first.package);
        if targets.is_empty() {
            // A macro of another crate makes the name.
            targets = all.iter().filter(|target| target.package == first.package).collect();
        }
        return Ok((format!("(package(={}) & {filter})", first.package), targets));
    }
    let held: Vec<(&Target, Mention)> =
        all.iter().filter_map(|target| Some((target, mention(target, word)?))).collect();
    let whole = held.iter().any(|(_, mention)| *mention == Mention::Whole);
    Ok((named(word, whole), held.into_iter().map(|(target, _)| target).collect()))
}

/// `core:error::tests` is a test of one crate: several have tests of the same name.
fn in_crate<'a, 'w>(all: &'a [Target], word: &'w str) -> Option<(&'a Target, &'w str)> {
    let (name, rest) = word.split_once(':')?;
    let found =
        all.iter().find(|target| target.package == name || target.package == format!("nixoci-{name}"))?;
    (!rest.is_empty() && !rest.starts_with(':')).then_some((found, rest))
}

/// nextest's filter for a word. `multipass::from_nothing` is also `multipass::life::from_nothing_to_a_container`: modules between are left out.
/// A whole name is that test, with all its cases, and no test whose name only begins so.
fn named(word: &str, whole: bool) -> String {
    let identifiers = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    if !word.contains("::") || !word.chars().all(identifiers) {
        return format!("test(~{word})");
    }
    let path = word.trim_end_matches(':').replace("::", "::(.*::)?");
    if whole || word.ends_with("::") { format!("test(/{path}(::|$)/)") } else { format!("test(/{path}/)") }
}

/// How the sources of a program have the name of a test.
#[derive(Debug, PartialEq, Eq)]
enum Mention {
    /// Its last segment is a part of a name.
    Part,
    /// Its last segment is the name of a function, a module or a case.
    Whole,
}

/// Whether a program may hold a test of this name: each segment is a file, a module or a function, and the last one may also be a case
/// (`lab/cases.rs`).
fn mention(target: &Target, word: &str) -> Option<Mention> {
    let segments: Vec<&str> = word.split("::").filter(|segment| !segment.is_empty()).collect();
    let (last, before) = segments.split_last()?;
    let mut names = BTreeSet::new();
    let mut cases = false;
    for file in &target.files {
        let text = fs::read_to_string(target.root.join(file)).unwrap_or_default();
        names.extend(declared(file, &text));
        cases |= !before.is_empty() && text.contains(&format!("{last}("));
    }
    let part = |segment: &str| names.iter().any(|name| name.contains(segment));
    if !before.iter().copied().all(part) || !(cases || part(last)) {
        return None;
    }
    Some(if cases || names.contains(*last) { Mention::Whole } else { Mention::Part })
}

/// The names that tests of a source have in theirs: the source's own path, its modules and its functions.
pub(crate) fn declared(path: &Path, text: &str) -> BTreeSet<String> {
    let line = |line: &str| {
        let (_, rest) = line.split_once("fn ").or_else(|| line.split_once("mod "))?;
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned)
    };
    let own = path.with_extension("");
    let own = own.iter().map(|part| part.to_string_lossy().into_owned());
    own.chain(text.lines().filter_map(line)).collect()
}

fn choose_file<'a>(all: &'a [Target], word: &str, checkout: &Path) -> Result<(String, Vec<&'a Target>)> {
    let path = fs::canonicalize(word).or_else(|_| fs::canonicalize(checkout.join(word)));
    let path = path.with_context(|| format!("there is no file {word}"))?;
    for target in all {
        let Ok(below) = path.strip_prefix(&target.root) else { continue };
        if target.files.iter().any(|file| file == below) {
            let modules = modules(below, &target.root.join(below));
            let within = if modules.is_empty() { String::new() } else { format!(" & test(/^{modules}::/)") };
            return Ok((format!("(binary_id(={}){within})", target.binary_id()), vec![target]));
        }
    }
    bail!("{word} is part of no test program: `cargo xtask test --list` lists every test")
}

/// The modules that a file is, as names of tests have them: empty for the file that is the root of its program.
fn modules(below: &Path, file: &Path) -> String {
    let is_root = below.components().count() == 1 && is_root(file);
    let mut names: Vec<String> = below
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .filter(|name| name != "mod")
        .collect();
    if is_root {
        return String::new();
    }
    // `log_tests.rs` is the module `tests` of `log.rs`.
    if let Some(module) = names.last().and_then(|name| name.strip_suffix("_tests")) {
        let module = module.to_owned();
        names.pop();
        names.extend([module, "tests".to_owned()]);
    }
    names.join("::")
}

fn is_root(file: &Path) -> bool {
    let stem = file.file_stem().unwrap_or_default();
    stem == "main"
        || stem == "lib"
        || file.parent().and_then(Path::file_name).is_some_and(|dir| dir == "tests")
}

impl Target {
    /// As nextest names a test program.
    fn binary_id(&self) -> String {
        match &self.kind {
            Kind::Lib => self.package.clone(),
            Kind::Bin(name) => format!("{}::bin/{name}", self.package),
            Kind::Test(name) => format!("{}::{name}", self.package),
        }
    }
}

/// The fields of `cargo metadata` that are used here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<PackageTarget>,
}

#[derive(Deserialize)]
struct PackageTarget {
    name: String,
    kind: Vec<String>,
    src_path: PathBuf,
}

fn targets() -> Result<Vec<Target>> {
    let mut metadata = Command::new(cargo());
    metadata.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Metadata = serde_json::from_str(&sh::quiet(metadata.current_dir(workspace()))?)?;
    let mut targets = Vec::new();
    for package in metadata.packages {
        for target in package.targets {
            let kind = match target.kind.first().map(String::as_str) {
                Some("lib") => Kind::Lib,
                Some("bin") => Kind::Bin(target.name),
                Some("test") => Kind::Test(target.name),
                _ => continue,
            };
            let (root, files) = sources(&target.src_path)?;
            targets.push(Target { package: package.name.clone(), kind, root, files });
        }
    }
    Ok(targets)
}

/// The files of a program by its first one: all that lie beside it, or it alone where it is one of several programs in a directory.
fn sources(first: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let root = first.parent().context("a source in no directory")?.to_owned();
    if root.file_name().is_some_and(|name| name == "tests") {
        let file = first.file_name().map(PathBuf::from).context("a source without a name")?;
        return Ok((root, vec![file]));
    }
    let mut files = files_below(&root)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    Ok((root, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(words: &[&str]) -> Selection {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        select(&words).unwrap()
    }

    #[test]
    fn a_crate_a_file_and_a_name() {
        for word in ["nixoci-core", "core"] {
            let core = chosen(&[word]);
            assert_eq!(core.targets, ["--all-features", "--lib", "--package", "nixoci-core"]);
            assert_eq!(core.filterset.unwrap(), "package(=nixoci-core)");
        }
        let file = chosen(&["crates/cli/tests/lab/images.rs"]);
        assert_eq!(file.targets, ["--workspace", "--test", "lab"]);
        assert_eq!(file.filterset.unwrap(), "(binary_id(=nixoci::lab) & test(/^images::/))");
        let file = chosen(&["crates/nix/src/nar/tests.rs"]);
        assert_eq!(file.filterset.unwrap(), "(binary_id(=nixoci-nix) & test(/^nar::tests::/))");
        let name = chosen(&["images::the_cow_says_hello"]);
        assert!(name.targets.contains(&"lab".to_owned()), "{name:?}");
        assert_eq!(name.filterset.unwrap(), "test(/images::(.*::)?the_cow_says_hello(::|$)/)");
        // One case of it, in the one program that has it; and a part of a name.
        let case = chosen(&["images::the_cow_says_hello::nix_2_26"]);
        assert_eq!(case.targets, ["--workspace", "--test", "lab"]);
        assert!(case.filterset.unwrap().ends_with("nix_2_26(::|$)/)"));
        let part = chosen(&["multipass::from_noth"]);
        assert_eq!(part.filterset.unwrap(), "test(/multipass::(.*::)?from_noth/)");
        // A module that is called so is no test.
        let mut guess = chosen(&["credentials::secrets"]);
        assert_eq!(guess.whole, ["credentials::secrets"]);
        guess.settle(&[
            "multipass::credentials::secrets_stay".to_owned(),
            "a::credentials::secret".to_owned(),
        ]);
        assert_eq!(guess.filterset.unwrap(), "test(/credentials::(.*::)?secrets/)");
        let mut case = chosen(&["images::the_cow_says_hello"]);
        case.settle(&["images::the_cow_says_hello::nix_2_26".to_owned()]);
        assert_eq!(case.filterset.unwrap(), "test(/images::(.*::)?the_cow_says_hello(::|$)/)");
        assert!(chosen(&["idle", "multipass::"]).whole.is_empty(), "nothing is guessed");
        // Other crates have tests of this name, too.
        let one = chosen(&["backend-local:the_contract_is_kept::nix_2_26_as_root"]);
        assert!(one.targets.contains(&"conformance".to_owned()), "{one:?}");
        let filter = one.filterset.unwrap();
        assert!(filter.starts_with("(package(=nixoci-backend-local) & test(/"), "{filter}");
        // This very test.
        let name = chosen(&["a_crate_a_file_and_a_name"]);
        assert_eq!(name.targets, ["--all-features", "--bin", "xtask", "--package", "xtask"]);
    }

    #[test]
    fn nothing_means_everything_and_so_does_a_name_that_no_source_has() {
        assert_eq!(chosen(&[]), Selection { targets: everything(), ..Selection::default() });
        // Written in halves, so that this file does not have it.
        let unknown = chosen(&[concat!("no_such", "_test_anywhere")]);
        assert_eq!(unknown.targets, everything());
        assert!(select(&["no/such/file.rs".to_owned()]).is_err());
    }

    #[test]
    fn several_words_are_any_of_them() {
        let both = chosen(&["core", "crates/image/tests/it/damage.rs"]);
        assert_eq!(both.targets, ["--workspace", "--lib", "--test", "it"]);
        assert_eq!(
            both.filterset.unwrap(),
            "package(=nixoci-core) | (binary_id(=nixoci-image::it) & test(/^damage::/))"
        );
    }
}
