//! Git, asked about a repository that somebody else may have made.
//!
//! A repository's own configuration names programs: a file system monitor, hooks, filters, signature checks. A clone does not
//! bring it along, but an archive, a share or a stick does, and Nix itself runs none of them. nixoci does not either; what
//! the user's own configuration names stays.
//!
//! Source: git-config(1), `core.fsmonitor`, `core.hooksPath`, `filter.<driver>.*`, `log.showSignature`, `safe.bareRepository`;
//! gitattributes(5), "filter".

use std::path::Path;

use nixoci_core::Result;
use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, output};

/// Settings that switch off programs for every command.
const OFF: [&str; 5] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "log.showSignature=false",
    // A directory that looks like a repository without a working tree is not taken for one by itself.
    "safe.bareRepository=explicit",
    "core.quotePath=false",
];

/// The keys of a filter that name programs.
const FILTER_KEYS: [&str; 3] = ["clean", "smudge", "process"];
/// How deep submodules may lie in each other.
const DEPTH: usize = 4;

/// `git` in this directory, which writes nothing by the way, and runs nothing that the repository names.
pub fn command(dir: &Path) -> Command {
    let command = Command::new("git").arg("-C").arg(dir).arg("--no-optional-locks");
    OFF.iter().fold(command, |command, setting| command.args(["-c", *setting]))
}

/// The settings that switch off the filters which the repository at `dir` and the submodules in it define themselves. A
/// command that compares or adds files runs them.
///
/// # Errors
/// Those of the runner.
pub async fn without_filters(cx: &Cx<'_>, dir: &Path) -> Result<Vec<String>> {
    let mut settings = Vec::new();
    let mut waiting = vec![(dir.to_owned(), 0)];
    while let Some((dir, depth)) = waiting.pop() {
        let list =
            command(&dir).args(["config", "--list", "--includes", "--show-scope", "--name-only", "-z"]);
        let listed = output(cx.runner, &list, cx.cancel).await?;
        settings.extend(own_filters(&listed.stdout_text()));
        if depth < DEPTH {
            let modules = command(&dir).args(["ls-files", "--stage", "-z"]);
            let modules = output(cx.runner, &modules, cx.cancel).await?.stdout_text();
            let modules =
                modules.split('\0').filter_map(|line| line.strip_prefix("160000 ")?.split_once('\t'));
            // A submodule that is not checked out has no repository.
            let modules = modules.map(|(_, name)| dir.join(name)).filter(|dir| dir.join(".git").exists());
            waiting.extend(modules.map(|module| (module, depth + 1)));
        }
    }
    settings.sort_unstable();
    settings.dedup();
    Ok(settings)
}

/// Scopes and names, by turns; what an older git without `--show-scope` says has none of them.
fn own_filters(listed: &str) -> Vec<String> {
    let words: Vec<&str> = listed.split('\0').collect();
    let own =
        words.chunks_exact(2).filter(|pair| matches!(pair[0], "local" | "worktree")).map(|pair| pair[1]);
    let filter = |name: &str| {
        let (driver, key) = name.strip_prefix("filter.")?.rsplit_once('.')?;
        FILTER_KEYS.contains(&key).then(|| driver.to_owned())
    };
    let off = |driver: String| {
        let empty = FILTER_KEYS.iter().map(|key| format!("filter.{driver}.{key}=")).collect::<Vec<_>>();
        empty.into_iter().chain([format!("filter.{driver}.required=false")])
    };
    own.filter_map(filter).flat_map(off).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_the_repository_are_off_and_the_users_stay() {
        let listed = "system\0core.x\0global\0filter.lfs.clean\0local\0filter.evil.one.clean\0local\0user.name\0\
            worktree\0filter.x.process\0command\0core.fsmonitor\0";
        let off = own_filters(listed);
        assert_eq!(
            off,
            [
                "filter.evil.one.clean=",
                "filter.evil.one.smudge=",
                "filter.evil.one.process=",
                "filter.evil.one.required=false",
                "filter.x.clean=",
                "filter.x.smudge=",
                "filter.x.process=",
                "filter.x.required=false",
            ]
        );
        assert!(own_filters("").is_empty());
    }
}
