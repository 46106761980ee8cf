//! Rules about the project itself, as tests.

mod luck;
mod remedies;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{cargo, workspace};

/// Which crates of ours a crate may depend on. A name ending in `*` stands for all that begin so.
const EDGES: [(&str, &[&str]); 8] = [
    ("nixoci-core", &[]),
    ("nixoci-nix", &["nixoci-core"]),
    ("nixoci-image", &["nixoci-core", "nixoci-nix"]),
    ("nixoci-engine", &["nixoci-core", "nixoci-nix", "nixoci-image"]),
    ("nixoci-backend-*", &["nixoci-core", "nixoci-nix"]),
    ("nixoci-plugin", &["nixoci-core", "nixoci-nix"]),
    ("nixoci-testkit", &["nixoci-core", "nixoci-nix"]),
    ("nixoci", &["nixoci-*"]),
];

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// Every package of the workspace, with its dependencies on others of it: (name, is it only for tests?).
fn packages() -> BTreeMap<String, Vec<(String, bool)>> {
    let output = Command::new(cargo())
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut packages = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let ours = dependencies
            .iter()
            .filter(|dependency| dependency["path"].is_string())
            .map(|dependency| (text(&dependency["name"]), dependency["kind"] == "dev"))
            .collect();
        packages.insert(text(&package["name"]), ours);
    }
    packages
}

