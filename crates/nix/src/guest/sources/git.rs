//! A directory as its Git repository has it, which is how a flake sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, output};
use nixoci_core::{Error, Remedy, Result, codes as core_codes};

use super::tree::{Commit, ContentId, Entry, Format, From, History, Name, Tree};
use crate::git;
use crate::guest::codes::{GIT, SOURCES};

/// A repository on this host.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    root: PathBuf,
    format: Format,
    /// Switches off what the repository would have run.
    settings: Vec<String>,
}

/// What a clean tree is a commit of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) id: String,
    /// How many commits led to it; nothing in a repository that does not know.
    pub(super) count: Option<u64>,
    /// When it was committed, in seconds since 1970.
    pub(super) time: u64,
}

/// An entry of a commit's tree, or of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    mode: String,
    id: String,
    size: u64,
}

impl Item {
    fn is_module(&self) -> bool {
        self.mode == "160000"
    }

    /// As `git update-index --index-info` reads it.
    fn line(&self, name: &[u8]) -> Vec<u8> {
        [format!("{} {}\t", self.mode, self.id).as_bytes(), name, b"\0"].concat()
    }
}

impl Repository {
    pub(super) async fn at(cx: &Cx<'_>, root: &Path) -> Result<Repository> {
        let settings = git::without_filters(cx, root).await;
        let settings =
            settings.map_err(|error| if error.is(&core_codes::TOOL_MISSING) { no_git() } else { error })?;
        let mut repository = Repository { root: root.to_owned(), format: Format::Sha1, settings };
        let format = repository.ask(cx, &["rev-parse", "--show-object-format"]).await?;
        if format.starts_with(b"sha256") {
            repository.format = Format::Sha256;
        }
        Ok(repository)
    }

    fn command(&self, words: &[&str]) -> Command {
        let command = git::command(&self.root);
        let command =
            self.settings.iter().fold(command, |command, setting| command.args(["-c", setting.as_str()]));
        command.args(words.iter().copied())
    }

    /// What it answers, or its own words where it fails.
    async fn answer(&self, cx: &Cx<'_>, words: &[&str]) -> Result<std::result::Result<Vec<u8>, String>> {
        let answer = output(cx.runner, &self.command(words), cx.cancel).await;
        let answer =
            answer.map_err(|error| if error.is(&core_codes::TOOL_MISSING) { no_git() } else { error })?;
        if answer.exit.success() {
            return Ok(Ok(answer.stdout));
        }
        let said = answer.stderr_text();
        if let Some(error) = stub(&said) {
            return Err(error);
        }
        if said.contains("dubious ownership") || said.contains("not a git repository") {
            return Err(failed(words, &said));
        }
        cx.observer.debug(format!("git {}: {}", words.join(" "), said.trim()));
        Ok(Err(said))
    }

    async fn run(&self, cx: &Cx<'_>, words: &[&str]) -> Result<Option<Vec<u8>>> {
        Ok(self.answer(cx, words).await?.ok())
    }

    async fn ask(&self, cx: &Cx<'_>, words: &[&str]) -> Result<Vec<u8>> {
        self.answer(cx, words).await?.map_err(|said| failed(words, &said))
    }

