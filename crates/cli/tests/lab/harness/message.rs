//! nixoci's words, held by snapshots: one a message, whichever host it was said on.

use super::host::Run;

/// Replaces text that differs between runs, hosts or labs.
const FILTERS: [(&str, &str); 21] = [
    // The end of another program's log is its affair.
    (r"(?m)(^    > .*\n)+", "    > [LOG]\n"),
    // Not every Nix says where in one of its files.
    (r"(?m)^ +--> .*(\.nix|»|>)(:\d+)*\n(^ *\d* \|.*\n)+", ""),
    // Each Nix says it in its own words.
    (
        r"because: (Unable to start any build|Cannot build '|builder for '|Nix daemon disconnected|unexpected end-of-file|[Pp]ath '|getting status of |opening lock file |ssh-ng://\S+ failed to start|a '\S+' with features ).*",
        "because: [NIX SAYS WHY]",
    ),
    (r"/nix/store/[a-z0-9]{32}-", "/nix/store/[HASH]-"),
    (r"/tmp/tmp\.[A-Za-z0-9]+", "[TMP]"),
    (r"/home/alice/tmp\.[A-Za-z0-9]+", "[TMP]"),
    (r"/root/tmp\.[A-Za-z0-9]+", "[TMP]"),
    (r"\b[a-z]+\d+-\d+\b", "[NAME]"),
    (r"\b(t|img|bad|plugin|first|second)-\d+\b", "$1-[N]"),
    (r"/logs/[0-9-]+\.log\b", "/logs/[LOG].log"),
    (r"ssh-ed25519 AAAA[A-Za-z0-9+/]+", "ssh-ed25519 [KEY]"),
    (r"sha256:[0-9a-f]{64}", "sha256:[DIGEST]"),
    (r"\b[0-9a-f]{64}\b", "[SHA-256]"),
    (r"/plugins-[0-9a-f]{12}/", "/plugins-[HASH]/"),
    (r"SHA256:[A-Za-z0-9+/]{43}", "SHA256:[KEY]"),
    (r"\b(2\.26|2\.34)(\.\d+)?", "[NIX]"),
    (r"\b\d+ CPUs?\b", "[N] CPUs"),
    (r"-smp \d+", "-smp [N]"),
    (r"\b\d+(\.\d+)? (ms|s|min)\b", "[TIME]"),
    (r"\b10\.23[0-9]\.\d+\.\d+\b", "[ADDRESS]"),
    (r"features \{[a-z0-9, -]+\}", "features {[FEATURES]}"),
];

impl Run {
    /// The error on standard error, from the last `error:` at the beginning of a line (Nix says it, too) to the name of its code, is the one
    /// of this name in `snapshots/`.
    #[track_caller]
    pub(crate) fn says(self, name: &str) -> Run {
        let start = match self.err.rfind("\nerror: ") {
            Some(newline) => newline + 1,
            None if self.err.starts_with("error: ") => 0,
            None => panic!("no error in {self:#?}"),
        };
        let end = self.err[start..].find("\n  more: nixoci explain ").map_or(start, |more| start + more + 1);
        let end = self.err[end..].find('\n').map_or(self.err.len(), |newline| end + newline);
        shows(name, &self.err[start..end]);
        self
    }

    /// The warnings on standard error, each with what belongs to it, are those of this name in `snapshots/`.
    #[track_caller]
    pub(crate) fn warns(self, name: &str) -> Run {
        let mut within = false;
        let warnings: Vec<&str> = self
            .err
            .lines()
            .filter(|line| {
                within = line.starts_with("warning:") || (within && line.starts_with(' '));
                within
            })
            .collect();
        shows(name, &warnings.join("\n"));
        self
    }
}

/// A text is the one of this name in `snapshots/`, but for what differs from run to run. `INSTA_UPDATE=always` writes it anew: look at the difference
/// before it is committed.
#[track_caller]
pub(crate) fn shows(name: &str, text: &str) {
    let checkout = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize();
    let checkout = checkout.expect("the checkout").display().to_string();
    let text = text.replace(&checkout, "[CHECKOUT]");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_filters(FILTERS.to_vec());
    settings.bind(|| insta::assert_snapshot!(name, text));
}
