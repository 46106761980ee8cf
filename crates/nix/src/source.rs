//! What the user's own files say about a failed evaluation: an untracked file, a submodule, no flake at all.

use std::path::{Path, PathBuf};

use nixoci_core::{Error, Remedy, shell};

use crate::cli::Target;
use crate::codes;
use crate::diagnose::Subject;
use crate::reference::local_dir;
use nixoci_core::pattern::Captures;

/// The directory that Nix copied to the store as the flake's source: the repository, or the flake's own
/// directory.
fn source_root(subject: &Subject<'_>) -> Option<PathBuf> {
    let (_, Target::Flake { reference, .. }) = subject.build? else { return None };
    let dir = local_dir(reference)?;
    let up = |name: &str| dir.ancestors().find(|dir| dir.join(name).exists()).map(Path::to_owned);
    if reference.starts_with("path:") {
        Some(dir)
    } else {
        up(".git").or_else(|| up("flake.nix")).or(Some(dir))
    }
}

/// A file as the user knows it: a copy in the store becomes the original, relative to the current directory
/// where it is below it.
pub(crate) fn as_the_user_knows_it(file: &str, subject: &Subject<'_>) -> PathBuf {
    let inside = file.strip_prefix("/nix/store/").and_then(|rest| rest.split_once("-source/"));
    let original = inside.and_then(|(_, inside)| {
        let original = source_root(subject)?.join(inside);
        original.exists().then_some(original)
    });
    let path = original.unwrap_or_else(|| PathBuf::from(file));
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or(path)
}

/// The evaluation wanted a file that it did not find: `file`, relative to `repo` or the source's root.
pub(crate) fn missing_file(values: &Captures, subject: &Subject<'_>) -> Error {
    let file = values.get("file").map(String::as_str).unwrap_or_default();
    let root = values.get("repo").map(PathBuf::from).or_else(|| source_root(subject));
    let Some(root) = root else {
        return Error::new(
            &codes::MISSING_SOURCE,
            format!("the expression names `{file}`, which does not exist"),
        );
    };
    if let Some(module) = submodule_of(&root, file) {
        return submodule(&module, file, subject);
    }
    if file.rsplit('/').next() == Some("flake.nix") && !root.join(file).exists() {
        return no_flake(values, subject);
    }
    if root.join(file).exists() {
        return untracked(&root, file);
    }
    let message = format!("the expression names `{file}`, which does not exist in {}", root.display());
    Error::new(&codes::MISSING_SOURCE, message)
        .remedy(Remedy::advice("paths in an expression are relative to the file they are written in"))
}

fn untracked(root: &Path, file: &str) -> Error {
    let message = format!("Nix does not see `{file}`, because Git does not track it");
    let command = shell!("git -C {} add -- {}", root, file);
    Error::new(&codes::UNTRACKED, message)
        .remedy(Remedy::command("add it; it need not be committed", command))
}

/// The longest `.gitmodules` that is looked into.
const MODULES_LIMIT: u64 = 1 << 20;

/// The submodule's directory, if `file` lies in one.
fn submodule_of(root: &Path, file: &str) -> Option<String> {
    let text = nixoci_core::file::read_to_string(&root.join(".gitmodules"), MODULES_LIMIT).ok()?;
    let paths = text.lines().filter_map(|line| line.trim().strip_prefix("path")?.trim().strip_prefix('='));
    let mut paths = paths.map(|path| path.trim().to_owned());
    paths.find(|path| Path::new(file).starts_with(path))
}

fn submodule(module: &str, file: &str, subject: &Subject<'_>) -> Error {
    let reference = subject.reference();
    let separator = if reference.contains('?') { '&' } else { '?' };
    let message = format!("Nix does not see `{file}`, because it is in the Git submodule `{module}`");
    let attribute = match subject.build.map(|(request, _)| &request.installable) {
        Some(nixoci_core::request::Installable::Flake { attribute, .. }) => attribute.as_str().to_owned(),
        _ => String::new(),
    };
    let installable = format!("{reference}{separator}submodules=1#{attribute}");
    Error::new(&codes::SUBMODULE, message)
        .remedy(Remedy::command(
            "let the flake include its submodules",
            shell!("nixoci build {}", installable),
        ))
        .remedy(Remedy::command(
            "if the submodule was not checked out yet, do that first",
            "git submodule update --init --recursive",
        ))
}

/// There is no flake where one was expected.
pub(crate) fn no_flake(_: &Captures, subject: &Subject<'_>) -> Error {
    let reference = subject.reference();
    let dir = match subject.build {
        Some((_, Target::Flake { reference, .. })) => local_dir(reference),
        _ => None,
    };
    let Some(dir) = dir else {
        return Error::new(&codes::NOT_A_FLAKE, format!("`{reference}` is not a flake"));
    };
    let why = if dir.is_file() { "it is a file" } else { "it has no flake.nix" };
    let error = Error::new(&codes::NOT_A_FLAKE, format!("`{reference}` is not a flake: {why}"));
    let file = if dir.is_dir() { dir.join("default.nix") } else { dir.clone() };
    if file.extension().is_some_and(|extension| extension == "nix") && file.exists() {
        let shown = as_the_user_knows_it(&file.to_string_lossy(), subject);
        let command = shell!("nixoci build -f {}", shown);
        return error.remedy(Remedy::command("build the Nix file that is there instead", command));
    }
    let place =
        if dir.is_dir() { format!("a flake.nix in {}", dir.display()) } else { "a flake.nix".to_owned() };
    error
        .remedy(Remedy::command("build a Nix file instead of a flake", "nixoci build -f FILE.nix ATTRIBUTE"))
        .remedy(Remedy::advice(format!("or write {place}")))
}
