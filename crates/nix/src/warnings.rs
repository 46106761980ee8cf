//! Nix's warnings and notes, in words that fit what the user did.

use nixoci_core::Remedy;
use nixoci_core::event::Level;

/// The treatment of a line that Nix printed.
#[derive(Debug, PartialEq)]
pub(crate) enum Notice {
    /// It does not concern the user.
    Drop,
    /// It does.
    Say { level: Level, text: String, remedies: Vec<Remedy> },
}

/// Beginnings of notes that are about how nixoci calls Nix, and what nixoci shows in its own way.
const NOISE: &[&str] = &[
    "'--json' without '--json-format' is deprecated",
    "not writing modified lock file of flake",
    "building '",
    "copying path",
    "copying 0 paths",
    // Said to a daemon's users who are not trusted, and without effect: the store is the client's to choose.
    "ignoring the client-specified setting 'store', because it is a restricted setting",
    // The derivations are another store's to build.
    "don't know how to build these paths",
    // Platforms are evaluated at once, and one of them does without the cache for a moment.
    "error (ignored): error: SQLite database",
    "error (ignored): SQLite database",
];

/// Settings of a flake that name binary caches. Source: Nix manual, nix.conf.
const CACHES: [&str; 6] = [
    "substituters",
    "extra-substituters",
    "trusted-substituters",
    "extra-trusted-substituters",
    "trusted-public-keys",
    "extra-trusted-public-keys",
];

/// Decides about one note; `level` is Nix's own opinion.
pub(crate) fn notice(text: &str, level: Level) -> Notice {
    let text = text.trim();
    let text = text.strip_prefix("warning:").map_or(text, str::trim);
    if text.is_empty() || NOISE.iter().any(|noise| text.starts_with(noise)) {
        return Notice::Drop;
    }
    if let Some(tree) = text.strip_prefix("Git tree '").and_then(|rest| rest.strip_suffix("' is dirty")) {
        let text = format!("{tree} has uncommitted changes, which are part of this build");
        return Notice::Say { level: Level::Info, text, remedies: Vec::new() };
    }
    if let Some(dir) = text.strip_prefix("note: keeping build directory ") {
        let dir = dir.trim_matches(['\'', '"']);
        let text = format!("the directory of the failed build is kept: {dir}");
        return Notice::Say { level: Level::Info, text, remedies: Vec::new() };
    }
    if text.starts_with("Failed to find a machine for remote build!") {
        // Once for every derivation; what it comes to is said at the end.
        return Notice::Say { level: Level::Debug, text: text.to_owned(), remedies: Vec::new() };
    }
    let mut remedies = Vec::new();
    if text.starts_with("ignoring untrusted flake configuration setting") {
        // The flag accepts every setting of the flake, and some of them run programs of its choosing.
        if CACHES.iter().any(|name| text.contains(&format!("setting '{name}'"))) {
            remedies.push(Remedy::command(
                "if you trust this flake's binary caches and all its settings, accept them",
                "nixoci build --accept-flake-config",
            ));
        }
        let text = text.lines().next().unwrap_or(text).trim_end_matches('.').to_owned();
        return Notice::Say { level: Level::Warning, text, remedies };
    }
    Notice::Say { level, text: text.to_owned(), remedies }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> (Level, String, usize) {
        match notice(text, Level::Warning) {
            Notice::Say { level, text, remedies } => (level, text, remedies.len()),
            Notice::Drop => panic!("{text} was dropped"),
        }
    }

    #[test]
    fn only_binary_caches_of_a_flake_are_offered_to_be_accepted() {
        let remedies = |setting: &str| {
            let text =
                format!("warning: ignoring untrusted flake configuration setting '{setting}'.\nPass it");
            let (level, said, remedies) = said(&text);
            assert_eq!(level, Level::Warning);
            assert!(said.contains(setting));
            remedies
        };
        assert!(CACHES.iter().all(|setting| remedies(setting) == 1));
        for setting in
            ["post-build-hook", "allow-unsafe-native-code-during-evaluation", "builders", "sandbox"]
        {
            assert_eq!(remedies(setting), 0, "{setting}");
        }
    }

    #[test]
    fn a_dirty_tree_is_good_to_know_and_no_warning() {
        let (level, text, _) = said("warning: Git tree '/root/g' is dirty");
        assert_eq!(level, Level::Info);
        assert_eq!(text, "/root/g has uncommitted changes, which are part of this build");
    }

    #[test]
    fn a_kept_directory_is_named_in_both_ways_of_quoting() {
        for text in
            ["note: keeping build directory '/tmp/b/build'", "note: keeping build directory \"/tmp/b/build\""]
        {
            assert_eq!(
                said(text),
                (Level::Info, "the directory of the failed build is kept: /tmp/b/build".into(), 0)
            );
        }
    }

    #[test]
    fn an_ignored_setting_says_how_to_accept_it() {
        let (level, text, remedies) = said(
            "warning: ignoring untrusted flake configuration setting 'extra-substituters'.\nPass '--accept-flake-config' to trust it",
        );
        assert_eq!((level, remedies), (Level::Warning, 1));
        assert_eq!(text, "ignoring untrusted flake configuration setting 'extra-substituters'");
    }

    #[test]
    fn what_nixoci_does_to_nix_is_not_the_users_business() {
        for text in [
            "warning: '--json' without '--json-format' is deprecated; please specify …",
            "warning: not writing modified lock file of flake 'git+file:///root/g':\n• Added input 'x':",
            "  ",
        ] {
            assert_eq!(notice(text, Level::Warning), Notice::Drop, "{text}");
        }
    }
}
