//! Placing a setting in a file of Nix's language that configures a Mac, without changing anything else in it.
//!
//! The file is read just far enough: strings, comments and brackets, and the names that are set in its outermost set. What is
//! not plainly a module, a function to a set or a set, is refused.

use std::ops::Range;

use nixoci_core::plan::Configuration;

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The setting was added.
    Added(String),
    /// The option's name was misspelt: now it is right.
    Corrected(String),
    /// The option is set already, on this line.
    There(String),
}

/// Adds the setting to the file's text, before the last closing brace of its outermost set.
///
/// # Errors
/// Why that cannot be done.
pub fn place(text: &str, wanted: &Configuration) -> Result<Placed, &'static str> {
    let tokens = Lexer { text, at: 0 }.tokens()?;
    let outermost = Set::outermost(text, &tokens)?;
    let mut settings = Vec::new();
    settings_in(text, &tokens, outermost.inside.clone(), &[], &mut settings)?;
    let (family, last) = wanted.option.rsplit_once('.').ok_or("the option has no name")?;
    let family: Vec<&str> = family.split('.').collect();
    let set_as = |name: &str| {
        let path: Vec<&str> = family.iter().copied().chain([name]).collect();
        let is_it = |setting: &&Setting| {
            setting.path.iter().map(String::as_str).take(path.len()).eq(path.iter().copied())
        };
        settings.iter().filter(is_it).collect::<Vec<_>>()
    };
    if let Some(setting) = set_as(last).first() {
        return Ok(Placed::There(line_of(text, setting.start).trim().to_owned()));
    }
    for misspelt in &wanted.misspelt {
        let named = set_as(misspelt);
        let mut places: Vec<Range<usize>> =
            named.iter().filter_map(|setting| setting.names.get(family.len()).cloned()).collect();
        // What stands in a set has the set's name, too.
        places.sort_by_key(|place| place.start);
        places.dedup();
        if !places.is_empty() {
            return Ok(Placed::Corrected(replaced(text, &places, last)));
        }
    }
    for setting in &settings {
        match setting.path.first().map(String::as_str) {
            Some("config" | "options") => {
                return Err(
                    "it is a module with `config` or `options` of its own, in which the lines belong",
                );
            }
            Some("outputs") => return Err("it is a flake, and the lines belong into a module of its"),
            _ => {}
        }
        // `nix = something;` and `nix.x = …;` cannot both stand in a set.
        let above =
            setting.path.len() <= family.len() && family.iter().zip(&setting.path).all(|(a, b)| a == b);
        if above && !setting.is_set {
            return Err("it sets the option's whole family to something that is no plain set");
        }
    }
    Ok(Placed::Added(outermost.with(text, &wanted.text)))
}

fn line_of(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |place| place + 1);
    text[start..].lines().next().unwrap_or_default()
}

fn replaced(text: &str, places: &[Range<usize>], with: &str) -> String {
    let mut new = String::with_capacity(text.len());
    let mut from = 0;
    for place in places {
        new.push_str(&text[from..place.start]);
        new.push_str(with);
        from = place.end;
    }
    new + &text[from..]
}

/// What is read of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An identifier or a keyword.
    Word,
    /// A string; whether it is plain, so that it may be a name.
    Text(bool),
    /// A bracket or another character.
    Sign(u8),
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    span: Range<usize>,
}

impl Token {
    fn is(&self, sign: u8) -> bool {
        self.kind == Kind::Sign(sign)
    }

    fn is_word(&self, text: &str, word: &str) -> bool {
        self.kind == Kind::Word && &text[self.span.clone()] == word
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

const CUT_OFF: &str = "a string, a comment or a bracket in it does not end";

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn tokens(mut self) -> Result<Vec<Token>, &'static str> {
        let mut tokens = Vec::new();
        while let Some(token) = self.next()? {
            tokens.push(token);
        }
        Ok(tokens)
    }

