//! What `nix config show` and `nix store info` tell, as far as nixoci uses it.

use nixoci_core::platform::NixSystem;
use serde_json::Value;

/// Settings of Nix that decide what it can build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NixSettings {
    /// The system Nix builds for by itself.
    pub system: NixSystem,
    /// Other systems whose programs run here.
    pub extra_platforms: Vec<NixSystem>,
    /// Experimental features that are on for everybody; nixoci switches on those it needs for its own calls.
    pub experimental_features: Vec<String>,
    /// `true`, `false` or `relaxed`.
    pub sandbox: String,
    /// Whether Nix builds without a sandbox where it cannot have one.
    pub sandbox_fallback: bool,
    /// Machines that builds may be sent to, as written in the configuration.
    pub builders: String,
    /// How many derivations are built here at once; 0 switches local builds off.
    pub max_jobs: u64,
    /// Programs that build for other systems in Nix's place (`external-builders`, since 2.32), with what they build for.
    pub external_builders: Vec<ExternalBuilder>,
    /// What derivations may ask for here.
    pub system_features: Vec<String>,
    /// Binary caches.
    pub substituters: Vec<String>,
}

/// A program that builds for other systems in Nix's place, as Determinate's native Linux builder does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalBuilder {
    /// Where it is.
    pub program: String,
    /// What it builds for.
    pub systems: Vec<NixSystem>,
}

/// The binary cache that every Nix knows.
const PUBLIC_CACHE: &str = "https://cache.nixos.org";

impl NixSettings {
    /// Whether this machine builds derivations for `system` itself.
    pub fn builds(&self, system: &NixSystem) -> bool {
        self.system == *system || self.extra_platforms.contains(system)
    }

    /// Binary caches that another machine's Nix may not know.
    pub fn own_caches(&self) -> Vec<&str> {
        let urls = self.substituters.iter().map(|url| url.trim_end_matches('/'));
        urls.filter(|url| *url != PUBLIC_CACHE && !url.starts_with(&format!("{PUBLIC_CACHE}?"))).collect()
    }

    /// Understands `nix config show --json`; the error says in words what is odd.
    pub(crate) fn parse(text: &str) -> Result<NixSettings, String> {
        let all: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let value = |name: &str| all.get(name).and_then(|setting| setting.get("value"));
        let words = |name: &str| -> Vec<String> {
            match value(name) {
                Some(Value::Array(list)) => {
                    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
                }
                Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
                _ => Vec::new(),
            }
        };
        let system = value("system").and_then(Value::as_str).ok_or("it names no system")?;
        Ok(NixSettings {
            system: system.parse().map_err(|error| format!("{error}"))?,
            extra_platforms: words("extra-platforms").iter().filter_map(|word| word.parse().ok()).collect(),
            experimental_features: words("experimental-features"),
            sandbox: match value("sandbox") {
                Some(Value::Bool(on)) => on.to_string(),
                Some(Value::String(text)) => text.clone(),
                _ => String::new(),
            },
            sandbox_fallback: value("sandbox-fallback") == Some(&Value::Bool(true)),
            builders: value("builders").and_then(Value::as_str).unwrap_or_default().to_owned(),
            max_jobs: value("max-jobs").and_then(Value::as_u64).unwrap_or(1),
            external_builders: external_builders(value("external-builders")),
            system_features: words("system-features"),
            substituters: words("substituters"),
        })
    }
}

/// Understands the setting, which is JSON, also where it is shown as a text.
fn external_builders(value: Option<&Value>) -> Vec<ExternalBuilder> {
    let parsed = match value {
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        other => other.cloned(),
    };
    let list = parsed.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let builder = |entry: &Value| {
        let systems = entry.get("systems")?.as_array()?.iter().filter_map(|name| name.as_str()?.parse().ok());
        Some(ExternalBuilder {
            program: entry.get("program")?.as_str()?.to_owned(),
            systems: systems.collect(),
        })
    };
    list.iter().filter_map(builder).collect()
}

