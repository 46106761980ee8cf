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
    let mut checks = vec![check("version", nix.version().to_string(), CheckVerdict::Good, Vec::new())];
    checks.push(nix.store_check(cx).await);
    if let Some(own) = own {
        checks.push(own);
    } else if machines.is_empty() && external.is_empty() {
        let remedies = vec![Remedy::command("see how to set one up", "nixoci plan --backend darwin-builder")];
        checks.push(check("Linux builder", error::NO_BUILDER.title.to_owned(), CheckVerdict::Bad, remedies));
    }
    for builder in external {
        let systems: Vec<&str> = builder.systems.iter().map(NixSystem::as_str).collect();
        let detail = format!("{}, by {}", systems.join(", "), builder.program);
        checks.push(check("external builder", detail, CheckVerdict::Good, Vec::new()));
    }
    checks.extend(mac::checks(cx, machines).await);
    Ok(checks)
}

fn check(title: &str, detail: String, verdict: CheckVerdict, remedies: Vec<Remedy>) -> Check {
    Check { title: title.to_owned(), detail, verdict, remedies }
}