#[test]
fn crates_depend_on_what_they_may() {
    let mut wrong = Vec::new();
    for (name, dependencies) in packages() {
        if name == "xtask" {
            assert!(dependencies.is_empty(), "xtask runs the product, it does not link it");
            continue;
        }
        let Some((_, allowed)) = EDGES.iter().find(|(pattern, _)| matches(pattern, &name)) else {
            wrong.push(format!("{name}: tidy.rs has no rule for this crate"));
            continue;
        };
        for (dependency, for_tests) in dependencies {
            // The conformance suite is for every crate's tests.
            let allowed = allowed.iter().any(|pattern| matches(pattern, &dependency))
                || (for_tests && dependency == "nixoci-testkit");
            if !allowed {
                wrong.push(format!("{name} -> {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "dependencies that ARCHITECTURE.md does not allow: {wrong:#?}");
}

#[test]
fn architecture_names_every_crate() {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let missing: Vec<String> = fs::read_dir(workspace().join("crates"))
        .expect("crates")
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| format!("crates/{}", entry.file_name().to_string_lossy()))
        .filter(|name| !text.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md does not name {missing:?}");
}

/// Files that are in the repository.
fn files() -> BTreeSet<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(workspace()).output();
    if let Ok(output) = listed
        && output.status.success()
    {
        return output
            .stdout
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()))
            .filter(|path| workspace().join(path).is_file())
            .collect();
    }
    // Not a git checkout: everything but what is built.
    let mut files = BTreeSet::new();
    walk(&workspace(), Path::new(""), &mut files);
    files
}

fn walk(base: &Path, below: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(base.join(below)).expect("a directory").flatten() {
        let path = below.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && path != Path::new("target") && path != Path::new(".git") => {
                walk(base, &path, files);
            }
            Ok(kind) if kind.is_file() => {
                files.insert(path);
            }
            _ => {}
        }
    }
}

/// Lines of tracked files that hold one of these words, as `file:line: word`.
fn find(words: &[String], wanted: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for path in files().into_iter().filter(|path| wanted(path)) {
        // Somebody may be working in the checkout while we look.
        let Ok(bytes) = fs::read(workspace().join(&path)) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    found
}

#[test]
fn no_hosts_and_no_paths_of_one_machine() {
    // Where packages come from is the machine's affair; so is where a checkout lies. (Container registries are another
    // matter: names of images have them as people know them.) Written in halves, so that this file does not name them.
    let words: Vec<String> = [
        ("deb.", "debian.org"),
        ("ftp.", "debian.org"),
        ("security.", "debian.org"),
        ("snapshot.", "debian.org"),
        ("archive.", "ubuntu.com"),
        ("registry-1.", "docker.io"),
        ("index.", "crates.io"),
        ("/art", "ifactory/"),
        ("/wo", "rk/main"),
        ("/wo", "rk/shared"),
        ("/root/", ".cargo"),
        ("/root/", ".rustup"),
        ("/Users", "/runner"),
    ]
    .iter()
    .map(|(one, two)| format!("{one}{two}"))
    .collect();
    // Lock files name crates.io, as every lock file does.
    let mut found = find(&words, |path| path.file_name().is_none_or(|name| name != "Cargo.lock"));
    // A guest without a network has Ubuntu's archive in its settings, as real ones do, and nobody to ask where that is.
    let allowed = |line: &str| {
        line.starts_with("xtask/src/lab/multipass/guest.rs:")
            && line.ends_with(&format!(": {}{}", "archive.", "ubuntu.com"))
    };
    found.retain(|line| !allowed(line));
    assert!(found.is_empty(), "these belong to a machine, not to the project: {found:#?}");
}

#[test]
fn unsafe_code_is_in_the_plugin_crate_only() {
    let words: Vec<String> = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "(unsafe_code"]
        .iter()
        .map(|word| (*word).to_owned())
        .collect();
    let found = find(&words, |path| {
        path.extension().is_some_and(|extension| extension == "rs")
            && !path.starts_with("crates/plugin")
            && path != Path::new("xtask/src/tidy.rs")
    });
    assert!(found.is_empty(), "{found:#?}");
}

/// The targets of relative links in a Markdown text, without `#anchors`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

#[test]
fn documents_link_to_what_exists() {
    let mut broken = Vec::new();
    for path in files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    {
        let Ok(text) = fs::read_to_string(workspace().join(&path)) else { continue };
        let base = workspace().join(path.parent().unwrap_or(Path::new("")));
        for target in links(&text).filter(|target| !base.join(target).exists()) {
            broken.push(format!("{}: {target}", path.display()));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_book_lists_every_page() {
    let docs = workspace().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).expect("docs/SUMMARY.md is there");
    let listed: BTreeSet<PathBuf> = links(&summary).map(PathBuf::from).collect();
    let pages: BTreeSet<PathBuf> = files()
        .into_iter()
        .filter_map(|path| path.strip_prefix("docs").ok().map(Path::to_owned))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .filter(|path| path != Path::new("SUMMARY.md"))
        .collect();
    assert_eq!(listed, pages);
}

#[test]
fn the_domain_starts_no_process_and_nobody_but_the_binary_prints() {
    let words: Vec<String> = ["process::Command", "println!", "eprintln!", "print!("]
        .iter()
        .map(|word| (*word).to_owned())
        .collect();
    let found = find(&words, |path| {
        let product = path.starts_with("crates")
            && path.components().nth(2).is_some_and(|part| part.as_os_str() == "src");
        // The process runner, its watchdog, the keeper and the binary are the places for it; tests do as they need.
        product
            && !path.starts_with("crates/cli")
            && !["crates/nix/src/process.rs", "crates/nix/src/watch.rs", "crates/nix/src/keeper.rs"]
                .iter()
                .any(|place| path == Path::new(place))
            && !path.to_string_lossy().contains("test")
    });
    assert!(found.is_empty(), "{found:#?}");
}

/// The binary of the tests has every feature of regex, because other dependencies of tests switch them on. The one that people get has these, or
/// no pattern of `core::secrets` can be compiled.
#[test]
fn patterns_of_secrets_have_the_features_that_they_need() {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).expect("it is there");
    let regex = manifest.lines().find(|line| line.starts_with("regex = ")).expect("core depends on it");
    for feature in ["unicode-case", "unicode-perl"] {
        assert!(regex.contains(&format!("\"{feature}\"")), "{regex}");
    }
}
