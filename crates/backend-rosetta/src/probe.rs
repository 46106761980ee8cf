//! What `doctor` looks at.

use nixoci_core::backend::{Check, Cx};
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
        checks.push(Check { remedies, ..Check::warning("builder", NONE.title) });
    }
    checks.extend(mac::checks(cx, machines).await);
    Ok(checks)
}

fn installed(cx: &Cx<'_>) -> Check {
    if is_installed(cx.host) {
        return Check::good("Rosetta", "installed");
    }
    Check::warning("Rosetta", "not installed").remedy(Remedy::command("install it, for linux/amd64", INSTALL))
}