    fn next(&mut self) -> Result<Option<Token>, &'static str> {
        self.skip()?;
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok(None) };
        let kind = if first == '"' {
            Kind::Text(self.string()?)
        } else if self.rest().starts_with("''") {
            self.indented()?;
            Kind::Text(false)
        } else if self.rest().starts_with("${") {
            self.interpolation()?;
            Kind::Text(false)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_-'".contains(c);
            self.at += self.rest().find(|c| !is_name(c)).unwrap_or(self.rest().len());
            // In a path no word is a keyword.
            if self.text[..start].ends_with('/') { Kind::Sign(b'/') } else { Kind::Word }
        } else {
            self.at += first.len_utf8();
            Kind::Sign(u8::try_from(first).unwrap_or(b'?'))
        };
        Ok(Some(Token { kind, span: start..self.at }))
    }

    /// White space and comments.
    fn skip(&mut self) -> Result<(), &'static str> {
        loop {
            let rest = self.rest();
            if rest.starts_with('#') {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.at += rest.find("*/").ok_or(CUT_OFF)? + 2;
            } else if let Some(space) = rest.chars().next().filter(|c| c.is_whitespace() || *c == '\u{feff}')
            {
                self.at += space.len_utf8();
            } else {
                return Ok(());
            }
        }
    }

    /// A string; true if nothing in it has a meaning.
    fn string(&mut self) -> Result<bool, &'static str> {
        let mut plain = true;
        self.at += 1;
        loop {
            let rest = self.rest();
            if rest.starts_with("${") {
                plain = false;
                self.interpolation()?;
                continue;
            }
            match rest.chars().next().ok_or(CUT_OFF)? {
                '"' => {
                    self.at += 1;
                    return Ok(plain);
                }
                '\\' => {
                    plain = false;
                    self.at += 1 + rest[1..].chars().next().ok_or(CUT_OFF)?.len_utf8();
                }
                // `$$` is no beginning of an interpolation.
                '$' if rest.starts_with("$$") => self.at += 2,
                other => self.at += other.len_utf8(),
            }
        }
    }

    fn indented(&mut self) -> Result<(), &'static str> {
        self.at += 2;
        loop {
            let rest = self.rest();
            if rest.starts_with("'''") || rest.starts_with("''$") {
                self.at += 3;
            } else if let Some(rest) = rest.strip_prefix("''\\") {
                self.at += 3 + rest.chars().next().ok_or(CUT_OFF)?.len_utf8();
            } else if rest.starts_with("''") {
                self.at += 2;
                return Ok(());
            } else if rest.starts_with("$$") {
                self.at += 2;
            } else if rest.starts_with("${") {
                self.interpolation()?;
            } else {
                self.at += rest.chars().next().ok_or(CUT_OFF)?.len_utf8();
            }
        }
    }

    fn interpolation(&mut self) -> Result<(), &'static str> {
        self.at += 2;
        let mut depth = 1u32;
        loop {
            let token = self.next()?.ok_or(CUT_OFF)?;
            match token.kind {
                Kind::Sign(b'{') => depth += 1,
                Kind::Sign(b'}') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// The token that closes what the token at `open` opens.
fn closing(tokens: &[Token], open: usize) -> Result<usize, &'static str> {
    let mut waiting = Vec::new();
    for (place, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Sign(b'{') => waiting.push(b'}'),
            Kind::Sign(b'[') => waiting.push(b']'),
            Kind::Sign(b'(') => waiting.push(b')'),
            Kind::Sign(sign @ (b'}' | b']' | b')')) if waiting.pop() != Some(sign) => {
                return Err("its brackets do not match");
            }
            _ => {}
        }
        if waiting.is_empty() {
            return Ok(place);
        }
    }
    Err(CUT_OFF)
}

/// The outermost set of a file.
struct Set {
    /// Its tokens, without the braces.
    inside: Range<usize>,
    /// Where its closing brace is in the text.
    brace: usize,
    /// How far what is in it is indented, if something is.
    indent: Option<String>,
}

