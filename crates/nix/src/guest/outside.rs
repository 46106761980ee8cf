//! The way out of a guest: proxies and certificates, as this host has them.

use nixoci_core::backend::Cx;
use nixoci_core::host::Host;
use nixoci_core::runner::{Command, output_with_input, quote};
use nixoci_core::{Error, Result, ResultExt};
use sha2::{Digest, Sha256};

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

/// Run by root, with certificates on standard input: ENVIRONMENT, and whether there are certificates.
const ADAPT: &str = r#"set -eu
umask 022
mkdir -p /etc/nixoci /etc/systemd/system/nix-daemon.service.d
if [ "$2" = yes ]; then cat >/etc/nixoci/certificates.pem; else rm -f /etc/nixoci/certificates.pem; cat >/dev/null; fi
printf '[Service]\nEnvironmentFile=-/etc/nixoci/environment\n' >/etc/systemd/system/nix-daemon.service.d/nixoci.conf
printf '%s' "$1" >/etc/nixoci/environment.new
mv /etc/nixoci/environment.new /etc/nixoci/environment
systemctl daemon-reload
systemctl try-restart nix-daemon.service"#;

/// What a guest needs to get out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Lines for a shell, and for systemd.
    environment: String,
    certificates: Option<Vec<u8>>,
}

impl Outside {
    /// As this host gets out.
    ///
    /// # Errors
    /// [`SET_UP`] if NIX_SSL_CERT_FILE names a file that cannot be read.
    pub fn of_host(cx: &Cx<'_>) -> Result<Outside> {
        let (environment, unreached) = proxies(cx.host);
        for name in unreached {
            let text = format!(
                "{name} names a proxy on this host's own loopback address, which the virtual machine does not reach"
            );
            cx.observer.warn(text, Vec::new());
        }
        let mut outside = Outside { environment, certificates: None };
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
    pub fn is_known(&self, environment: &str) -> bool {
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        plain(&self.environment) == plain(environment)
    }

    /// Tells a guest.
    ///
    /// # Errors
    /// [`SET_UP`]; those of the way into the guest.
    pub async fn tell(&self, cx: &Cx<'_>, guest: &GuestRunner<'_>) -> Result<()> {
        let is_there = if self.certificates.is_some() { "yes" } else { "no" };
        let command =
            Command::new("sh").args(["-c", ADAPT, "nixoci", &self.environment, is_there]).with_stdin();
        let root = guest.clone().entered_by(become_root());
        let input = self.certificates.as_deref().unwrap_or_default();
        let answer = output_with_input(&root, &command, input, cx.cancel).await?;
        if answer.exit.success() {
            return Ok(());
        }
        Err(Error::new(&SET_UP, "the virtual machine could not be told of proxies and certificates")
            .because(answer.stderr_text().trim()))
    }
}

/// Lines for those that a guest reaches, and the names of the others.
fn proxies(host: &Host) -> (String, Vec<&'static str>) {
    let set = PROXIES.iter().filter_map(|name| Some((*name, host.var(name)?)));
    let (unreached, reached): (Vec<_>, Vec<_>) =
        set.partition(|(name, value)| !name.eq_ignore_ascii_case("no_proxy") && is_loopback(value));
    let lines = reached.into_iter().map(|(name, value)| format!("{name}={}\n", quote(value.as_ref())));
    (lines.collect(), unreached.into_iter().map(|(name, _)| name).collect())
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
        ];
        let env = set.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let host = Host { system: "aarch64-darwin".parse().unwrap(), home: None, uid: 501, env, cpus: 1 };
        let (environment, unreached) = proxies(&host);
        assert_eq!(environment, "https_proxy='http://user:p'\\''w@proxy:3128'\nno_proxy=localhost,.corp\n");
        assert_eq!(unreached, ["http_proxy"]);
        let outside = Outside { environment, certificates: None };
        assert!(outside.is_known(&outside.environment.replace('\n', " ")));
        assert!(!outside.is_known("") && Outside::default().is_known(""));
    }
}
