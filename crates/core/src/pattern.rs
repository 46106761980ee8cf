//! Recognizes the messages of other programs: a small pattern language, and tables of rules in it.
//!
//! Nix, ssh, Multipass and container runtimes report failures as prose for people. A rule lists the wordings of one failure; the first rule
//! of a table that fits decides, so causes come before their consequences ([`first`]).
//!
//! In a pattern `{name}` stands for any text within one line and `{*}` for any text at all, both as short as possible; a
//! space for any white space, line ends included; a straight quote for any quotation mark, because versions of a program quote
//! differently. Everything else stands for itself, anywhere in the text. Patterns become regular expressions, which are matched in time
//! linear in the text: a text made to take long does not.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use regex::Regex;

/// The text that each name in a pattern matched, without white space and punctuation at the end.
pub type Captures = BTreeMap<&'static str, String>;

/// The first place where `pattern` fits.
pub fn find(pattern: &'static str, text: &str) -> Option<Captures> {
    // Most texts lack a word of most patterns, and looking for it is cheaper than making the expression.
    if !words(pattern).all(|word| text.contains(word)) {
        return None;
    }
    let names = names(pattern);
    let expression = Regex::new(&expression(pattern)).ok()?;
    let found = expression.captures(text)?;
    let value = |index: usize| found.get(index + 1).map_or("", |part| part.as_str());
    let trimmed = |index| value(index).trim().trim_end_matches([';', '.', ',']).to_owned();
    Some(names.into_iter().enumerate().map(|(index, name)| (name, trimmed(index))).collect())
}

/// The first of some rules with a pattern that fits the text, and what the pattern's names stand for.
pub fn first<'r, R>(
    rules: &'r [R],
    patterns: impl Fn(&'r R) -> &'r [&'static str],
    text: &str,
) -> Option<(&'r R, Captures)> {
    rules.iter().find_map(|rule| {
        let found = patterns(rule).iter().find_map(|pattern| find(pattern, text));
        found.map(|captures| (rule, captures))
    })
}

/// Fills the names in `template`: `{name}`, or `{name|filter}` for what `filter` makes of the filter's name and the value. An unknown name
/// stays empty.
pub fn fill(template: &str, values: &Captures, filter: impl Fn(&str, &str) -> String) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        let (name, how) = name.split_once('|').unwrap_or((name, ""));
        let value = values.get(name).map(String::as_str).unwrap_or_default();
        match how {
            "" => out.push_str(value),
            how => out.push_str(&filter(how, value)),
        }
        rest = after;
    }
    out + rest
}

#[derive(Clone, Copy)]
enum Piece {
    Text(&'static str),
    Name(&'static str),
}

fn split(pattern: &'static str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((text, after)) = rest.split_once('{') {
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        pieces.push(Piece::Name(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// Words that a text must have for the pattern to fit.
fn words(pattern: &'static str) -> impl Iterator<Item = &'static str> {
    let texts = split(pattern).into_iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Name(_) => None,
    });
    texts.flat_map(|text| text.split([' ', '\'']))
}

/// The names whose values are kept, in order: each is a group of the expression.
fn names(pattern: &'static str) -> Vec<&'static str> {
    let pieces = split(pattern).into_iter();
    pieces
        .filter_map(|piece| if let Piece::Name(name) = piece { Some(name) } else { None })
        .filter(|name| *name != "*")
        .collect()
}

/// The regular expression that a pattern means.
fn expression(pattern: &'static str) -> String {
    let pieces = split(pattern);
    let mut out = String::new();
    for (place, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) => out.push_str(&literal(text)),
            Piece::Name("*") => out.push_str("(?s:.*?)"),
            // At the end nothing limits it but the line.
            Piece::Name(_) if place + 1 == pieces.len() => out.push_str(r"([^\n]*)"),
            Piece::Name(_) => out.push_str(r"([^\n]*?)"),
        }
    }
    out
}

fn literal(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            ' ' => out.push_str(r"[ \t\r\n]+"),
            '\'' => out.push_str("['\"‘’`]"),
            other => {
                let _ = write!(out, "{}", regex::escape(other.encode_utf8(&mut [0; 4])));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(template: &str, values: &Captures) -> String {
        fill(template, values, |how, value| format!("{how}({value})"))
    }

    proptest! {
        /// `find` takes a pattern that is no regular expression for one that does not fit.
        #[test]
        fn any_pattern_is_a_regular_expression(pattern in "[ -~{}*]{0,60}") {
            let pattern: &'static str = Box::leak(pattern.into_boxed_str());
            prop_assert!(Regex::new(&expression(pattern)).is_ok());
        }
    }

    #[test]
    fn finds_across_line_ends_and_quotation_marks() {
        let text =
            "error: Cannot build \"/nix/store/x.drv\".\n       Reason: builder failed\n  with exit code 3.";
        let found =
            find("Cannot build '{drv}'. Reason: builder failed with exit code {status}", text).unwrap();
        assert_eq!(found["drv"], "/nix/store/x.drv");
        assert_eq!(found["status"], "3");
    }

    #[test]
    fn a_name_stays_within_its_line() {
        assert!(find("a '{x}' b", "a 'one\ntwo' b").is_none());
        assert!(find("a{*}b", "a one\ntwo b").is_some());
        assert!(find("nothing", "").is_none());
        assert_eq!(find("got: {hash}", "got:    sha256-x\nnext").unwrap()["hash"], "sha256-x");
    }

    #[test]
    fn what_means_something_to_regular_expressions_stands_for_itself() {
        assert!(find("a (b) [c] {x}? d", "a (b) [c] yes? d").is_some());
        assert!(find("a.c", "abc").is_none());
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        struct Rule(&'static str, &'static [&'static str]);
        let rules = [Rule("cause", &["no route", "refused by {whom}"]), Rule("rest", &["failed"])];
        let of = |text| first(&rules, |rule| rule.1, text).map(|(rule, found)| (rule.0, found));
        assert_eq!(
            of("it failed: refused by box\n"),
            Some(("cause", Captures::from([("whom", "box".to_owned())])))
        );
        assert_eq!(of("it failed").unwrap().0, "rest");
        assert!(of("fine").is_none());
    }

    #[test]
    fn fills_in_names_and_filters() {
        let values = Captures::from([("drv", "x".to_owned())]);
        assert_eq!(plain("building {drv|store} ({drv}){gone}.", &values), "building store(x) (x).");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_take_long(text in "[ab'{\\n }]{0,200}") {
            let _ = find("a '{x}' b {*} a {y}", &text);
            let _ = plain(&text, &Captures::new());
        }
    }
}
