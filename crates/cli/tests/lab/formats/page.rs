//! docs/formats.md: a line for each file that the lab's producers made.

use std::collections::BTreeSet;
use std::path::Path;

use super::produced::{Produced, produced};
use super::{CASES, FORMS, NIX_2_34};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md");
/// With this variable, the page is written anew.
const UPDATE: &str = "NIXOCI_UPDATE_FORMATS";

/// A file that is not an image is refused, with a remedy; its line in the page shows the error code.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_page_has_a_line_for_everything_that_is_produced_and_everything_has_a_test() {
    let all = produced();
    let images: Vec<&Produced> = all.iter().filter(|file| file.is_image()).collect();
    let others: Vec<&Produced> = all.iter().filter(|file| file.platforms.is_empty()).collect();
    let names: Vec<&str> = images.iter().map(|file| file.file.as_str()).collect();
    assert_eq!(names, CASES, "the cases of this file are not what the lab's producers made");
    assert!(others.len() > 3, "{}", others.len());
    let rows: Vec<String> = images.iter().map(|file| row(file)).collect();
    let refused: Vec<String> = others.iter().map(|file| refused(file)).collect();
    let page = page(&rows, &refused);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let there = std::fs::read_to_string(Path::new(PAGE)).unwrap_or_default();
    assert_eq!(
        there, page,
        "docs/formats.md is not what happens; {UPDATE}=1 writes it anew: look at the difference before it is committed"
    );
}

/// The page has this producer's line.
pub(super) fn has_line_for(file: &Produced) {
    let page = std::fs::read_to_string(Path::new(PAGE)).unwrap_or_default();
    let row = row(file);
    assert!(
        page.lines().any(|line| line == row) || std::env::var_os(UPDATE).is_some(),
        "no line in docs/formats.md is\n{row}"
    );
}

/// A producer's line in the page, if everything is as it should be.
fn row(file: &Produced) -> String {
    let mut line = format!(
        "| {} | {} | {} | {} | {} |",
        file.producer,
        file.shape,
        file.images.len().max(1),
        file.platforms.join(", "),
        if file.is_read_by_skopeo() { "read" } else { "read (by skopeo: not)" }
    );
    for _ in FORMS {
        line.push_str(" same |");
    }
    line
}

/// A file that is no image is refused: the error says what it is, and what to do.
fn refused(file: &Produced) -> String {
    let run = NIX_2_34.sh(&format!(
        "nixoci validate {0}; echo $?; nixoci convert {0} $XDG_CACHE_HOME/x.tar",
        file.path.display()
    ));
    let run = run.code(42).out("42\n").err("nixoci explain nixoci::image::").err("help: ");
    let code = run.err.split("nixoci explain ").nth(1).and_then(|rest| rest.split_whitespace().next());
    format!("| {} | {} | `{}` |", file.producer, file.shape, code.unwrap_or_default())
}

/// The page.
fn page(images: &[String], others: &[String]) -> String {
    let forms: Vec<&str> = FORMS.iter().map(|(name, ..)| *name).collect();
    let unique = |lines: &[String]| {
        let mut seen = BTreeSet::new();
        lines.iter().filter(|line| seen.insert((*line).clone())).cloned().collect::<Vec<_>>().join("\n")
    };
    format!(
        "# Every producer, every form

<!-- Written by the test `the_page_has_a_line_for_everything_that_is_produced_and_everything_has_a_test`; each line has a test of its own. -->

Each line is an image that the named tool itself made. It was read and checked, written in each of the forms, read again and
written back as a docker-archive. *same* means: platforms, digests of the configurations and of the layers' contents are those of
the source, there and back; skopeo reads what was written; and umoci unpacks the same files (the first image's, for
one platform) from the source and from the `oci:` outputs.

| made by | form | images | platforms | | {} |
|---|---|---|---|---|{}
{}

The script of `streamLayeredImage` is a program. A build runs it; elsewhere it is refused with the command that does:
`SCRIPT | nixoci load -`.

A file that is no image is refused with exit code 42; the error says what it is, and what to do:

| made by | what it is | |
|---|---|---|
{}

How the forms differ, and which runtime takes which: [Image files](images.md).
",
        forms.join(" | "),
        "---|".repeat(forms.len()),
        unique(images),
        unique(others)
    )
}