const NO_MODULE: &str = "it is no module that is written as a set, `{ … }`, or as a function to one";

impl Set {
    fn outermost(text: &str, tokens: &[Token]) -> Result<Set, &'static str> {
        let mut open = None;
        let mut place = 0;
        while place < tokens.len() {
            let token = &tokens[place];
            if [b'{', b'[', b'('].into_iter().any(|sign| token.is(sign)) {
                open = Some(place);
                place = closing(tokens, place)?;
            } else if [b'}', b']', b')'].into_iter().any(|sign| token.is(sign)) {
                return Err("its brackets do not match");
            }
            if place + 1 < tokens.len() {
                place += 1;
            } else {
                break;
            }
        }
        let open = open.filter(|open| tokens[*open].is(b'{') && place > *open).ok_or(NO_MODULE)?;
        if !tokens.get(place).is_some_and(|token| token.is(b'}')) {
            return Err(NO_MODULE);
        }
        let before = match open.checked_sub(1).map(|place| &tokens[place]) {
            Some(token) if token.is_word(text, "rec") => open.checked_sub(2).map(|place| &tokens[place]),
            token => token,
        };
        // A function's colon, the end of `with …;` or `let … in`: what follows is all that the file is.
        let whole = before.is_none_or(|token| token.is(b':') || token.is(b';') || token.is_word(text, "in"));
        if !whole {
            return Err(NO_MODULE);
        }
        let inside = open + 1..place;
        let first = tokens[inside.clone()].first();
        let indent = first.and_then(|token| indentation(text, token.span.start));
        Ok(Set { inside, brace: tokens[place].span.start, indent })
    }

    /// The text with these lines at the end of the set.
    fn with(&self, text: &str, lines: &str) -> String {
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let outer = indentation(text, self.brace);
        let own_line = outer.is_some();
        let outer = outer.unwrap_or_default();
        let indent = self.indent.clone().unwrap_or_else(|| format!("{outer}  "));
        let added: String = lines.lines().map(|line| format!("{indent}{line}{end}")).collect();
        if own_line {
            let start = self.brace - outer.len();
            format!("{}{added}{}", &text[..start], &text[start..])
        } else {
            format!("{}{end}{added}{}", text[..self.brace].trim_end_matches(' '), &text[self.brace..])
        }
    }
}

/// What stands before something that is the first on its line.
fn indentation(text: &str, at: usize) -> Option<String> {
    let start = text[..at].rfind('\n').map_or(0, |place| place + 1);
    let before = &text[start..at];
    (before.chars().all(|c| c == ' ' || c == '\t') && (start > 0 || !before.is_empty()))
        .then(|| before.to_owned())
}

/// Something that a set sets.
#[derive(Debug)]
struct Setting {
    path: Vec<String>,
    /// Where each of its names is in the text.
    names: Vec<Range<usize>>,
    start: usize,
    /// Whether its value is written as a plain set.
    is_set: bool,
}

