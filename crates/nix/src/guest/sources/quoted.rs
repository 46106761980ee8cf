//! What a flake.nix names as inputs, found in its text: without Nix, nobody evaluates it.

/// A text in double quotes, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted<'a> {
    /// The text.
    pub(super) text: &'a str,
    /// What is in front of it.
    before: &'a str,
    /// What comes after it.
    after: &'a str,
}

impl<'a> Quoted<'a> {
    /// All of them. Comments, and texts of several lines, name no inputs.
    pub(super) fn all(nix: &'a str) -> Vec<Quoted<'a>> {
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(next) = nix[at..].find(['"', '#', '/', '\'']) {
            at += next;
            let rest = &nix[at..];
            let length = match rest.as_bytes()[0] {
                b'#' => rest.find('\n').unwrap_or(rest.len()),
                b'/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
                b'\'' if rest.starts_with("''") => indented(rest),
                b'"' => {
                    let end = closing(&rest[1..]);
                    let (before, after) = (&nix[..at], rest.get(end + 2..).unwrap_or_default());
                    found.push(Quoted { text: &rest[1..=end], before, after });
                    end + 2
                }
                _ => 1,
            };
            at = (at + length).min(nix.len());
        }
        found
    }

    /// The attribute that it is the value of: `url` of `inputs.lib.url = "…"`.
    fn attribute(&self) -> &'a str {
        self.attributes().rsplit('.').next().unwrap_or_default()
    }

    fn attributes(&self) -> &'a str {
        word_before(self.before.trim_end().strip_suffix('=').unwrap_or_default())
    }

    /// Whether it can only be an input's reference.
    pub(super) fn is_url(&self) -> bool {
        self.attribute() == "url"
    }

    /// Whether it is where an input is that is written as a set: `{ type = "path"; path = "…"; }`.
    pub(super) fn is_path(&self) -> bool {
        self.attribute() == "path" && self.beside("type=\"path\"")
    }

    /// Whether the input need not have a flake.nix.
    pub(super) fn is_no_flake(&self) -> bool {
        self.beside("flake=false")
    }

    /// Whether the set that it stands in says this, too.
    fn beside(&self, words: &str) -> bool {
        let before: String = same_set(self.before.chars().rev(), '}').chars().rev().collect();
        [before, same_set(self.after.chars(), '{')].concat().contains(words)
    }

    /// The input's name, as far as it can be seen: of `inputs.NAME.url`, and of `NAME = { url = …`.
    pub(super) fn input(&self) -> &'a str {
        let attributes = match self.attributes().rsplit_once('.') {
            Some((attributes, _)) => attributes,
            None => {
                let before = self.before.rsplit_once('{').map_or("", |(before, _)| before);
                word_before(before.trim_end().strip_suffix('=').unwrap_or_default())
            }
        };
        attributes.rsplit('.').next().unwrap_or_default()
    }
}

/// What belongs to the same set, where `inner` begins one within it; without white space.
fn same_set(text: impl Iterator<Item = char>, inner: char) -> String {
    let mut depth = 0;
    let mut set = String::new();
    for c in text.filter(|c| !c.is_whitespace()) {
        match c {
            '{' | '}' if c == inner => depth += 1,
            '{' | '}' if depth == 0 => break,
            '{' | '}' => depth -= 1,
            c if depth == 0 => set.push(c),
            _ => {}
        }
    }
    set
}

/// The attribute path that a text ends in.
fn word_before(text: &str) -> &str {
    let text = text.trim_end();
    let inner = |c: char| c.is_alphanumeric() || "-_.'\"".contains(c);
    text.rfind(|c| !inner(c)).map_or(text, |end| text[end..].trim_start_matches(|c| !inner(c)))
}

/// Where the quote is that ends a text.
fn closing(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}

/// How long a text in two single quotes is, those among it.
fn indented(text: &str) -> usize {
    let mut at = 2;
    while let Some(end) = text[at..].find("''") {
        at += end + 2;
        // What follows may make something else of them.
        if !text[at..].starts_with(['$', '\'', '\\']) {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_can_be_an_input_is_told_from_other_texts() {
        let nix = r#"{ # "comment"
            /* "another" */ inputs.lib.url = "path:/lib"; inputs.b = { flake = false; url = "path:/b"; };
            inputs.c = { type = "path"; path = "/c"; };
            outputs = _: { a = '' "no" ''${x} "no" ''; WorkingDir = "/"; s = "a \" b"; pathsToLink = [ "/bin" ]; }; }"#;
        let all = Quoted::all(nix);
        let texts: Vec<&str> = all.iter().map(|quoted| quoted.text).collect();
        assert_eq!(texts, ["path:/lib", "path:/b", "path", "/c", "/", "a \\\" b", "/bin"]);
        let urls: Vec<_> = all.iter().filter(|quoted| quoted.is_url()).collect();
        let names: Vec<_> = urls.iter().map(|quoted| (quoted.input(), quoted.is_no_flake())).collect();
        assert_eq!(names, [("lib", false), ("b", true)]);
        let paths: Vec<_> = all.iter().filter(|quoted| quoted.is_path()).map(|path| path.input()).collect();
        assert_eq!(paths, ["c"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\"|''|\\\\|#|/\\*|\\*/|é|=|url|[{}. \n$'])*") {
            for quoted in Quoted::all(&text) {
                let _ = (quoted.is_url(), quoted.is_path(), quoted.is_no_flake(), quoted.input());
            }
        }
    }
}
