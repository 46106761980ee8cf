//! What `doctor` looks at on a host that builds for itself.

use nixoci_core::backend::{Check, Cx};
use nixoci_core::{Remedy, Result};
use nixoci_nix::{Nix, NixSettings};

use crate::offers;
use crate::settings::Settings;

pub(crate) async fn checks(cx: &Cx<'_>, nix: &Nix, settings: &Settings) -> Result<Vec<Check>> {
    let mut checks = vec![Check::good("version", nix.version().to_string())];
    checks.push(nix.store_check(cx).await);
    let found = nix.settings(cx).await?;
    let ready: Vec<String> = offers::offers(&found, settings, cx.host)
        .into_iter()
        .filter(|offer| offer.readiness.rank().is_some())
        .map(|offer| offer.system.to_string())
        .collect();
    checks.push(Check::good("platforms", ready.join(", ")));
    checks.push(sandbox(&found));
    Ok(checks)
}

fn sandbox(nix: &NixSettings) -> Check {
    let detail = match (nix.sandbox.as_str(), nix.sandbox_fallback) {
        ("false", _) => "off: builds may use what happens to be on this machine, and differ elsewhere",
        ("relaxed", _) => "relaxed: derivations may opt out",
        // Nix's default: where the kernel refuses a sandbox, builds go on without one and without a word.
        (_, true) => return Check::good("sandbox", "on, where the kernel allows it"),
        (_, false) => return Check::good("sandbox", "on"),
    };
    Check::warning("sandbox", detail)
        .remedy(Remedy::lines("switch it on in /etc/nix/nix.conf", "sandbox = true"))
}
