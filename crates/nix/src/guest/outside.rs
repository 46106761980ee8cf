//! The way out of a guest: proxies and certificates, as this host has them.
//!
//! A proxy without a password stays in the guest until it changes. One with a password is written to a file in memory that only root
//! reads, for as long as a process of ours in the guest has its standard input: it is gone with nixoci, however that ends.

use nixoci_core::backend::Cx;
use nixoci_core::host::Host;
use nixoci_core::runner::{Command, Process, Runner as _, output_with_input, quote};
use nixoci_core::{Error, Result, ResultExt, codes as core_codes};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::GuestRunner;
use super::codes::SET_UP;
use super::inside::become_root;

/// Variables that programs ask for a proxy, in the two spellings that are in use.
const PROXIES: &[&str] = &[
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];
/// A bundle of certificates is a few hundred kilobytes.
const LIMIT: u64 = 8 << 20;
const CERTIFICATES: &str = "/etc/nixoci/certificates.pem";

/// The daemon's settings name both files.
const DROP_IN: &str = r#"set -eu
umask 022
mkdir -p /etc/nixoci /run/nixoci /etc/systemd/system/nix-daemon.service.d
printf '[Service]\nEnvironmentFile=-/etc/nixoci/environment\nEnvironmentFile=-/run/nixoci/environment\n' >/etc/systemd/system/nix-daemon.service.d/nixoci.conf
"#;

/// Run by root, with certificates on standard input: ENVIRONMENT, and whether there are certificates.
const ADAPT: &str = r#"
if [ "$2" = yes ]; then cat >/etc/nixoci/certificates.pem; else rm -f /etc/nixoci/certificates.pem; cat >/dev/null; fi
printf '%s' "$1" >/etc/nixoci/environment.new
mv /etc/nixoci/environment.new /etc/nixoci/environment
systemctl daemon-reload
# Before Nix is installed there is no such service.
systemctl try-restart nix-daemon.service || true"#;

/// Run by root, with so many BYTES of environment on standard input, which stays open. Several of these may run: the last one removes the file.
const HOLD: &str = r#"
lock=/run/nixoci/outside.lock file=/run/nixoci/environment
exec 8>>"$lock"; flock -s 8
umask 077
new=$(mktemp "$file.XXXXXX")
head -c "$1" >"$new"
if cmp -s "$new" "$file"; then rm "$new"; else
    mv "$new" "$file"
    systemctl daemon-reload 8>&-
    systemctl try-restart nix-daemon.service 8>&- || true
fi
echo ready
cat >/dev/null || true
exec 8>>"$lock"; flock -n 8 || exit 0
rm -f "$file"
systemctl try-restart nix-daemon.service 8>&- || true"#;

/// What a guest needs to get out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Lines for a shell, and for systemd.
    environment: String,
    /// Those with a password.
    secret: String,
    certificates: Option<Vec<u8>>,
}

impl Outside {
    /// As this host gets out.
    ///
    /// # Errors
    /// [`SET_UP`] if NIX_SSL_CERT_FILE names a file that cannot be read.
    pub fn of_host(cx: &Cx<'_>) -> Result<Outside> {
        let Proxies { lines, secret, unreached } = Proxies::of(cx.host);
        for name in unreached {
            let text = format!(
                "{name} names a proxy on this host's own loopback address, which the virtual machine does not reach"
            );
            cx.observer.warn(text, Vec::new());
        }
        let mut outside = Outside { environment: lines, secret, certificates: None };
        if let Some(path) = cx.host.var("NIX_SSL_CERT_FILE") {
            let bytes = cx
                .host
                .read(path.as_ref(), LIMIT)
                .or_error(&SET_UP, || format!("NIX_SSL_CERT_FILE names {path}, which cannot be read"))?;
            let hash = nixoci_core::text::hex(&Sha256::digest(&bytes)[..8]);
            outside.environment.push_str(&format!(
                "NIX_SSL_CERT_FILE={CERTIFICATES}\nCURL_CA_BUNDLE={CERTIFICATES}\nGIT_SSL_CAINFO={CERTIFICATES}\nNIXOCI_CERTIFICATES={hash}\n"
            ));
            outside.certificates = Some(bytes);
        }
        Ok(outside)
    }

    /// Whether a guest has it like this, which says so itself.
    fn is_known(&self, environment: &str) -> bool {
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        plain(&self.environment) == plain(environment)
    }