/// What a set sets, with what plain sets in it set.
fn settings_in(
    text: &str,
    tokens: &[Token],
    inside: Range<usize>,
    above: &[(String, Range<usize>)],
    found: &mut Vec<Setting>,
) -> Result<(), &'static str> {
    const ODD: &str = "something in its set is written in a way that nixoci does not read";
    let mut place = inside.start;
    while place < inside.end {
        let start = tokens[place].span.start;
        if tokens[place].is_word(text, "inherit") {
            while !tokens.get(place).ok_or(ODD)?.is(b';') {
                if tokens[place].is(b'(') {
                    place = closing(tokens, place)?;
                } else if above.is_empty() && tokens[place].kind == Kind::Word {
                    // Whatever it is: it is no plain set.
                    let name = &text[tokens[place].span.clone()];
                    let path = vec![name.to_owned()];
                    found.push(Setting {
                        path,
                        names: vec![tokens[place].span.clone()],
                        start,
                        is_set: false,
                    });
                }
                place += 1;
            }
            place += 1;
            continue;
        }
        let mut path = above.to_vec();
        loop {
            let name = tokens.get(place).filter(|_| place < inside.end).ok_or(ODD)?;
            let written = &text[name.span.clone()];
            match name.kind {
                Kind::Word => path.push((written.to_owned(), name.span.clone())),
                Kind::Text(true) => {
                    let range = name.span.start + 1..name.span.end - 1;
                    path.push((written[1..written.len() - 1].to_owned(), range));
                }
                // A name that is computed is none that we look for.
                Kind::Text(false) => path.push((String::new(), name.span.clone())),
                Kind::Sign(_) => return Err(ODD),
            }
            place += 1;
            match tokens.get(place).map(|token| token.kind) {
                Some(Kind::Sign(b'.')) => place += 1,
                Some(Kind::Sign(b'=')) => break,
                _ => return Err(ODD),
            }
        }
        let value = place + 1;
        let end = end_of_value(text, tokens, value, inside.end)?;
        let is_set = tokens[value].is(b'{') && closing(tokens, value)? + 1 == end;
        let (names_path, names): (Vec<String>, Vec<Range<usize>>) = path.iter().cloned().unzip();
        found.push(Setting { path: names_path, names, start, is_set });
        if is_set {
            settings_in(text, tokens, value + 1..end - 1, &path, found)?;
        }
        place = end + 1;
    }
    Ok(())
}

