//! This host's own store and machines over ssh as one place to build: what is the same for every backend that has both, once
//! it has decided which [`Way`] a build goes.

use nixoci_core::Result;
use nixoci_core::artifact::{Artifact, ArtifactId, PathInfo, StorePath};
use nixoci_core::backend::{Check, Cx, Depth, Forecast};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use tokio::io::AsyncWrite;

use crate::build_store::HostStore;
use crate::fleet::{Fleet, Over};
use crate::transport::Way;
use crate::{mac, proof};

/// Where a build may go.
#[derive(Clone, Copy, Debug)]
pub struct Ways<'a> {
    /// This host's store, whose daemon knows the machines.
    pub host: &'a HostStore,
    /// The machines.
    pub fleet: &'a Fleet,
}

impl Ways<'_> {
    /// What a build would do.
    ///
    /// # Errors
    /// As [`crate::Nix::forecast`]; those of connecting.
    pub async fn forecast(
        &self,
        cx: &Cx<'_>,
        request: &BuildRequest,
        depth: Depth,
        way: Way,
    ) -> Result<Forecast> {
        let nix = self.host.nix(cx).await?;
        match (depth, way) {
            (Depth::Verdict, Way::User(Over::Store)) => self.fleet.foresee(cx, nix, request).await,
            // The build evaluates anyway: asking first would do it twice.
            (Depth::Verdict, _) => Ok(Forecast::unknown()),
            (Depth::Full, Way::Daemon) => nix.forecast(cx, request).await,
            (Depth::Full, Way::User(over)) => self.fleet.forecast(cx, nix, request, over).await,
        }
    }

    /// Builds, and finds out why a machine could not be used where Nix hides it.
    ///
    /// # Errors
    /// As [`crate::BuildStore::build`]; the codes of [`crate::ssh`].
    pub async fn build(
        &self,
        cx: &Cx<'_>,
        request: &BuildRequest,
        forecast: &Forecast,
        way: Way,
    ) -> Result<Artifact> {
        let store = self.host.get(cx).await?;
        let able = self.fleet.able(&request.system);
        match way {
            Way::Daemon => match store.build(cx, request, forecast).await {
                Err(error) => Err(mac::explain(cx, &able, error).await),
                built => built,
            },
            Way::User(over) => {
                let built = self.fleet.build(cx, store.nix(), request, forecast, over).await;
                built.map_err(|error| mac::unreached(&able, error))
            }
        }
    }

    /// Builds something tiny, as a build for this system would be done.
    ///
    /// # Errors
    /// As [`proof::checks`] and [`Fleet::prove`].
    pub async fn prove(&self, cx: &Cx<'_>, system: &NixSystem, way: Way) -> Result<Vec<Check>> {
        let (nix, one) = (self.host.nix(cx).await?, std::slice::from_ref(system));
        match way {
            Way::Daemon => proof::checks(cx, nix, one).await,
            Way::User(_) => self.fleet.prove(cx, nix, one).await,
        }
    }

    /// What the store that built them knows about paths.
    ///
    /// # Errors
    /// As [`crate::BuildStore::query`].
    pub async fn query(&self, cx: &Cx<'_>, paths: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        match self.fleet.owner(paths) {
            Some(store) => store.query(cx, paths, closure).await,
            None => self.host.get(cx).await?.query(cx, paths, closure).await,
        }
    }

    /// Writes the NARs of paths.
    ///
    /// # Errors
    /// As [`crate::BuildStore::fetch`].
    pub async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        match self.fleet.owner(paths) {
            Some(store) => store.fetch(cx, paths, out).await,
            None => self.host.get(cx).await?.fetch(cx, paths, out).await,
        }
    }

    /// Lets the garbage collectors have what was built.
    ///
    /// # Errors
    /// As [`crate::BuildStore::release`].
    pub async fn release(&self, cx: &Cx<'_>, id: &ArtifactId) -> Result<()> {
        self.fleet.release(cx, id).await?;
        self.host.get(cx).await?.release(cx, id).await
    }
}