    /// Tells a guest what differs from what it says itself, and what it knows for as long as [`Held`] is there.
    ///
    /// # Errors
    /// [`SET_UP`]; those of the way into the guest.
    pub async fn tell(
        &self,
        cx: &Cx<'_>,
        guest: &GuestRunner<'_>,
        environment: &str,
    ) -> Result<Option<Held>> {
        if !self.is_known(environment) {
            self.adapt(cx, guest).await?;
        }
        if self.secret.is_empty() { Ok(None) } else { self.hold(cx, guest).await.map(Some) }
    }

    async fn adapt(&self, cx: &Cx<'_>, guest: &GuestRunner<'_>) -> Result<()> {
        let is_there = if self.certificates.is_some() { "yes" } else { "no" };
        let script = format!("{DROP_IN}{ADAPT}");
        let command =
            Command::new("sh").args(["-c", &script, "nixoci", &self.environment, is_there]).with_stdin();
        let root = guest.clone().entered_by(become_root());
        let input = self.certificates.as_deref().unwrap_or_default();
        let answer = output_with_input(&root, &command, input, cx.cancel).await?;
        if answer.exit.success() {
            return Ok(());
        }
        Err(not_told().because(answer.stderr_text().trim()))
    }

    async fn hold(&self, cx: &Cx<'_>, guest: &GuestRunner<'_>) -> Result<Held> {
        let script = format!("{DROP_IN}{HOLD}");
        let length = self.secret.len().to_string();
        let command = Command::new("sh").args(["-c", &script, "nixoci", &length]).with_stdin();
        let mut process = guest.clone().entered_by(become_root()).spawn(&command).await?;
        let (Some(mut input), Some(output)) = (process.take_stdin(), process.take_stdout()) else {
            return Err(not_told());
        };
        let mut line = String::new();
        let begun = async {
            input.write_all(self.secret.as_bytes()).await?;
            input.flush().await?;
            BufReader::new(output).read_line(&mut line).await
        };
        tokio::select! {
            begun = begun => match begun {
                Ok(_) if line.trim() == "ready" => Ok(Held { _process: process, _input: input }),
                Ok(_) => Err(not_told().because("its program ended at once")),
                Err(error) => Err(not_told().caused_by(&error)),
            },
            () = cx.cancel.cancelled() => {
                Err(Error::new(&core_codes::CANCELLED, "telling the virtual machine of proxies was stopped"))
            }
        }
    }
}

fn not_told() -> Error {
    Error::new(&SET_UP, "the virtual machine could not be told of proxies and certificates")
}

/// A guest knows the passwords of proxies until this is dropped.
pub struct Held {
    _process: Box<dyn Process>,
    _input: Box<dyn AsyncWrite + Send + Unpin>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

/// The proxies of this host.
#[derive(Debug, Default, PartialEq, Eq)]
struct Proxies {
    /// Lines for those that a guest reaches.
    lines: String,
    /// Lines for those among them that have a password.
    secret: String,
    /// The names of the others.
    unreached: Vec<&'static str>,
}

impl Proxies {
    fn of(host: &Host) -> Proxies {
        let mut proxies = Proxies::default();
        for (name, value) in PROXIES.iter().filter_map(|name| Some((*name, host.var(name)?))) {
            let is_proxy = !name.eq_ignore_ascii_case("no_proxy");
            let line = format!("{name}={}\n", quote(value.as_ref()));
            match is_proxy {
                true if is_loopback(value) => proxies.unreached.push(name),
                true if value.contains('@') => proxies.secret.push_str(&line),
                _ => proxies.lines.push_str(&line),
            }
        }
        proxies
    }
}

fn is_loopback(proxy: &str) -> bool {
    let host = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
    ["127.", "localhost", "[::1]"].iter().any(|own| host.starts_with(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_uses_the_guest_gets_and_what_it_cannot_reach_it_does_not() {
        let set = [
            ("https_proxy", "http://user:p'w@proxy:3128"),
            ("http_proxy", "http://127.0.0.1:8080"),
            ("no_proxy", "localhost,.corp"),
            ("all_proxy", "socks5://proxy"),
        ];
        let env = set.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let host = Host { system: "aarch64-darwin".parse().unwrap(), home: None, uid: 501, env, cpus: 1 };
        let Proxies { lines, secret, unreached } = Proxies::of(&host);
        assert_eq!(secret, "https_proxy='http://user:p'\\''w@proxy:3128'\n");
        assert_eq!(lines, "all_proxy=socks5://proxy\nno_proxy=localhost,.corp\n");
        assert_eq!(unreached, ["http_proxy"]);
        let outside = Outside { environment: lines, secret, certificates: None };
        assert!(outside.is_known(&outside.environment.replace('\n', " ")));
        assert!(!outside.is_known("") && Outside::default().is_known(""));
    }
}