    async fn text(&self, cx: &Cx<'_>, words: &[&str]) -> Result<Option<String>> {
        let answer = self.run(cx, words).await?;
        Ok(answer.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    /// Whether nothing that is tracked differs from the last commit. A submodule's own changes count if they are asked for.
    pub(super) async fn is_clean(&self, cx: &Cx<'_>, submodules: bool) -> Result<bool> {
        let ignored = if submodules { "--ignore-submodules=none" } else { "--ignore-submodules=dirty" };
        let words = ["status", "--porcelain", "-z", "--untracked-files=no", ignored];
        Ok(self.ask(cx, &words).await?.is_empty())
    }

    /// The commit that a name stands for.
    pub(super) async fn revision(&self, cx: &Cx<'_>, name: &str) -> Result<Option<Revision>> {
        let commit = format!("{name}^{{commit}}");
        let Some(id) =
            self.text(cx, &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]).await?
        else {
            return Ok(None);
        };
        let shallow = self.text(cx, &["rev-parse", "--is-shallow-repository"]).await?;
        let count = match shallow.as_deref() {
            Some("false") => self.text(cx, &["rev-list", "--count", &id]).await?,
            _ => None,
        };
        let time = self.text(cx, &["log", "-1", "--format=%ct", &id]).await?;
        Ok(Some(Revision {
            id,
            count: count.and_then(|count| count.parse().ok()),
            time: time.and_then(|time| time.parse().ok()).unwrap_or_default(),
        }))
    }

    /// The files of a commit, as it has them: whatever a checkout makes of them does not count.
    pub(super) async fn committed(&self, cx: &Cx<'_>, revision: &Revision) -> Result<Tree> {
        let mut tree = Tree::empty(self.root.clone(), revision.time);
        for (name, item) in self.items(cx, &revision.id).await? {
            let entry = match item.mode.as_str() {
                "120000" => Entry::Link { target: self.ask(cx, &["cat-file", "blob", &item.id]).await? },
                // Nix sees an empty directory where a submodule is.
                "160000" => Entry::Directory,
                mode => Entry::File {
                    executable: mode == "100755",
                    content: ContentId(item.id.clone()),
                    size: item.size,
                    from: From::Blob(item.id),
                },
            };
            tree.put(name, entry);
        }
        Ok(tree)
    }

    async fn items(&self, cx: &Cx<'_>, commit: &str) -> Result<BTreeMap<Name, Item>> {
        let listing = self.ask(cx, &["ls-tree", "-r", "-z", "-l", "--full-tree", commit]).await?;
        parse(&listing, |words| match words {
            [mode, _, id, size] => {
                Some(Item { mode: mode.to_string(), id: id.to_string(), size: size.parse().unwrap_or(0) })
            }
            _ => None,
        })
    }

    async fn index(&self, cx: &Cx<'_>) -> Result<BTreeMap<Name, Item>> {
        let listing = self.ask(cx, &["ls-files", "-s", "-z"]).await?;
        parse(&listing, |words| match words {
            [mode, id, _stage] => Some(Item { mode: mode.to_string(), id: id.to_string(), size: 0 }),
            _ => None,
        })
    }

    /// The files that are tracked, as they lie there: Nix reads those, also where nothing is changed. Of a submodule it sees nothing.
    pub(super) async fn tracked(&self, cx: &Cx<'_>, time: u64) -> Result<Tree> {
        self.lying_there(&self.index(cx).await?, time)
    }

    fn lying_there(&self, index: &BTreeMap<Name, Item>, time: u64) -> Result<Tree> {
        let mut tree = Tree::empty(self.root.clone(), time);
        for (name, item) in index {
            if !item.is_module() {
                tree.put_from_disk(name.clone(), self.format)?;
            }
        }
        Ok(tree)
    }

    /// The same, with what Nix wants to know of a repository that has changes.
    pub(super) async fn changed(&self, cx: &Cx<'_>) -> Result<Tree> {
        let head = self.revision(cx, "HEAD").await?;
        let time = head.as_ref().map_or(0, |head| head.time);
        let (mut committed, index) = (BTreeMap::new(), self.index(cx).await?);
        let head = match head {
            Some(revision) => {
                committed = self.items(cx, &revision.id).await?;
                Some(self.commit(cx, &revision, &committed).await?)
            }
            None => None,
        };
        let mut tree = self.lying_there(&index, time)?;
        let staged = staged(self.format, &committed, &index);
        tree.history = Some(Box::new(History { format: self.format, head, staged }));
        Ok(tree)
    }

    async fn commit(&self, cx: &Cx<'_>, revision: &Revision, items: &BTreeMap<Name, Item>) -> Result<Commit> {
        let tree = format!("{}^{{tree}}", revision.id);
        let tree_id = self.text(cx, &["rev-parse", "--verify", &tree]).await?;
        let modules = items.iter().filter(|(_, item)| item.is_module());
        Ok(Commit {
            id: revision.id.clone(),
            tree_id: tree_id.ok_or_else(|| failed(&["rev-parse", &tree], ""))?,
            bytes: self.ask(cx, &["cat-file", "commit", &revision.id]).await?,
            tree: self.committed(cx, revision).await?,
            modules: modules.flat_map(|(name, item)| item.line(name)).collect(),
        })
    }

    /// Everything that is not ignored, as it lies there, tracked or not.
    pub(super) async fn present(&self, cx: &Cx<'_>) -> Result<Tree> {
        let words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let mut tree = Tree::empty(self.root.clone(), 1);
        let names: BTreeSet<Name> = split(&self.ask(cx, &words).await?).map(<[u8]>::to_vec).collect();
        for name in names {
            // A repository in a repository is listed as a directory.
            if name.ends_with(b"/") || tree.root.join(super::tree::path_of(&name)).is_dir() {
                super::walk::put_all(&mut tree, &name, self.format)?;
            } else {
                tree.put_from_disk(name, self.format)?;
            }
        }
        Ok(tree)
    }

    /// The submodules that are checked out, with their directories.
    pub(super) async fn modules(&self, cx: &Cx<'_>) -> Result<Vec<(Name, String)>> {
        let index = self.index(cx).await?;
        Ok(index
            .into_iter()
            .filter(|(_, item)| item.is_module())
            .map(|(name, item)| (name, item.id))
            .collect())
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }
}

/// What the index has that the commit has not.
fn staged(format: Format, committed: &BTreeMap<Name, Item>, index: &BTreeMap<Name, Item>) -> Vec<u8> {
    let nothing = "0".repeat(if format == Format::Sha1 { 40 } else { 64 });
    let same = |one: &Item, other: &Item| (&one.mode, &one.id) == (&other.mode, &other.id);
    let gone = committed.keys().filter(|name| !index.contains_key(*name));
    let gone = gone.flat_map(|name| [format!("0 {nothing}\t").as_bytes(), name, b"\0"].concat());
    let new =
        index.iter().filter(|(name, item)| !committed.get(*name).is_some_and(|there| same(there, item)));
    gone.chain(new.flat_map(|(name, item)| item.line(name))).collect()
}

fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty())
}

