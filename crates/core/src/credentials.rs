//! What opens private sources, for a Nix that runs elsewhere than on this host. The host's own Nix has the user's settings anyway.
//!
//! Only names of secrets are configured, and only by the user: a project that could name them could have them sent somewhere.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// `[credentials]` in the user's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Credentials {
    /// A token for GitHub: "gh" asks GitHub's command line for it, "env:NAME" takes a variable.
    pub github: Option<TokenSource>,
    /// A netrc file with user names and passwords by host: "~/.netrc".
    pub netrc: Option<PathBuf>,
    /// What may be asked from there: "ssh-agent", for inputs by git+ssh.
    pub forward: Vec<Forward>,
}

impl Credentials {
    /// Each of them in words, as a question names it.
    pub fn names(&self) -> Vec<String> {
        let token = self.github.as_ref().map(|source| match source {
            TokenSource::Gh => "your token for GitHub, from `gh auth token`".to_owned(),
            TokenSource::Env(name) => format!("your token for GitHub, from the variable {name}"),
        });
        let netrc = self.netrc.as_ref().map(|path| format!("the passwords in {}", path.display()));
        let agent = self.forward.contains(&Forward::SshAgent).then(|| "your ssh agent".to_owned());
        token.into_iter().chain(netrc).chain(agent).collect()
    }
}

/// What is asked for something, and gives nothing away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// The ssh agent.
    SshAgent,
}

/// Nobody's.
pub static NONE: Credentials = Credentials { github: None, netrc: None, forward: Vec::new() };

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TokenSource {
    /// `gh auth token`.
    Gh,
    /// A variable of nixoci's environment.
    Env(String),
}

impl TryFrom<String> for TokenSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name =
            |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match text.strip_prefix("env:").filter(name) {
            Some(name) => Ok(TokenSource::Env(name.to_owned())),
            None if text == "gh" => Ok(TokenSource::Gh),
            // What is written there may be the token itself.
            None => Err("a token comes from \"gh\" or from a variable, \"env:GITHUB_TOKEN\"".to_owned()),
        }
    }
}

impl From<TokenSource> for String {
    fn from(source: TokenSource) -> String {
        match source {
            TokenSource::Gh => "gh".to_owned(),
            TokenSource::Env(name) => format!("env:{name}"),
        }
    }
}

impl JsonSchema for TokenSource {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TokenSource".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(gh|env:[A-Za-z0-9_]+)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_named_and_never_written() {
        let source = |text: &str| TokenSource::try_from(text.to_owned());
        assert_eq!(source("gh"), Ok(TokenSource::Gh));
        assert_eq!(source("env:GITHUB_TOKEN"), Ok(TokenSource::Env("GITHUB_TOKEN".into())));
        for odd in ["ghp_secret", "env:", "env:A B"] {
            assert!(!source(odd).unwrap_err().contains("secret"));
        }
    }
}
