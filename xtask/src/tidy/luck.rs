//! Tests say the same thing each time: none of them waits for a while and hopes, and none measures a time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::files;
use crate::test::select::declared;
use crate::workspace;

/// The ways of waiting and measuring, in halves, so that this file does not contain them.
const LUCK: [(&str, &str); 6] = [
    ("::slee", "p("),
    ("ela", "psed()"),
    ("Instant::", "now() "),
    ("spin_", "loop"),
    ("yield_", "now"),
    ("$(seq 9", "00000"),
];

/// Where a test may look again after a while, and why.
const ALLOWED: [(&str, &str); 5] = [
    // These ask the kernel for processes until there are none: no event tells that a process that is not a child has ended.
    ("crates/cli/tests/lab/harness/events.rs", "sleep 0.1"),
    ("xtask/tests/hosts/main.rs", "sleep 0.1"),
    // A build that is stopped in its middle. One that ends before is released, and no fault either.
    ("crates/testkit/src/lab.rs", "sleep 0.5"),
    ("crates/cli/tests/lab/plugins/kept.rs", "sleep 1.5"),
    // The time limit for an answer is part of the contract of a backend.
    ("crates/testkit/src/conformance.rs", "elapsed()"),
];

/// The part of a source that is tests; `None` if there is none.
fn tests<'a>(path: &Path, text: &'a str) -> Option<&'a str> {
    let stem = path.file_stem()?.to_str()?;
    let in_tests = path.iter().any(|part| part == "tests");
    if path.extension().is_none_or(|extension| extension != "rs") {
        return None;
    }
    if in_tests || stem == "tests" || stem.ends_with("_tests") || path.starts_with("crates/testkit") {
        return Some(text);
    }
    text.find("#[cfg(test)]\nmod tests {").map(|start| &text[start..])
}

/// The shell's `sleep N`, but for those that never end: a process that sleeps for a quarter of an hour stands for one that hangs.
fn naps(text: &str) -> Vec<String> {
    let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit() && c != '.').next().map(str::to_owned);
    let short = |number: &String| number.parse().is_ok_and(|seconds: f64| seconds < 900.0);
    let numbers = text.split("sleep ").skip(1).filter_map(number);
    numbers.filter(short).map(|number| format!("sleep {number}")).collect()
}

#[test]
fn a_test_waits_for_events_and_measures_no_time() {
    let mut found = Vec::new();
    for path in files() {
        let Ok(text) = fs::read_to_string(workspace().join(&path)) else { continue };
        let Some(text) = tests(&path, &text) else { continue };
        let words =
            LUCK.map(|(one, two)| format!("{one}{two}")).into_iter().filter(|word| text.contains(word));
        for word in words.chain(naps(text)) {
            let allowed = ALLOWED.iter().any(|(place, what)| path == Path::new(place) && word == *what);
            if !allowed {
                found.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "lab/README.md tells how a test waits for an event: {found:#?}");
}

/// A filter that matches nothing is no error for nextest: the tests would then run beside each other.
#[test]
fn the_runner_s_settings_name_tests_that_exist() {
    let settings = fs::read_to_string(workspace().join(".config/nextest.toml")).expect("it is there");
    let sources = files().into_iter().filter(|path| path.iter().any(|part| part == "tests"));
    let names: BTreeSet<String> = sources
        .flat_map(|path| declared(&path, &fs::read_to_string(workspace().join(&path)).unwrap_or_default()))
        .collect();
    let mut wanted = 0;
    let mut missing = Vec::new();
    for argument in settings.split("test(").skip(1).filter_map(|rest| rest.split(')').next()) {
        for segment in argument.trim_matches(['/', '^']).split("::").filter(|segment| !segment.is_empty()) {
            wanted += 1;
            if !names.iter().any(|name| name.contains(segment)) {
                missing.push(argument.to_owned());
            }
        }
    }
    assert!(wanted > 5 && missing.is_empty(), "no test is named so: {missing:?}");
}