/// Lines of words, a tab and a name, which end in NUL.
fn parse(listing: &[u8], item: impl Fn(&[&str]) -> Option<Item>) -> Result<BTreeMap<Name, Item>> {
    let line = |line: &[u8]| {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let words = std::str::from_utf8(&line[..tab]).ok()?;
        let words: Vec<&str> = words.split_whitespace().collect();
        Some((line[tab + 1..].to_vec(), item(&words)?))
    };
    let parsed: Option<_> = split(listing).map(line).collect();
    parsed.ok_or_else(|| Error::new(&SOURCES, "Git lists its files in an unknown form"))
}

fn no_git() -> Error {
    Error::new(&GIT, "the project is a Git repository, and there is no `git` to ask about it")
        .remedy(Remedy::command("install it, on a Mac", "xcode-select --install"))
        .remedy(Remedy::lines(
            "or send everything in the repository, which takes no Git here, in nixoci.toml",
            "[backend.multipass]\nsources = \"path\"",
        ))
        .remedy(Remedy::command("or send all files of the directory", "nixoci build path:.#container"))
}

/// On a Mac without the command line tools, `git` is a program that asks for them.
fn stub(said: &str) -> Option<Error> {
    const MISSING: &[&str] =
        &["No developer tools were found", "invalid active developer path", "unable to find utility \"git\""];
    const LICENSE: &[&str] = &["agree to the Xcode license", "agreed to the Xcode license"];
    let says = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    let line = || said.lines().map(crate::log_line).find(|line| !line.is_empty()).unwrap_or_default();
    if says(MISSING) {
        return Some(no_git().because(line()));
    }
    says(LICENSE).then(|| {
        Error::new(
            &GIT,
            "the project is a Git repository, and macOS wants its license agreed to before `git` runs",
        )
        .because(line())
        .remedy(Remedy::command("read it, and agree to it", "sudo xcodebuild -license"))
    })
}

fn failed(words: &[&str], said: &str) -> Error {
    let said: String = said.lines().take(3).map(crate::log_line).collect::<Vec<_>>().join(" ");
    let said = if said.is_empty() { "it gives no reason".to_owned() } else { said };
    let error = Error::new(&GIT, "Git does not say what belongs to the project")
        .because(format!("git {}: {said}", words.join(" ")));
    if said.contains("dubious ownership") {
        return error.remedy(Remedy::command(
            "if the directory is yours after all",
            "git config --global --add safe.directory \"$PWD\"",
        ));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(mode: &str, id: &str) -> Item {
        Item { mode: mode.into(), id: id.into(), size: 0 }
    }

    #[test]
    fn a_program_that_only_asks_for_git_is_none() {
        let command = |error: Error| error.report().remedies[0].command.clone().unwrap();
        for said in [
            "xcode-select: note: No developer tools were found, requesting install.\n",
            "xcrun: error: invalid active developer path (/Library/Developer/CommandLineTools), missing xcrun at: …\n",
        ] {
            let error = stub(said).unwrap();
            assert!(error.is(&GIT) && error.report().causes[0].starts_with("xc"), "{error:?}");
            assert_eq!(command(error), "xcode-select --install");
        }
        let license = stub("You have not agreed to the Xcode license agreements.\n").unwrap();
        assert_eq!(command(license), "sudo xcodebuild -license");
        assert!(stub("fatal: bad revision\n").is_none());
        assert!(failed(&["x"], "fatal: bad\n").report().causes[0].contains("git x: fatal: bad"));
    }

    #[test]
    fn listings_of_both_kinds_are_understood() {
        let listing = b"100644 blob ab12      5\ta b\n\x00120000 blob cd34     -\tl\0";
        let items = parse(listing, |words| match words {
            [mode, _, id, size] => {
                Some(Item { mode: mode.to_string(), id: id.to_string(), size: size.parse().unwrap_or(0) })
            }
            _ => None,
        })
        .unwrap();
        assert_eq!(items[b"a b\n".as_slice()].size, 5);
        assert_eq!(items[b"l".as_slice()].mode, "120000");
        assert!(parse(b"odd\0", |_| None).is_err());
    }

    #[test]
    fn what_is_staged_is_told_as_a_change_of_the_commit() {
        let committed = BTreeMap::from([
            (b"gone".to_vec(), item("100644", "1")),
            (b"same".to_vec(), item("100644", "2")),
            (b"mode".to_vec(), item("100644", "3")),
        ]);
        let index = BTreeMap::from([
            (b"same".to_vec(), item("100644", "2")),
            (b"mode".to_vec(), item("100755", "3")),
            (b"new".to_vec(), item("100644", "4")),
        ]);
        let text = String::from_utf8(staged(Format::Sha1, &committed, &index)).unwrap();
        let zero = "0".repeat(40);
        assert_eq!(text, format!("0 {zero}\tgone\0100755 3\tmode\0100644 4\tnew\0"));
    }
}