/// The semicolon that ends a value. Those of `let`, `with` and `assert` in it do not.
fn end_of_value(text: &str, tokens: &[Token], from: usize, limit: usize) -> Result<usize, &'static str> {
    let mut place = from;
    let (mut lets, mut owed) = (0u32, 0u32);
    while place < limit {
        let token = &tokens[place];
        match token.kind {
            Kind::Sign(b'{' | b'[' | b'(') => place = closing(tokens, place)?,
            Kind::Sign(b';') if lets == 0 && owed == 0 => return Ok(place),
            Kind::Sign(b';') if lets == 0 => owed -= 1,
            Kind::Word if token.is_word(text, "let") => lets += 1,
            Kind::Word if token.is_word(text, "in") => lets = lets.saturating_sub(1),
            Kind::Word if lets == 0 && ["with", "assert"].iter().any(|word| token.is_word(text, word)) => {
                owed += 1
            }
            _ => {}
        }
        place += 1;
    }
    Err("something in its set does not end with a semicolon")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mac::{Manager, Vm, configuration};

    fn wanted() -> Configuration {
        configuration(Manager::NixDarwin, false, &Vm::default())
    }

    fn added(text: &str) -> String {
        match place(text, &wanted()) {
            Ok(Placed::Added(new)) => new,
            other => panic!("{other:?} for {text}"),
        }
    }

    #[test]
    fn the_line_comes_before_the_last_brace_and_nothing_else_changes() {
        let line = "nix.linux-builder.enable = true;";
        for (before, after) in [
            (
                "{ pkgs, ... }:\n\n{\n  a = 1;\n}\n",
                format!("{{ pkgs, ... }}:\n\n{{\n  a = 1;\n  {line}\n}}\n"),
            ),
            ("{\n    a = 1; # }\n}", format!("{{\n    a = 1; # }}\n    {line}\n}}")),
            ("{ ... }:\n{\n}\n", format!("{{ ... }}:\n{{\n  {line}\n}}\n")),
            ("{ }\n", format!("{{\n  {line}\n}}\n")),
            ("{ a = 1; }", format!("{{ a = 1;\n  {line}\n}}")),
            ("{\r\n  a = 1;\r\n}\r\n", format!("{{\r\n  a = 1;\r\n  {line}\r\n}}\r\n")),
            (
                "args@{ pkgs, ... }:\nlet x = { y = 1; }; in\nwith x;\nrec {\n\ta = ''}'' + \"}${\"}\"}\";\n}\n# the end }\n",
                format!(
                    "args@{{ pkgs, ... }}:\nlet x = {{ y = 1; }}; in\nwith x;\nrec {{\n\ta = ''}}'' + \"}}${{\"}}\"}}\";\n\t{line}\n}}\n# the end }}\n"
                ),
            ),
        ] {
            assert_eq!(added(before), after, "{before}");
            // A second time it is there.
            let again = place(&after, &wanted()).unwrap();
            assert_eq!(again, Placed::There(line.to_owned()), "{before}");
        }
    }

    #[test]
    fn values_of_all_kinds_are_passed_over() {
        let text = "{ pkgs, lib, ... }: {\n  imports = [ ./a.nix ];\n  nix.settings = { trusted-users = [ \"root\" ]; };\n  nix = { gc.automatic = true; };\n  \
                    x = let a = 1; b = { c = 2; }; in with b; assert a == 1; c;\n  y = x: { z }: z;\n  \"q-r\".${x} = ''\n    '''' ''${no} ${yes { a = \"}\"; }}\n  '';\n  \
                    inherit (pkgs) hello;\n  p = ./with/in/let + <nixpkgs> // { };\n}\n";
        assert!(added(text).ends_with("  nix.linux-builder.enable = true;\n}\n"));
        assert!(!added(text).replace("trusted-users = [ \"root\" ]", "").contains("trusted-users"));
    }

    #[test]
    fn what_is_there_is_found_however_it_is_written() {
        for text in [
            "{ nix.linux-builder.enable = false; }",
            "{ nix = { linux-builder = { enable = true; }; }; }",
            "{ nix = { linux-builder.enable = true; }; }",
            "{ nix.\"linux-builder\" = { enable = true; systems = [ ]; }; }",
            "{ nix.linux-builder = lib.mkIf x { enable = true; }; }",
        ] {
            assert!(matches!(place(text, &wanted()), Ok(Placed::There(_))), "{text}");
        }
    }

    #[test]
    fn the_article_s_misspelling_is_corrected() {
        let text = "{\n    nix.linux_builder.enable = true; # linux_builder\n    nix.settings.trusted-users = [\"@admin\"];\n}\n";
        let right = text.replacen("linux_builder", "linux-builder", 1);
        assert_eq!(place(text, &wanted()), Ok(Placed::Corrected(right)));
        let nested = "{ nix = { linux_builder = { enable = true; }; \"linux_builder\".systems = [ ]; }; }";
        assert_eq!(
            place(nested, &wanted()),
            Ok(Placed::Corrected(nested.replace("linux_builder", "linux-builder")))
        );
    }

    #[test]
    fn what_is_no_plain_module_is_refused() {
        for text in [
            "",
            "# nothing",
            "import ./x.nix",
            "{ lib, ... }: lib.mkMerge [ { a = 1; } ]",
            "{ lib, ... }: lib.mkIf true { a = 1; }",
            "{ ... }: { a = 1; } // { b = 2; }",
            "{ a = 1; } x",
            "{ a = { ; }",
            "{ a = \"x; }",
            "{ a = 1 }",
            "{ a = ''x; }",
            "{ /* a = 1; }",
            "{ a = [ }; ]",
            "{ description = \"x\"; outputs = { self }: { }; }",
            "{ options.x = 1; config = { }; }",
            "{ nix = import ./nix.nix; }",
            "{ nix = lib.mkIf x { }; }",
            "{ inherit nix; }",
            "[ 1 ]",
            "}",
        ] {
            assert!(place(text, &wanted()).is_err(), "{text}: {:?}", place(text, &wanted()));
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        let text = "{ pkgs, ... }: { a.\"b\" = ''x ${y {}}'' + \"\\\"${z}\"; /* ü */ nix = { linux_builder.x = 1; }; # é\n}";
        for end in 0..=text.len() {
            for start in 0..=end {
                if let Some(part) = text.get(start..end) {
                    let _ = place(part, &wanted());
                }
            }
        }
    }
}
