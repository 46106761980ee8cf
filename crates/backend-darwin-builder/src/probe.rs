//! What `doctor` looks at on a Mac.

use nixoci_core::backend::{Check, CheckVerdict, Cx};
use nixoci_core::platform::NixSystem;
use nixoci_core::{Remedy, Result};
use nixoci_nix::mac::{self, MacBuilders};

use crate::error;

/// `own` is how things stand with a builder of nixoci's own, where there may be one.
pub(crate) async fn checks(cx: &Cx<'_>, builders: &MacBuilders, own: Option<Check>) -> Result<Vec<Check>> {
    let (machines, external) = (builders.machines(cx).await?, builders.external(cx).await?);
    let nix = builders.store().nix(cx).await?;
    let mut checks = vec![Check::good("version", nix.version().to_string())];
    checks.push(nix.store_check(cx).await);
    if let Some(own) = own {
        checks.push(own);
    } else if machines.is_empty() && external.is_empty() {
        checks.push(
            Check::new("Linux builder", CheckVerdict::Bad, error::NO_BUILDER.title)
                .remedy(Remedy::command("see how to set one up", "nixoci plan --backend darwin-builder")),
        );
    }
    for builder in external {
        let systems: Vec<&str> = builder.systems.iter().map(NixSystem::as_str).collect();
        let detail = format!("{}, by {}", systems.join(", "), builder.program);
        checks.push(Check::good("external builder", detail));
    }
    checks.extend(mac::checks(cx, machines).await);
    Ok(checks)
}
