//! Users paste the commands that errors offer, so every value in such a command is quoted for a shell.

use std::fs;
use std::path::Path;

use super::files;
use crate::workspace;

const OFFERED: &str = "Remedy::command(";
const QUOTED: &str = "shell!(";
/// These put values into a text without quoting them.
const UNQUOTED: [&str; 2] = ["format!(", ".display()"];

/// The arguments of a call, without the contents of strings, and the text behind the call. `text` begins behind the opening
/// parenthesis.
fn call(text: &str) -> (Vec<String>, &str) {
    let (mut arguments, mut depth, mut in_string) = (vec![String::new()], 0, false);
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => in_string = !in_string,
            '\\' if in_string => drop(characters.next()),
            _ if in_string => {}
            ')' | ']' | '}' if depth == 0 => return (arguments, &text[place + 1..]),
            ',' if depth == 0 => arguments.push(String::new()),
            other => {
                match other {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth -= 1,
                    _ => {}
                }
                arguments.last_mut().expect("there is one").push(other);
            }
        }
    }
    (arguments, "")
}

/// Code without its calls of `shell!`.
fn rest_of(mut code: &str) -> String {
    let mut rest = String::new();
    while let Some((before, behind)) = code.split_once(QUOTED) {
        rest.push_str(before);
        (_, code) = call(behind);
    }
    rest + code
}

/// The offered commands that have unquoted values, by line. The first argument of an offer is a sentence.
fn unquoted(text: &str) -> Vec<(usize, &'static str)> {
    let offers = text.match_indices(OFFERED).filter_map(|(place, _)| {
        let (arguments, _) = call(&text[place + OFFERED.len()..]);
        let command: String = arguments.iter().skip(1).map(|argument| rest_of(argument)).collect();
        let way = UNQUOTED.into_iter().find(|way| command.contains(way))?;
        Some((text[..place].matches('\n').count() + 1, way))
    });
    offers.collect()
}

/// The part of a source file of the product that is not tests.
fn product<'a>(path: &Path, text: &'a str) -> Option<&'a str> {
    let in_src = path.starts_with("crates") && path.iter().nth(2).is_some_and(|part| part == "src");
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let is_test = path.to_string_lossy().contains("test");
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    (in_src && is_rust && !is_test).then(|| &text[..end])
}

#[test]
fn what_is_put_into_an_offered_command_is_quoted() {
    let mut found = Vec::new();
    for path in files() {
        let Ok(text) = fs::read_to_string(workspace().join(&path)) else { continue };
        for (line, way) in product(&path, &text).map(unquoted).unwrap_or_default() {
            found.push(format!("{}:{line}: {way}", path.display()));
        }
    }
    assert!(
        found.is_empty(),
        "a command that an error offers is pasted into a shell: make it with `shell!`, which quotes every word that is put \
         into it; lines of a configuration file are `Remedy::lines`, and are not quoted: {found:#?}"
    );
}

#[test]
fn what_is_not_quoted_is_found() {
    for right in [
        r#"Remedy::command(format!("for {x}"), "nixoci build")"#,
        r#"Remedy::command("a", shell!("x {}", format!("{}:b", path.display())))"#,
        r#"Remedy::command("format!( \" )", match y { Some(z) => shell!("a {}", z), None => shell!("b") })"#,
        r#"Remedy::command("a", b), format!("c")"#,
        r#"Remedy::lines("a", format!("b = {c}"))"#,
    ] {
        assert!(unquoted(right).is_empty(), "{right}");
    }
    assert_eq!(unquoted("\nRemedy::command(\"a\", format!(\"rm {b}\"))"), [(2, "format!(")]);
    assert_eq!(unquoted(r#"Remedy::command("a", [shell!("b {}", c), d.display()])"#), [(1, ".display()")]);
}