/// What the store says about itself and about us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreInfo {
    /// `daemon`, `local`, or another store's URI.
    pub url: String,
    /// The daemon's version, if there is one.
    pub version: Option<String>,
    /// Whether the daemon trusts this user; unknown where there is no daemon to ask.
    pub trusted: Option<bool>,
}

impl StoreInfo {
    /// Whether a daemon does the work.
    pub fn is_daemon(&self) -> bool {
        self.url.starts_with("daemon") || self.url.starts_with("unix:")
    }

    /// Understands `nix store info --json`.
    pub(crate) fn parse(text: &str) -> Result<StoreInfo, String> {
        let all: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let url = all.get("url").and_then(Value::as_str).ok_or("it names no URL")?;
        let trusted = match all.get("trusted") {
            Some(Value::Bool(trusted)) => Some(*trusted),
            Some(Value::Number(number)) => Some(number.as_u64() != Some(0)),
            _ => None,
        };
        let version = all.get("version").and_then(Value::as_str).map(str::to_owned);
        Ok(StoreInfo { url: url.to_owned(), version, trusted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_decides_about_platforms() {
        let text = r#"{"system":{"value":"x86_64-linux"},"extra-platforms":{"value":["i686-linux","aarch64-linux","odd"]},
            "sandbox":{"value":"relaxed"},"sandbox-fallback":{"value":true},"max-jobs":{"value":0},
            "substituters":{"value":["https://cache.nixos.org/"]},"experimental-features":{"value":["flakes"]}}"#;
        let settings = NixSettings::parse(text).unwrap();
        assert!(settings.builds(&"aarch64-linux".parse().unwrap()));
        assert!(!settings.builds(&"riscv64-linux".parse().unwrap()));
        assert_eq!(
            (settings.sandbox.as_str(), settings.sandbox_fallback, settings.max_jobs),
            ("relaxed", true, 0)
        );
        assert_eq!(settings.substituters, ["https://cache.nixos.org/"]);
        assert_eq!(settings.own_caches(), Vec::<&str>::new());
        assert!(NixSettings::parse("{}").is_err());
        let minimal =
            NixSettings::parse(r#"{"system":{"value":"x86_64-linux"},"sandbox":{"value":false}}"#).unwrap();
        assert_eq!((minimal.sandbox.as_str(), minimal.max_jobs), ("false", 1));
    }

    #[test]
    fn external_builders_are_json_in_either_form() {
        let list = r#"[{"systems":["aarch64-linux","odd"],"program":"/bin/vm","args":["-x"]},{"odd":1}]"#;
        for value in [list.to_owned(), serde_json::to_string(list).unwrap()] {
            let text = format!(
                r#"{{"system":{{"value":"aarch64-darwin"}},"external-builders":{{"value":{value}}}}}"#
            );
            let settings = NixSettings::parse(&text).unwrap();
            let found: Vec<_> =
                settings.external_builders.iter().map(|b| (b.program.as_str(), b.systems.len())).collect();
            assert_eq!(found, [("/bin/vm", 1)]);
        }
    }

    #[test]
    fn trust_has_been_written_in_several_ways() {
        let trusted = |text| StoreInfo::parse(text).unwrap().trusted;
        assert_eq!(trusted(r#"{"trusted":1,"url":"daemon","version":"2.26.3"}"#), Some(true));
        assert_eq!(trusted(r#"{"trusted":false,"url":"daemon","version":"2.34.8"}"#), Some(false));
        assert_eq!(trusted(r#"{"trusted":0,"url":"daemon"}"#), Some(false));
        assert_eq!(trusted(r#"{"url":"local"}"#), None);
        assert!(StoreInfo::parse(r#"{"url":"daemon"}"#).unwrap().is_daemon());
        assert!(!StoreInfo::parse(r#"{"url":"local"}"#).unwrap().is_daemon());
    }
}
