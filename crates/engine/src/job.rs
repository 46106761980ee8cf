//! One resolved request: everything is decided, nothing is looked up any more.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nixoci_core::config::{BackendTable, Runtime};
use nixoci_core::platform::{NixSystem, OciPlatform};
use nixoci_core::request::{BuildRequest, Installable, NixFlags};
use nixoci_core::{Error, Remedy, Result};
use nixoci_image::{Destination, Mismatch, Naming};

use crate::codes::NO_SYSTEM;
use crate::consent::Agreed;

/// What to build, where, and where to.
#[derive(Clone, Debug)]
pub struct Job {
    /// What.
    pub installable: Installable,
    /// For which platforms; there is at least one.
    pub platforms: Vec<OciPlatform>,
    /// The platform of this machine's containers: who cannot choose among several gets the image for it.
    pub native: OciPlatform,
    /// The date of the image, in place of its own (RFC 3339).
    pub created: Option<String>,
    /// Nix's own flags.
    pub flags: NixFlags,
    /// Backends in order of preference; empty means by readiness.
    pub backends: Vec<String>,
    /// The configured tables of each backend, weakest first.
    pub backend_tables: BTreeMap<String, Vec<BackendTable>>,
    /// The names the image gets.
    pub naming: Naming,
    /// Where it goes.
    pub sinks: Sinks,
    /// The treatment of an image for another platform.
    pub mismatch: Mismatch,
    /// The system that the attribute is for, where it names one: it is built for that, whatever platform its image is to have.
    pub system: Option<NixSystem>,
    /// What was agreed to beforehand, should a backend have to be made ready.
    pub agreed: Agreed,
    /// What has to be agreed to before the project's expressions are evaluated with the user's credentials; `None` where that was done, or
    /// there are none.
    pub credentials: Option<Entrust>,
}

/// Where an image goes.
#[derive(Clone, Debug, Default)]
pub struct Sinks {
    /// Files.
    pub outputs: Vec<Destination>,
    /// A container runtime.
    pub load: Option<LoadSink>,
    /// A link to the archive in the cache.
    pub link: Option<Link>,
}

/// Credentials that a project has not been given yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrust {
    /// The project: its directory, or the reference of a flake that is elsewhere.
    pub source: String,
    /// The credentials, in words.
    pub names: Vec<String>,
}

/// A link to the archive in the cache, such as `./result`.
#[derive(Clone, Debug)]
pub struct Link {
    /// Where.
    pub path: PathBuf,
    /// As the user would type it.
    pub shown: String,
}

/// A runtime to load into.
#[derive(Clone, Debug)]
pub struct LoadSink {
    /// Which; `None` takes the one that runs.
    pub runtime: Option<Runtime>,
    /// `--docker-host`.
    pub docker_host: Option<String>,
    /// Whether a container is to be started there afterwards.
    pub to_run: bool,
    /// The project's file, if that is where the wish to load comes from.
    pub wished_by: Option<PathBuf>,
}

impl Job {
    /// The platforms, each with its Nix system.
    ///
    /// # Errors
    /// [`NO_SYSTEM`](crate::CODES).
    pub fn systems(&self) -> Result<Vec<(OciPlatform, NixSystem)>> {
        let system = |platform| self.system.clone().map_or_else(|| system_of(platform), Ok);
        self.platforms.iter().map(|platform| Ok((platform.clone(), system(platform)?))).collect()
    }

    /// What the backend is asked.
    pub(crate) fn request(&self, system: NixSystem) -> BuildRequest {
        BuildRequest {
            installable: self.installable.clone(),
            system,
            prefer: Vec::new(),
            flags: self.flags.clone(),
        }
    }
}

pub(crate) fn system_of(platform: &OciPlatform) -> Result<NixSystem> {
    platform.to_nix().filter(NixSystem::is_linux).ok_or_else(|| {
        Error::new(&NO_SYSTEM, format!("Nix cannot build for {platform}"))
            .remedy(Remedy::command("choose a Linux platform", "--platform linux/amd64"))
    })
}
