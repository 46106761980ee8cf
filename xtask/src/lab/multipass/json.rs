//! JSON to the letter as multipass prints it: four spaces, and empty lists on two lines. 1.16 sorts keys, 1.17 does not.

use super::Profile;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Text(String),
    Number(f64),
    Bool(bool),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl Json {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    pub(super) fn print(&self, profile: Profile) -> String {
        let mut out = String::new();
        self.write(profile, 0, &mut out);
        out.push('\n');
        out
    }

    fn write(&self, profile: Profile, depth: usize, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(&serde_json::Value::from(text.as_str()).to_string()),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::Bool(value) => out.push_str(&value.to_string()),
            Self::List(items) => {
                let items = items.iter().map(|item| (None, item));
                write_all(items, ['[', ']'], profile, depth, out);
            }
            Self::Map(entries) => {
                let mut entries: Vec<_> =
                    entries.iter().map(|(key, value)| (Some(key.as_str()), value)).collect();
                if profile == Profile::V16 {
                    entries.sort_by_key(|(key, _)| *key);
                }
                write_all(entries.into_iter(), ['{', '}'], profile, depth, out);
            }
        }
    }
}

fn write_all<'a>(
    entries: impl Iterator<Item = (Option<&'a str>, &'a Json)>,
    [open, close]: [char; 2],
    profile: Profile,
    depth: usize,
    out: &mut String,
) {
    out.push(open);
    for (n, (key, value)) in entries.enumerate() {
        out.push_str(if n == 0 { "\n" } else { ",\n" });
        out.push_str(&"    ".repeat(depth + 1));
        if let Some(key) = key {
            out.push_str(&serde_json::Value::from(key).to_string());
            out.push_str(": ");
        }
        value.write(profile, depth + 1, out);
    }
    out.push('\n');
    out.push_str(&"    ".repeat(depth));
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_each_version_prints_it() {
        let value = Json::map([
            ("list", Json::List(vec![])),
            ("a", Json::map([("b", Json::Number(60_817_408.0)), ("c", Json::Number(0.45))])),
        ]);
        let sorted = "{\n    \"a\": {\n        \"b\": 60817408,\n        \"c\": 0.45\n    },\n    \"list\": [\n    ]\n}\n";
        assert_eq!(value.print(Profile::V16), sorted);
        assert!(value.print(Profile::V17).starts_with("{\n    \"list\": [\n    ],\n"));
    }
}
