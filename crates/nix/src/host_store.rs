//! Building with this host's Nix and reading out of this host's store: what every backend does whose Nix is the host's,
//! wherever the daemon has the work done.

use nixoci_core::Result;
use nixoci_core::artifact::{Artifact, ArtifactId, PathInfo, Role, StorePath};
use nixoci_core::backend::{Cx, Forecast};
use nixoci_core::request::BuildRequest;
use tokio::io::AsyncWrite;
use tokio::sync::OnceCell;

use crate::Nix;
use crate::roots::{self, Held};

/// This host's Nix, found when it is first needed, and what was built with it and is still in use.
#[derive(Debug, Default)]
pub struct HostStore {
    nix: OnceCell<Nix>,
    held: Held,
}

impl HostStore {
    /// This host's Nix.
    ///
    /// # Errors
    /// As [`Nix::discover`].
    pub async fn nix(&self, cx: &Cx<'_>) -> Result<&Nix> {
        self.nix.get_or_try_init(|| Nix::discover(cx)).await
    }

    /// Builds, and keeps the output from the garbage collector until [`HostStore::release`].
    ///
    /// # Errors
    /// As [`Nix::build`]; [`crate::codes::ROOT`].
    pub async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        let root = roots::new_root(&cx.dirs.cache).await?;
        let guard = cx.temporary.guard(&root);
        let built = self.nix(cx).await?.build(cx, request, forecast, &root).await?;
        let id = ArtifactId(root.to_string_lossy().into_owned());
        self.held.keep(id.clone(), guard);
        Ok(Artifact {
            path: built.path,
            role: Role::Output,
            system: request.system.clone(),
            drv: built.drv,
            attribute: built.attribute,
            id,
        })
    }

    /// What the store knows about paths, and where they can be read without copying.
    ///
    /// # Errors
    /// As [`Nix::path_info`].
    pub async fn query(&self, cx: &Cx<'_>, paths: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        let mut infos = self.nix(cx).await?.path_info(cx, paths, closure).await?;
        for info in &mut infos {
            info.local = Some(info.path.as_path().to_owned());
        }
        Ok(infos)
    }

    /// Writes the NARs of paths, in order; the bytes that were written.
    ///
    /// # Errors
    /// As [`Nix::dump`].
    pub async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        let nix = self.nix(cx).await?;
        let mut total = 0;
        for info in nix.path_info(cx, paths, false).await? {
            total += nix.dump(cx, &info, out).await?;
        }
        Ok(total)
    }

    /// Lets the garbage collector have what was built. Twice is fine.
    ///
    /// # Errors
    /// [`crate::codes::ROOT`].
    pub async fn release(&self, cx: &Cx<'_>, id: &ArtifactId) -> Result<()> {
        roots::release(&cx.dirs.cache, id).await?;
        self.held.forget(id);
        Ok(())
    }
}
