//! The small pattern language in which texts of Nix's are described.
//!
//! `{name}` stands for any text within one line and `{*}` for any text at all, both as short as possible; a
//! space for any white space, line ends included; a straight quote for any quotation mark, because versions
//! of Nix quote differently. Everything else stands for itself, anywhere in the text.

use std::collections::BTreeMap;

/// What the names in a pattern stand for.
pub(crate) type Captures = BTreeMap<&'static str, String>;

/// The first place where `pattern` fits. A name takes the first text that lets the literal behind it fit, and is
/// not reconsidered, so that a text made to take long does not.
pub(crate) fn find(pattern: &'static str, text: &str) -> Option<Captures> {
    let pieces = split(pattern);
    if !words(&pieces).all(|word| text.contains(word)) {
        return None;
    }
    let starts = text.char_indices().map(|(index, _)| index);
    for start in starts {
        let mut captures = Captures::new();
        match fits(&pieces, &text[start..], &mut captures) {
            Fit::Here => return Some(captures),
            Fit::NotHere => {}
            Fit::Nowhere => return None,
        }
    }
    None
}

/// Fills the names in `template`: `{name}`, or `{name|store}` for a store path's name. An unknown name stays
/// empty.
pub(crate) fn fill(template: &str, values: &Captures) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        let (name, filter) = name.split_once('|').unwrap_or((name, ""));
        let value = values.get(name).map(String::as_str).unwrap_or_default();
        if filter == "store" {
            out.push_str(&crate::log::store_name(value));
        } else {
            out.push_str(value);
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

/// Words that a text must have for the pattern to fit: most texts lack one of most patterns.
fn words(pieces: &[Piece]) -> impl Iterator<Item = &'static str> {
    let texts = pieces.iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(*text),
        Piece::Name(_) => None,
    });
    texts.flat_map(|text| text.split([' ', '\'']))
}

enum Fit {
    Here,
    NotHere,
    /// Not further on either.
    Nowhere,
}

fn fits(pieces: &[Piece], mut text: &str, captures: &mut Captures) -> Fit {
    let mut name = None;
    for piece in pieces {
        match (piece, name.take()) {
            (Piece::Name(next), _) => name = Some(*next),
            (Piece::Text(wanted), None) => match eat(wanted, text) {
                Some(after) => text = after,
                None => return Fit::NotHere,
            },
            (Piece::Text(wanted), Some(name)) => match until(wanted, text, name == "*") {
                Some((value, after)) => {
                    keep(name, value, captures);
                    text = after;
                }
                None if name == "*" => return Fit::Nowhere,
                None => return Fit::NotHere,
            },
        }
    }
    if let Some(name) = name {
        keep(name, text.lines().next().unwrap_or_default(), captures);
    }
    Fit::Here
}

/// The text before the first place where `wanted` fits, and the text behind that.
fn until<'t>(wanted: &str, text: &'t str, across_lines: bool) -> Option<(&'t str, &'t str)> {
    for (index, character) in text.char_indices().chain([(text.len(), '\n')]) {
        if let Some(after) = eat(wanted, &text[index..]) {
            return Some((&text[..index], after));
        }
        if character == '\n' && !across_lines {
            return None;
        }
    }
    None
}

fn keep(name: &'static str, value: &str, captures: &mut Captures) {
    if name != "*" {
        captures.insert(name, value.trim().trim_end_matches([';', '.', ',']).to_owned());
    }
}

fn eat<'t>(wanted: &str, text: &'t str) -> Option<&'t str> {
    let mut rest = text;
    for character in wanted.chars() {
        rest = match character {
            ' ' => {
                let trimmed = rest.trim_start();
                (trimmed.len() < rest.len()).then_some(trimmed)?
            }
            '\'' => rest.strip_prefix(['\'', '"', '‘', '’', '`'])?,
            other => rest.strip_prefix(other)?,
        };
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn fills_in_names_and_store_names() {
        let path = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-hello-1.0.drv";
        let values = Captures::from([("drv", path.to_owned())]);
        assert_eq!(
            fill("building {drv|store} ({drv}){gone}.", &values),
            format!("building hello-1.0 ({path}).")
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_take_long(text in "[ab'{\\n }]{0,200}") {
            let _ = find("a '{x}' b {*} a {y}", &text);
            let _ = fill(&text, &Captures::new());
        }
    }
}
