//! What opens private sources, in a guest: it comes in on standard input, lies in memory that only one command's processes see, and is
//! gone when the last of them is, however they end.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nixoci_core::backend::Cx;
use nixoci_core::credentials::TokenSource;
use nixoci_core::runner::{Command, output};
use nixoci_core::{Error, Remedy, Result};

use super::codes::CREDENTIALS;

/// More than this is no netrc file.
const LIMIT: u64 = 64 << 10;

/// Nix's settings with tokens in them, and a netrc file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    settings: String,
    netrc: Vec<u8>,
}

/// Never what is in it.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("none", &self.is_empty()).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Gathers what the user's configuration names.
    ///
    /// # Errors
    /// [`CREDENTIALS`] for what is named and is not there.
    pub async fn gather(cx: &Cx<'_>) -> Result<Secrets> {
        let mut secrets = Secrets::default();
        if let Some(source) = &cx.credentials.github {
            let token = token(cx, source).await?;
            nixoci_core::secrets::register(&token);
            secrets.settings.push_str(&format!("extra-access-tokens = github.com={token}\n"));
        }
        if let Some(path) = &cx.credentials.netrc {
            let path = match (path.strip_prefix("~"), &cx.host.home) {
                (Ok(rest), Some(home)) => home.join(rest),
                _ => path.clone(),
            };
            let missing = |error: std::io::Error| {
                Error::new(&CREDENTIALS, format!("the netrc file {} cannot be read", path.display()))
                    .caused_by(&error)
            };
            secrets.netrc = cx.host.read(&path, LIMIT).map_err(missing)?;
            nixoci_core::secrets::register_netrc(&String::from_utf8_lossy(&secrets.netrc));
        }
        Ok(secrets)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.netrc.is_empty()
    }

    /// As one line.
    pub(super) fn line(&self) -> Option<Vec<u8>> {
        (!self.is_empty()).then(|| {
            format!("{} {}\n", BASE64.encode(&self.settings), BASE64.encode(&self.netrc)).into_bytes()
        })
    }
}

async fn token(cx: &Cx<'_>, source: &TokenSource) -> Result<String> {
    let token = match source {
        TokenSource::Env(name) => cx.host.var(name).map(str::to_owned).ok_or_else(|| {
            Error::new(&CREDENTIALS, format!("the variable {name} is not set, which [credentials] names"))
        })?,
        TokenSource::Gh => {
            let command = Command::new("gh").args(["auth", "token"]);
            let answer = output(cx.runner, &command, cx.cancel).await?;
            if !answer.exit.success() {
                return Err(Error::new(&CREDENTIALS, "`gh` has no token for GitHub")
                    .remedy(Remedy::command("log in", "gh auth login")));
            }
            answer.stdout_text().trim().to_owned()
        }
    };
    // It becomes a word in a line of settings.
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Error::new(&CREDENTIALS, "the token for GitHub is not one"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_them_is_shown() {
        let secrets =
            Secrets { settings: "extra-access-tokens = github.com=hush\n".into(), netrc: b"hush".to_vec() };
        assert!(!format!("{secrets:?}").contains("hush"));
        let line = String::from_utf8(secrets.line().unwrap()).unwrap();
        assert_eq!(line.split(' ').count(), 2);
        assert_eq!(Secrets::default().line(), None);
        let netrc = Secrets { netrc: b"machine x".to_vec(), ..Secrets::default() };
        assert!(!netrc.is_empty() && netrc.line().unwrap().starts_with(b" "));
    }
}
