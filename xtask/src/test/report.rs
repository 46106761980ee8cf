//! The result of a run: the counts, and the names of the tests that failed.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// How many tests did what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

/// The outcome of one run of nextest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) counts: Counts,
    /// The tests that failed, as `cargo xtask test` takes them.
    pub(super) failed: Vec<String>,
}

impl Report {
    /// Reads the JUnit report that nextest has written.
    ///
    /// # Errors
    /// There is none, as after a build that failed.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::parse(&text))
    }

    /// nextest writes each element on a line of its own: `<testcase name="…" classname="…" …>`, and `<failure` or `<error` below it.
    fn parse(text: &str) -> Self {
        let mut report = Self::default();
        let mut current = None;
        let mut tests = 0;
        for line in text.lines().map(str::trim_start) {
            if line.starts_with("<testcase ") {
                tests += 1;
                let package = attribute(line, "classname").unwrap_or_default();
                let package = package.split("::").next().unwrap_or_default().trim_start_matches("nixoci-");
                current = attribute(line, "name").map(|name| format!("{package}:{name}"));
            } else if line.starts_with("<failure") || line.starts_with("<error") {
                // A test that failed more than once counts once.
                report.failed.extend(current.take());
            }
        }
        report.counts.failed = report.failed.len() as u64;
        report.counts.passed = tests - report.counts.failed;
        report
    }
}

/// The value of an attribute. Names of tests hold nothing that XML would escape, but for what rstest makes of a `<`.
fn attribute(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&"))
}

impl Counts {
    /// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s`
    pub(super) fn parse_libtest(line: &str) -> Option<Self> {
        let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let number = |what: &str| {
            numbers.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse::<u64>().ok())
        };
        Some(Self { passed: number(" passed")?, failed: number(" failed")?, skipped: number(" ignored")? })
    }

    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "total: {} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_up_what_test_programs_say() {
        let mut total = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            if let Some(counts) = Counts::parse_libtest(line) {
                total.add(counts);
            }
        }
        assert_eq!(total, Counts { passed: 13, failed: 2, skipped: 1 });
        assert_eq!(total.to_string(), "total: 13 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn counts_and_names_what_a_junit_report_holds() {
        let report = Report::parse(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="1" errors="1" time="0.2">
    <testsuite name="nixoci::lab" tests="3" disabled="0" errors="1" failures="1">
        <testcase name="images::the_cow_says_hello::host_1_NIX_2_26" classname="nixoci::lab" time="0.1">
        </testcase>
        <testcase name="images::other" classname="nixoci::lab" time="0.1">
            <failure message="&lt;failure" type="test failure with exit code 101">thread panicked</failure>
            <system-out>...</system-out>
        </testcase>
        <testcase name="hangs" classname="nixoci::lab" time="0.1">
            <rerunFailure type="test timeout"/>
            <failure type="test timeout"/>
        </testcase>
    </testsuite>
</testsuites>"#,
        );
        assert_eq!(report.counts, Counts { passed: 1, failed: 2, skipped: 0 });
        assert_eq!(report.failed, ["nixoci:images::other", "nixoci:hangs"]);
    }
}
