//! Removes secrets from everything that nixoci prints or logs.
//!
//! Nix repeats URLs with passwords in its errors, and a project's expression can read and print the settings that nixoci
//! forwards. The writers of the terminal, of JSON and of log files call [`scrub`], so that no message has to remember to.

use std::borrow::Cow;
use std::sync::{LazyLock, PoisonError, RwLock};

use regex::{Captures, Regex};

/// A shorter value is a word that may occur anywhere.
const SHORTEST: usize = 8;
const HIDDEN: &str = "***";

/// The secrets of this run. Process-wide, because every writer has to know them, wherever it was made.
static KNOWN: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Has a value replaced wherever it would be printed. Values of fewer than eight characters are left alone.
pub fn register(value: &str) {
    let value = value.trim();
    if value.len() < SHORTEST {
        return;
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if !known.iter().any(|secret| secret == value) {
        known.push(value.to_owned());
    }
}

/// Has the passwords of a netrc file replaced.
pub fn register_netrc(text: &str) {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).filter(|pair| pair[0] == "password").for_each(|pair| register(pair[1]));
}

/// A pattern that is known to be right.
macro_rules! pattern {
    ($name:ident, $text:literal) => {
        static $name: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($text).ok());
    };
}
pattern!(PASSWORD, r#"(?i)\b([a-z][a-z0-9+.-]*://[^/\s@:"'<>?\#]*):[^/\s@"'<>]+@"#);
// With http, a name without a password is a token.
pattern!(TOKEN, r#"(?i)\b((?:git\+)?https?://)[^/\s@:"'<>?\#*]+@"#);
pattern!(
    PARAMETER,
    r#"(?i)([?&](?:access_token|private_token|token|password|secret|signature|x-amz-signature|sig)=)[^&\s"'<>\#]+"#
);
// Source: Nix manual, nix.conf, `access-tokens`: HOST=TOKEN, several of them.
pattern!(SETTING, r#"(?i)(access-tokens\s*=\s*)((?:[^\s="']+=[^\s"']+\s*)+)"#);
pattern!(PAIR, r#"([^\s=]+=)[^\s]+"#);

/// The text with `***` in place of passwords and tokens in URLs, of access tokens in Nix's settings, and of every value that
/// was [registered](register).
pub fn scrub(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for secret in KNOWN.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if text.contains(secret.as_str()) {
            text = Cow::Owned(text.replace(secret.as_str(), HIDDEN));
        }
    }
    if text.contains("://") {
        text = replaced(text, &PASSWORD, |found| format!("{}:{HIDDEN}@", &found[1]));
        text = replaced(text, &TOKEN, |found| format!("{}{HIDDEN}@", &found[1]));
        text = replaced(text, &PARAMETER, |found| format!("{}{HIDDEN}", &found[1]));
    }
    if text.contains("access-tokens") {
        text = replaced(text, &SETTING, |found| {
            let pairs = replaced(Cow::Borrowed(&found[2]), &PAIR, |pair| format!("{}{HIDDEN}", &pair[1]));
            format!("{}{pairs}", &found[1])
        });
    }
    text
}

fn replaced<'t>(
    text: Cow<'t, str>,
    pattern: &LazyLock<Option<Regex>>,
    replace: impl Fn(&Captures<'_>) -> String,
) -> Cow<'t, str> {
    match pattern.as_ref() {
        Some(pattern) if pattern.is_match(&text) => {
            Cow::Owned(pattern.replace_all(&text, |found: &Captures<'_>| replace(found)).into_owned())
        }
        Some(_) => text,
        // Without the pattern nobody knows what is secret in it. (`unicode-perl` and `unicode-case` of regex have to be there: without them
        // none of the patterns can be compiled, and tests do not tell, whose other dependencies switch them on.)
        None => Cow::Borrowed(HIDDEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for pattern in [&PASSWORD, &TOKEN, &PARAMETER, &SETTING, &PAIR] {
            assert!(pattern.is_some());
        }
    }

    #[test]
    fn secrets_in_urls_and_settings_are_hidden() {
        for (text, expected) in [
            ("git+https://user:hush@127.0.0.1:9/x.git?ref=a", "git+https://user:***@127.0.0.1:9/x.git?ref=a"),
            ("'https://ghp_abcdef@github.com/a'", "'https://***@github.com/a'"),
            ("http://me:p%40ss:word@proxy:3128", "http://me:***@proxy:3128"),
            ("https://h/x.tar?access_token=abc&ref=main", "https://h/x.tar?access_token=***&ref=main"),
            (
                "extra-access-tokens = github.com=hush gitlab.com=PAT:hush netrc-file = /n",
                "extra-access-tokens = github.com=*** gitlab.com=*** netrc-file = /n",
            ),
            ("ssh://git@github.com/a/b", "ssh://git@github.com/a/b"),
            ("git+ssh://git@github.com/a@b", "git+ssh://git@github.com/a@b"),
            ("https://github.com/@scope/x", "https://github.com/@scope/x"),
            ("docker://registry:5000/app@sha256:00", "docker://registry:5000/app@sha256:00"),
            ("path:/home/me#x, me@box", "path:/home/me#x, me@box"),
        ] {
            assert_eq!(scrub(text), expected);
            assert_eq!(scrub(&scrub(text)), expected, "once is enough");
        }
    }

    #[test]
    fn a_registered_value_is_hidden_wherever_it_is() {
        register("QQ-registered-value");
        register("short");
        register_netrc("machine example.org login me password QQ-netrc-password\nmachine b password x");
        assert_eq!(scrub("a QQ-registered-value, QQ-netrc-password, short x"), "a ***, ***, short x");
    }
}
