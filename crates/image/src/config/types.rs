//! The types of the configuration's keys. A value of another type is taken by nixoci's own reader, and by no runtime.
//!
//! Sources: OCI image specification, `specs-go/v1/config.go`; moby `image/image.go` and `api/types/container/config.go`;
//! Docker image specification v1.3 for `Healthcheck`, `OnBuild` and `Shell`.

use nixoci_core::{Error, Remedy, Result};
use serde_json::value::RawValue;

use crate::codes;
use crate::json::{self, Object};
use crate::text::show;

/// How much of a wrong value is repeated.
const SHOWN: usize = 60;

/// The type of a key.
enum Type {
    Text,
    Flag,
    /// Go's `int` and `int64`.
    Integer,
    Texts,
    /// A list of texts, or one text: [`ImageConfig::parse`](super::ImageConfig::parse) makes a list of it.
    Words,
    /// Texts by name.
    Map,
    /// Names alone: each with an empty set.
    Set,
    /// RFC 3339, with a time and a zone.
    Date,
    Table(&'static [Key]),
    Tables(&'static [Key]),
}

/// A key with its type, and what is right in an expression.
struct Key {
    name: &'static str,
    of: Type,
    nix: &'static str,
}

const fn key(name: &'static str, of: Type, nix: &'static str) -> Key {
    Key { name, of, nix }
}

const ROOT: &[Key] = &[
    key("architecture", Type::Text, "architecture = \"amd64\";"),
    key("os", Type::Text, ""),
    key("variant", Type::Text, ""),
    key("os.version", Type::Text, ""),
    key("os.features", Type::Texts, ""),
    key("created", Type::Date, "created = \"2024-01-02T00:00:00Z\";"),
    key("author", Type::Text, ""),
    key("id", Type::Text, ""),
    key("parent", Type::Text, ""),
    key("comment", Type::Text, ""),
    key("container", Type::Text, ""),
    key("docker_version", Type::Text, ""),
    key("config", Type::Table(CONFIG), "config = { Cmd = [ \"/bin/app\" ]; };"),
    key("container_config", Type::Table(CONFIG), ""),
    key("rootfs", Type::Table(ROOTFS), ""),
    key("history", Type::Tables(HISTORY), ""),
];

const ROOTFS: &[Key] = &[key("type", Type::Text, ""), key("diff_ids", Type::Texts, "")];

const HISTORY: &[Key] = &[
    key("created", Type::Date, ""),
    key("author", Type::Text, ""),
    key("created_by", Type::Text, ""),
    key("comment", Type::Text, ""),
    key("empty_layer", Type::Flag, ""),
];

const CONFIG: &[Key] = &[
    key("User", Type::Text, "User = \"1000\";"),
    key("ExposedPorts", Type::Set, "ExposedPorts = { \"80/tcp\" = { }; };"),
    key("Env", Type::Texts, "Env = [ \"A=b\" ];"),
    key("Entrypoint", Type::Words, "Entrypoint = [ \"/bin/app\" ];"),
    key("Cmd", Type::Words, "Cmd = [ \"/bin/app\" \"--port\" \"80\" ];"),
    key("Volumes", Type::Set, "Volumes = { \"/data\" = { }; };"),
    key("WorkingDir", Type::Text, "WorkingDir = \"/app\";"),
    key("Labels", Type::Map, "Labels = { version = \"3\"; };"),
    key("StopSignal", Type::Text, "StopSignal = \"SIGTERM\";"),
    key("StopTimeout", Type::Integer, "StopTimeout = 10;"),
    key("Healthcheck", Type::Table(HEALTHCHECK), "Healthcheck = { Test = [ \"CMD\" \"/bin/check\" ]; };"),
    key("OnBuild", Type::Texts, "OnBuild = [ \"RUN true\" ];"),
    key("Shell", Type::Texts, "Shell = [ \"/bin/sh\" \"-c\" ];"),
    key("Hostname", Type::Text, "Hostname = \"app\";"),
    key("Domainname", Type::Text, "Domainname = \"example\";"),
    key("Image", Type::Text, ""),
    key("MacAddress", Type::Text, ""),
    key("ArgsEscaped", Type::Flag, ""),
    key("AttachStdin", Type::Flag, "AttachStdin = false;"),
    key("AttachStdout", Type::Flag, "AttachStdout = false;"),
    key("AttachStderr", Type::Flag, "AttachStderr = false;"),
    key("Tty", Type::Flag, "Tty = false;"),
    key("OpenStdin", Type::Flag, "OpenStdin = false;"),
    key("StdinOnce", Type::Flag, "StdinOnce = false;"),
    key("NetworkDisabled", Type::Flag, "NetworkDisabled = false;"),
];

const HEALTHCHECK: &[Key] = &[
    key("Test", Type::Texts, "Test = [ \"CMD\" \"/bin/check\" ];"),
    key("Interval", Type::Integer, "Interval = 30000000000; # 30 s, in nanoseconds"),
    key("Timeout", Type::Integer, "Timeout = 5000000000; # 5 s, in nanoseconds"),
    key("StartPeriod", Type::Integer, "StartPeriod = 10000000000; # 10 s, in nanoseconds"),
    key("StartInterval", Type::Integer, "StartInterval = 1000000000; # 1 s, in nanoseconds"),
    key("Retries", Type::Integer, "Retries = 3;"),
];

/// Holds every key that a runtime gives a type against it. Keys that none knows may be anything. The image's own date does
/// not matter where another one takes its place.
pub(super) fn check(root: &Object<'_>, other_date: bool) -> Result<()> {
    let keys = ROOT.iter().filter(|key| !(other_date && key.name == "created"));
    table(root, "", keys)
}

fn table<'k>(object: &Object<'_>, path: &str, keys: impl Iterator<Item = &'k Key>) -> Result<()> {
    for key in keys {
        // A document may repeat a key, and a runtime decodes every one.
        for value in object.all(key.name) {
            value_of(key, &format!("{path}{}", key.name), value)?;
        }
    }
    Ok(())
}

fn value_of(key: &Key, path: &str, value: &RawValue) -> Result<()> {
    let text = value.get();
    // `null` leaves a value of Go as it is, whatever its type.
    if text == "null" {
        return Ok(());
    }
    match (&key.of, Found::of(text)) {
        (Type::Text | Type::Words, Found::Text) | (Type::Flag, Found::Flag) => Ok(()),
        (Type::Integer, Found::Number) if text.parse::<i64>().is_ok() => Ok(()),
        (Type::Integer, Found::Number) => {
            Err(wrong(key, path, &format!("is {}, and has to be a whole number", cut(text))))
        }
        (Type::Texts | Type::Words, Found::List) => elements(key, path, text),
        (Type::Map, Found::Set) => entries(key, path, text, Found::Text),
        (Type::Set, Found::Set) => entries(key, path, text, Found::Set),
        (Type::Table(keys), Found::Set) => {
            table(&Object::parse(text, path)?, &format!("{path}."), keys.iter())
        }
        (Type::Tables(keys), Found::List) => tables(key, path, text, keys),
        (Type::Date, Found::Text) => date(key, path, text),
        (of, found) => Err(wrong(key, path, &format!("is {}, and has to be {}", found.name(), of.name()))),
    }
}

fn elements(key: &Key, path: &str, text: &str) -> Result<()> {
    for element in json::list(text, path)? {
        match Found::of(element.get()) {
            Found::Text | Found::Nothing => {}
            found => {
                let what =
                    format!("has {} in it, {}, and takes texts only", found.name(), cut(element.get()));
                return Err(wrong(key, path, &what));
            }
        }
    }
    Ok(())
}

fn entries(key: &Key, path: &str, text: &str, wanted: Found) -> Result<()> {
    for (name, value) in Object::parse(text, path)?.entries() {
        let found = Found::of(value.get());
        if found == wanted || found == Found::Nothing {
            continue;
        }
        let name = show(name.as_bytes());
        let right = match wanted {
            Found::Text if matches!(found, Found::Number | Found::Flag) => {
                format!("write \"{}\"", cut(value.get()))
            }
            Found::Text => "it has to be a text".to_owned(),
            _ => "it has to be an empty set".to_owned(),
        };
        return Err(wrong(key, &format!("{path}.{name}"), &format!("is {}: {right}", found.name())));
    }
    Ok(())
}

fn tables(key: &Key, path: &str, text: &str, keys: &[Key]) -> Result<()> {
    for (place, element) in json::list(text, path)?.into_iter().enumerate() {
        let path = format!("{path}[{place}]");
        match Found::of(element.get()) {
            Found::Set => {
                table(&Object::parse(element.get(), path.as_str())?, &format!("{path}."), keys.iter())?
            }
            Found::Nothing => {}
            found => return Err(wrong(key, &path, &format!("is {}, and has to be a set", found.name()))),
        }
    }
    Ok(())
}

fn date(key: &Key, path: &str, text: &str) -> Result<()> {
    let written: String = serde_json::from_str(text).unwrap_or_default();
    if is_rfc3339(&written) {
        return Ok(());
    }
    let shown = show(written.as_bytes());
    let error =
        wrong(key, path, &format!("is `{shown}`; runtimes want a date of RFC 3339, with a time and a zone"));
    Err(match key.nix {
        "" => error,
        _ => error.remedy(Remedy::command("give the image another date", "--created 2024-01-02T00:00:00Z")),
    })
}

/// As Go's `time.Time` is decoded from JSON: `2024-01-02T03:04:05Z`, with a fraction or another zone.
fn is_rfc3339(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<u32>().ok()
    };
    let has = |at: usize, byte: u8| text.as_bytes().get(at) == Some(&byte);
    let separated = has(4, b'-') && has(7, b'-') && has(10, b'T') && has(13, b':') && has(16, b':');
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else {
        return false;
    };
    let (Some(hour), Some(minute), Some(second)) = (number(11..13), number(14..16), number(17..19)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    let fits = (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60;
    separated && fits && text.get(19..).is_some_and(is_zone_after_fraction)
}

fn is_zone_after_fraction(rest: &str) -> bool {
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    match zone.as_bytes() {
        b"Z" => true,
        [b'+' | b'-', a, b, b':', c, d] => {
            let two = |a: &u8, b: &u8| {
                (a.is_ascii_digit() && b.is_ascii_digit()).then(|| (a - b'0') * 10 + (b - b'0'))
            };
            two(a, b).is_some_and(|hours| hours < 24) && two(c, d).is_some_and(|minutes| minutes < 60)
        }
        _ => false,
    }
}

/// The type of a JSON value, by its first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Text,
    Flag,
    Number,
    List,
    Set,
}

impl Found {
    fn of(text: &str) -> Found {
        match text.as_bytes().first() {
            Some(b'"') => Found::Text,
            Some(b't' | b'f') => Found::Flag,
            Some(b'[') => Found::List,
            Some(b'{') => Found::Set,
            Some(b'n') | None => Found::Nothing,
            Some(_) => Found::Number,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Found::Nothing => "null",
            Found::Text => "a text",
            Found::Flag => "true or false",
            Found::Number => "a number",
            Found::List => "a list",
            Found::Set => "a set",
        }
    }
}

impl Type {
    fn name(&self) -> &'static str {
        match self {
            Type::Text => "a text",
            Type::Flag => "true or false",
            Type::Integer => "a whole number",
            Type::Texts | Type::Words => "a list of texts",
            Type::Map => "a set of texts",
            Type::Set => "a set of empty sets",
            Type::Date => "a date",
            Type::Table(_) => "a set",
            Type::Tables(_) => "a list of sets",
        }
    }
}

