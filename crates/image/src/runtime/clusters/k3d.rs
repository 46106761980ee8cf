//! k3d: nodes are containers with k3s in them, and `k3d image import` brings files to them.
//!
//! Source: k3d-io/k3d, `cmd/root.go` (how it logs), `cmd/cluster/clusterList.go`, `cmd/image/imageImport.go`, `pkg/client/tools.go`.

use nixoci_core::backend::Cx;
use nixoci_core::config::Runtime;
use nixoci_core::{Remedy, Result, shell};
use serde::Deserialize;

use super::{only, stopped, tool};
use crate::cache::CachedImage;
use crate::runtime::tool::{json, ok, taken};

const K3D: Runtime = Runtime::K3d;

/// What `k3d cluster list -o json` says of each.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: String,
    #[serde(default)]
    servers_running: u32,
}

/// The cluster that runs alone; a stopped one if there is no other.
pub(super) async fn find(cx: &Cx<'_>) -> Result<String> {
    let said = ok(cx, K3D, tool(K3D, &["cluster", "list", "-o", "json"])).await?.stdout_text();
    let all: Vec<Listed> = json(K3D, &said)?;
    let running = all.iter().filter(|cluster| cluster.servers_running > 0);
    let running: Vec<String> = running.map(|cluster| cluster.name.clone()).collect();
    if let (true, Some(first)) = (running.is_empty(), all.first()) {
        return Err(stopped(K3D, &first.name, shell!("k3d cluster start {}", first.name)));
    }
    let one = running.first().cloned().unwrap_or_default();
    // k3d has no variable for it.
    let choose = Remedy::command(
        "write the image to a file, and say which you mean",
        shell!("nixoci build -o archive:image.tar && k3d image import image.tar -c {}", one),
    );
    only(K3D, &running, "k3d cluster create", choose)
}

/// With k3d's default mode a node's refusal is a line on standard error, and no failure.
pub(super) async fn load(cx: &Cx<'_>, cluster: &str, image: &CachedImage) -> Result<()> {
    let load = tool(K3D, &["image", "import"]).arg(&image.archive).args(["-c", cluster]);
    taken(cx, K3D, load).await.map(drop)
}
