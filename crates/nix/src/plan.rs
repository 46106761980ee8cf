//! What Nix says it would do: derivations to build, paths to fetch.
//!
//! Nix prints headings and, below them, store paths indented by two spaces. In a dry run these are messages
//! of level 0, which errors have as well.

use nixoci_core::artifact::StorePath;

/// What would be built and fetched.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) build: Vec<StorePath>,
    pub(crate) fetch: Vec<StorePath>,
    pub(crate) download_bytes: Option<u64>,
    section: Section,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Section {
    #[default]
    None,
    Build,
    Fetch,
    Unknown,
}

impl Plan {
    /// Takes a message; whether it was part of a plan.
    pub(crate) fn hear(&mut self, text: &str) -> bool {
        let mut heard = false;
        for line in text.lines() {
            heard = self.line(line);
        }
        heard
    }

    fn line(&mut self, line: &str) -> bool {
        if let Some(path) = line.strip_prefix("  ").and_then(|path| path.trim().parse().ok()) {
            match self.section {
                Section::None => return false,
                Section::Build => self.build.push(path),
                Section::Fetch => self.fetch.push(path),
                Section::Unknown => {}
            }
            return true;
        }
        self.section = heading(line);
        if self.section == Section::Fetch {
            self.download_bytes = download_bytes(line);
        }
        self.section != Section::None
    }
}

fn heading(line: &str) -> Section {
    let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
    if begins(&["this derivation will be built", "these "]) && line.contains("will be built") {
        Section::Build
    } else if begins(&["this path will be fetched", "these "]) && line.contains("will be fetched") {
        Section::Fetch
    } else if line.starts_with("don't know how to build these paths") {
        Section::Unknown
    } else {
        Section::None
    }
}

/// `these 2 paths will be fetched (1.50 MiB download, 3.00 MiB unpacked):`
fn download_bytes(line: &str) -> Option<u64> {
    let (_, inside) = line.split_once('(')?;
    let (amount, _) = inside.split_once(" download")?;
    let (number, unit) = amount.trim().split_once(' ')?;
    let scale = match unit {
        "B" | "bytes" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    (number >= 0.0).then_some((number * scale) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "  /nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-a.drv";
    const B: &str = "  /nix/store/1mixbwv945yr64jsc6jla0384mdn9l4z-b";

    #[test]
    fn reads_a_plan_message_by_message_and_in_one_piece() {
        let mut plan = Plan::default();
        for line in [
            "these 2 derivations will be built:",
            A,
            A,
            "this path will be fetched (1.50 MiB download, 3.00 MiB unpacked):",
            B,
            "don't know how to build these paths:",
            B,
        ] {
            assert!(plan.hear(line), "{line}");
        }
        assert_eq!((plan.build.len(), plan.fetch.len()), (2, 1));
        assert_eq!(plan.download_bytes, Some(3 << 19));
        let mut whole = Plan::default();
        assert!(whole.hear(&format!("this derivation will be built:\n{A}")));
        assert_eq!(whole.build[0].name(), "a.drv");
    }

    #[test]
    fn other_text_is_no_plan() {
        let mut plan = Plan::default();
        for text in ["error: x", B, "", "these are the days", "warning: this path will be kept"] {
            assert!(!plan.hear(text), "{text}");
        }
        plan.hear("this derivation will be built:");
        assert!(!plan.hear("warning: x"));
        assert!(!plan.hear(A));
    }
}
