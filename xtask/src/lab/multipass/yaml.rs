//! YAML to the letter as multipass' yaml-cpp prints it, for `--format yaml`.

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Yaml {
    Null,
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    /// Null if there is nothing to say.
    pub(super) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::Null } else { Self::Text(text) }
    }

    pub(super) fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// The whole document.
    pub(super) fn print(&self) -> String {
        match self {
            Self::Null => "\n".to_owned(),
            value => value.lines().iter().map(|line| format!("{line}\n")).collect(),
        }
    }

    fn lines(&self) -> Vec<String> {
        match self {
            Self::Null => vec!["~".to_owned()],
            Self::Text(text) => vec![scalar(text)],
            Self::List(items) if items.is_empty() => vec!["[]".to_owned()],
            Self::Map(entries) if entries.is_empty() => vec!["{}".to_owned()],
            Self::List(items) => items.iter().flat_map(|item| item.item()).collect(),
            Self::Map(entries) => entries.iter().flat_map(|(key, value)| value.entry(key)).collect(),
        }
    }

    fn item(&self) -> Vec<String> {
        let begins = |n: usize| if n == 0 { "- " } else { "  " };
        self.lines().iter().enumerate().map(|(n, line)| format!("{}{line}", begins(n))).collect()
    }

    fn entry(&self, key: &str) -> Vec<String> {
        let key = scalar(key);
        match self {
            Self::Null | Self::Text(_) => vec![format!("{key}: {}", self.lines().concat())],
            Self::List(_) | Self::Map(_) => {
                let below = self.lines().into_iter().map(|line| format!("  {line}"));
                [format!("{key}:")].into_iter().chain(below).collect()
            }
        }
    }
}

/// A colon is quoted, wherever it stands.
fn scalar(text: &str) -> String {
    if text.is_empty() || text.contains(':') { format!("\"{text}\"") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_multipass_prints_it() {
        let instance = Yaml::map([
            ("state", Yaml::text("Stopped")),
            ("release", Yaml::text("")),
            ("disks", Yaml::List(vec![Yaml::map([("sda1", Yaml::map([("used", Yaml::Null)]))])])),
            ("ipv4", Yaml::List(vec![])),
            ("uid_mappings", Yaml::List(vec![Yaml::text("1000:501")])),
        ]);
        let value = Yaml::map([("errors", Yaml::List(vec![Yaml::Null])), ("a", Yaml::List(vec![instance]))]);
        let text = "errors:\n  - ~\na:\n  - state: Stopped\n    release: ~\n    disks:\n      - sda1:\n          used: ~\n    \
                    ipv4:\n      []\n    uid_mappings:\n      - \"1000:501\"\n";
        assert_eq!(value.print(), text);
        assert_eq!(Yaml::Null.print(), "\n");
    }
}
