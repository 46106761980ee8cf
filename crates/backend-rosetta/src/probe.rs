//! What `doctor` looks at.

use nixoci_core::backend::{Check, CheckVerdict, Cx};
use nixoci_core::{Remedy, Result};
use nixoci_nix::mac;

use crate::Rosetta;
use crate::error::NONE;
use crate::plan::{INSTALL, is_installed, require_apple_silicon};

pub(crate) async fn checks(cx: &Cx<'_>, rosetta: &Rosetta) -> Result<Vec<Check>> {
    // An Intel Mac lacks nothing by it: whoever asks for this backend is told.
    if require_apple_silicon(cx.host).is_err() {
        return Ok(Vec::new());
    }
    let machines = rosetta.builders.machines(cx).await?;
    let mut checks = vec![installed(cx)];
    if machines.is_empty() {
        let remedies = vec![Remedy::command("see how to set one up", "nixoci plan --backend rosetta")];
        // Whoever wants one CPU only has no use for it.
        checks.push(check("builder", NONE.title.to_owned(), CheckVerdict::Warning, remedies));
    }
    checks.extend(mac::checks(cx, machines).await);
    Ok(checks)
}

fn installed(cx: &Cx<'_>) -> Check {
    if is_installed(cx.host) {
        return check("Rosetta", "installed".to_owned(), CheckVerdict::Good, Vec::new());
    }
    let remedies = vec![Remedy::command("install it, for linux/amd64", INSTALL)];
    check("Rosetta", "not installed".to_owned(), CheckVerdict::Warning, remedies)
}

fn check(title: &str, detail: String, verdict: CheckVerdict, remedies: Vec<Remedy>) -> Check {
    Check { title: title.to_owned(), detail, verdict, remedies }
}
