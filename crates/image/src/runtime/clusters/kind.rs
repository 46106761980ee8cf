//! kind: nodes are containers, and `kind load` imports into each of them.
//!
//! Source: kubernetes-sigs/kind, `pkg/cmd/kind/load/image-archive`, `pkg/internal/runtime` (KIND_CLUSTER_NAME).

use nixoci_core::backend::Cx;
use nixoci_core::config::Runtime;
use nixoci_core::{Remedy, Result, shell};

use super::{only, tool, unknown};
use crate::cache::CachedImage;
use crate::runtime::tool::{ok, taken};

const KIND: Runtime = Runtime::Kind;
const VARIABLE: &str = "KIND_CLUSTER_NAME";

/// The cluster that KIND_CLUSTER_NAME names, or the one that is alone.
pub(super) async fn find(cx: &Cx<'_>) -> Result<String> {
    // Without clusters it says so on standard error.
    let said = ok(cx, KIND, tool(KIND, &["get", "clusters"])).await?.stdout_text();
    let names: Vec<String> =
        said.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    match cx.host.var(VARIABLE) {
        Some(wanted) if names.iter().any(|name| name == wanted) => Ok(wanted.to_owned()),
        Some(wanted) => Err(unknown(KIND, wanted, VARIABLE, &names)
            .remedy(Remedy::command("make it", shell!("kind create cluster --name {}", wanted)))),
        None => {
            let one = names.first().cloned().unwrap_or_default();
            let choose = Remedy::command("name the one you mean", shell!("export {}={}", VARIABLE, one));
            only(KIND, &names, "kind create cluster", choose)
        }
    }
}

/// kind fails when a node refuses the archive, so nobody has to be asked afterwards.
pub(super) async fn load(cx: &Cx<'_>, cluster: &str, image: &CachedImage) -> Result<()> {
    let load = tool(KIND, &["load", "image-archive", "--name", cluster]).arg(&image.archive);
    taken(cx, KIND, load).await?;
    Ok(())
}