fn cut(text: &str) -> String {
    crate::text::show_up_to(text.as_bytes(), SHOWN)
}

fn wrong(key: &Key, path: &str, what: &str) -> Error {
    let error = Error::new(&codes::BAD_CONFIG, format!("`{path}` in the image's configuration {what}"));
    match key.nix {
        "" => error,
        nix => error.remedy(Remedy::lines("write it in the expression as", nix)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_that_go_decodes() {
        for right in [
            "1970-01-01T00:00:01Z",
            "2024-02-29T23:59:59.123456789+14:00",
            "0001-01-01T00:00:00Z",
            "2024-01-02T00:00:00-00:00",
        ] {
            assert!(is_rfc3339(right), "{right}");
        }
        for wrong in [
            "",
            "2024-01-02",
            "now",
            "2023-02-29T00:00:00Z",
            "2024-01-02T00:00:00",
            "2024-01-02 00:00:00Z",
            "2024-01-02t00:00:00z",
            "2024-1-2T00:00:00Z",
            "2024-01-02T24:00:00Z",
            "2024-01-02T00:00:60Z",
            "2024-01-02T00:00:00.Z",
            "2024-01-02T00:00:00+0100",
            "12024-01-02T00:00:00Z",
            "2024-01-02T00:00:00Zx",
            "202\u{e9}-01-02T00:00:00Z",
        ] {
            assert!(!is_rfc3339(wrong), "{wrong}");
        }
    }

    /// A value of every kind that JSON has.
    const VALUES: [&str; 8] = ["\"x\"", "true", "3", "1.5", "[\"a\"]", "{}", "[3]", "{\"a\":3}"];

    /// The values that Go's decoder takes for a type, `null` aside.
    fn taken(of: &Type) -> &'static [&'static str] {
        match of {
            Type::Text => &["\"x\""],
            Type::Flag => &["true"],
            Type::Integer => &["3"],
            Type::Texts => &["[\"a\"]"],
            Type::Words => &["\"x\"", "[\"a\"]"],
            Type::Map | Type::Set => &["{}"],
            // Keys that none knows may be anything.
            Type::Table(_) => &["{}", "{\"a\":3}"],
            Type::Date | Type::Tables(_) => &[],
        }
    }

    fn document(path: &[&str], value: &str) -> String {
        path.iter().rev().fold(value.to_owned(), |inner, name| format!("{{\"{name}\":{inner}}}"))
    }

    fn each(keys: &'static [Key], path: &[&'static str]) {
        for key in keys {
            let path: Vec<&str> = path.iter().copied().chain([key.name]).collect();
            for value in VALUES.into_iter().chain(["null"]) {
                let text = document(&path, value);
                let checked = check(&Object::parse(&text, "x").unwrap(), false);
                let fits = value == "null" || taken(&key.of).contains(&value);
                assert_eq!(checked.is_ok(), fits, "{text}");
                if let Err(error) = checked {
                    assert!(error.is(&codes::BAD_CONFIG), "{text}: {error}");
                    let dotted = path.join(".");
                    assert!(error.to_string().starts_with(&format!("`{dotted}")), "{text}: {error}");
                    let lines: Vec<_> =
                        error.report().remedies.iter().filter_map(|help| help.command.clone()).collect();
                    assert!(key.nix.is_empty() || lines.contains(&key.nix.to_owned()), "{text}: {lines:?}");
                }
            }
            assert!(key.nix.is_empty() || key.nix.starts_with(&format!("{} = ", key.name)), "{}", key.nix);
            if let Type::Table(inner) = key.of {
                each(inner, &path);
            }
        }
    }

    #[test]
    fn every_key_is_held_against_its_type() {
        each(ROOT, &[]);
    }

    #[test]
    fn a_wrong_value_says_what_is_right() {
        let say = |text: &str| check(&Object::parse(text, "x").unwrap(), false).unwrap_err().to_string();
        let cases = [
            (
                r#"{"config":{"Volumes":["/data"]}}"#,
                "`config.Volumes` in the image's configuration is a list, and has to be a set of empty sets",
            ),
            (
                r#"{"config":{"Labels":{"version":3}}}"#,
                "`config.Labels.version` in the image's configuration is a number: write \"3\"",
            ),
            (
                r#"{"config":{"ExposedPorts":{"80/tcp":""}}}"#,
                "`config.ExposedPorts.80/tcp` in the image's configuration is a text: it has to be an empty set",
            ),
            (
                r#"{"config":{"Env":["A=b",{"C":"d"}]}}"#,
                "`config.Env` in the image's configuration has a set in it, {\"C\":\"d\"}, and takes texts only",
            ),
            (
                r#"{"config":{"Healthcheck":{"Interval":"30s"}}}"#,
                "`config.Healthcheck.Interval` in the image's configuration is a text, and has to be a whole number",
            ),
            (
                r#"{"created":"2024-01-02"}"#,
                "`created` in the image's configuration is `2024-01-02`; runtimes want a date of RFC 3339, with a time and a zone",
            ),
            (
                r#"{"history":[{},{"empty_layer":"yes"}]}"#,
                "`history[1].empty_layer` in the image's configuration is a text, and has to be true or false",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(say(text), expected);
        }
        let replaced = check(&Object::parse(r#"{"created":"2024-01-02"}"#, "x").unwrap(), true);
        assert!(replaced.is_ok(), "another date takes its place");
    }
}
