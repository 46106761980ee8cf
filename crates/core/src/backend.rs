//! The trait everything hangs on: a place where Linux derivations can be realised.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWrite;
use tokio_util::sync::CancellationToken;

use crate::artifact::{Artifact, ArtifactId, PathInfo, StorePath};
use crate::credentials::Credentials;
use crate::error::{Error, Remedy, Result};
use crate::event::Observer;
use crate::host::{Dirs, Host};
use crate::plan::{Configuration, ProvisionPlan, Step};
use crate::platform::NixSystem;
use crate::request::BuildRequest;
use crate::runner::{Command, Runner};
use crate::temporary::TemporaryFiles;

/// What a backend may use: everything it needs is handed to it, so that it reads no flags, no environment and
/// no configuration of nixoci's, and so that a test can hand it another world.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// Fires when the work should stop.
    pub cancel: &'a CancellationToken,
    /// Hears what happens.
    pub observer: &'a dyn Observer,
    /// Starts processes on this host.
    pub runner: &'a dyn Runner,
    /// Facts about this host.
    pub host: &'a Host,
    /// Where nixoci keeps things.
    pub dirs: &'a Dirs,
    /// Hears of temporary files, which a thread of its own may write.
    pub temporary: &'a Arc<dyn TemporaryFiles>,
    /// What opens private sources, for a Nix that is not this host's.
    pub credentials: &'a Credentials,
    /// How long nothing may move in a transfer before it is given up; zero for ever.
    pub stall_timeout: Duration,
}

impl fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("host", self.host).field("dirs", self.dirs).finish_non_exhaustive()
    }
}

/// A place where Linux derivations can be realised.
///
/// # Contract
/// - Two builds at once are legal unless the [`Descriptor`] says otherwise: everything takes `&self`.
/// - A backend never prints, prompts or reads nixoci's own settings. It says what happens through
///   [`Cx::observer`], starts processes through [`Cx::runner`], and reads the host through [`Cx::host`].
/// - When [`Cx::cancel`] fires, a method returns [`crate::codes::CANCELLED`] within
///   [`GRACE`](crate::runner::GRACE) and the world can be planned again. A future dropped at any await
///   corrupts nothing.
/// - An error names what happened, why, and the command that fixes it.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug {
    /// What this backend could build right now. Read-only, wakes nothing up, answers within two seconds. A
    /// system it cannot build for may be left out, or offered as [`Readiness::No`] with the reason.
    ///
    /// With `want` only the answer for that system is needed, and a backend that can give it more cheaply should;
    /// offers for other systems are ignored. Without, everything is asked for.
    async fn offers(&self, cx: &Cx<'_>, want: Option<&NixSystem>) -> Result<Vec<Offer>>;

    /// Whether it opens private sources with [`Cx::credentials`] as it is set up, where its [`Descriptor`] says that it may.
    fn takes_credentials(&self) -> bool {
        true
    }

    /// Everything that could stand in the way, for `doctor`. Read-only, never prompts.
    async fn probe(&self, cx: &Cx<'_>) -> Result<Vec<Check>>;

    /// What it takes to build for `want`. Read-only.
    async fn plan(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<ProvisionPlan>;

    /// Carries out a plan. Idempotent; a satisfied plan is a no-op.
    async fn provision(&self, cx: &Cx<'_>, plan: &ProvisionPlan) -> Result<()>;

    /// Whether [`Backend::provision`] carries this step of its plan out. Where it is for the administrator to do, it says no:
    /// then nobody is asked beforehand, and `provision` answers with the step as a remedy.
    fn carries_out(&self, _step: &Step) -> bool {
        true
    }

    /// What [`Release::Remove`] would undo, in words, for whoever is asked beforehand; nothing where nothing was set up: then
    /// nobody is asked. Read-only.
    async fn removable(&self, _cx: &Cx<'_>) -> Vec<String> {
        vec!["whatever nixoci has set up for it, with everything that was built in it".to_owned()]
    }

    /// What a person adds to the configuration of the whole machine to have a builder, where somebody's module sets one up.
    /// Read-only.
    async fn configuration(&self, _cx: &Cx<'_>) -> Result<Option<Configuration>> {
        Ok(None)
    }

    /// Builds something tiny for each system on each builder and reads it back: a finding of each, whose title is the system,
    /// or `BUILDER: SYSTEM` where there are several. A builder that fails is [`CheckVerdict::Bad`], not an error. For `doctor --build`, and after provisioning. May wake up what sleeps.
    async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>>;

    /// What a build would do. [`Depth::Verdict`] may skip the evaluation where the backend never declines;
    /// [`Depth::Full`] always evaluates. What is found out here need not be found out by `build` again.
    async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast>;

    /// Builds. The artifact stays in the backend's store, held by a garbage collector root, until released.
    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact>;

    /// What would let the build that has just failed with this error end well, if anything: the engine has somebody agree to it,
    /// carries it out with [`Backend::provision`], and builds once more.
    async fn amend(&self, _cx: &Cx<'_>, _error: &Error) -> Result<Option<Amendment>> {
        Ok(None)
    }

    /// What the store knows about `roots`, and about everything they refer to with `closure`.
    async fn query(&self, cx: &Cx<'_>, roots: &[StorePath], closure: bool) -> Result<Vec<PathInfo>>;

    /// Writes the NARs of `paths` to `out`, back to back and in order, over at most one connection; returns
    /// the number of bytes. What was written is tentative until `Ok`, and whoever reads it compares it with the hash that
    /// `query` knows: that is done once, at the end that uses it. A
    /// vanished path, a short read or a broken pipe is a transfer error, never a short stream.
    async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64>;

    /// Lets go of an artifact, or puts the backend away. What was put away, or that there is nothing to, is told to
    /// [`Cx::observer`]. An artifact is let go of through [`release_artifact`](crate::release::release_artifact), also after a cancellation.
    async fn release(&self, cx: &Cx<'_>, how: Release) -> Result<()>;

    /// The command that opens a shell where this backend builds for `system`, or that runs `command` there if it is not
    /// empty. It is [interactive](Command::interactive).
    async fn shell(&self, cx: &Cx<'_>, system: &NixSystem, command: &[OsString]) -> Result<Command>;
}

/// What would let a build that failed end well.
#[derive(Clone, Debug)]
pub struct Amendment {
    /// What is to be done.
    pub plan: ProvisionPlan,
    /// Whether the backend's settings agree to it already.
    pub agreed: bool,
}

/// What is known about a backend without having one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The name that `--backend` takes: lower-case words with dashes.
    pub name: Cow<'static, str>,
    /// Other names for it.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub aliases: Cow<'static, [Cow<'static, str>]>,
    /// One line: what it is.
    pub summary: Cow<'static, str>,
    /// Whether two builds at once are legal.
    pub concurrent_builds: bool,
    /// Whether it is a candidate without being named.
    pub automatic: bool,
    /// The kernels of hosts that it is for, as Nix names them (`linux`, `darwin`); none for any. Elsewhere it is a candidate
    /// only when it is named, and `doctor` does not look at it.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub hosts: Cow<'static, [Cow<'static, str>]>,
    /// Whether its own Nix opens private sources with [`Cx::credentials`], which the user is asked for, once for each project. A
    /// plugin that does not say so gets none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub credentials: bool,
}

impl Descriptor {
    /// Whether it is for hosts such as this one.
    pub fn is_for(&self, host: &Host) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|kernel| kernel == host.system.kernel())
    }
}

/// How a backend would build for a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The machine's own CPU runs the builders.
    Native,
    /// Another CPU's programs are translated (Rosetta, qemu-user).
    Translated,
    /// A compiler on this host makes programs for the other platform.
    Cross,
}

/// How near an offer is to being taken up. Ordered: the readiest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Readiness {
    /// A build can begin now.
    Ready,
    /// It wakes up by itself when a build begins.
    Asleep,
    /// It can be provisioned without root.
    Startable,
    /// Provisioning needs root, or an installation.
    NeedsRoot,
    /// It cannot build for this system.
    No {
        /// Why, and what would change it.
        error: Error,
    },
}

impl Readiness {
    /// The place in the order of selection; `None` if it is no offer at all.
    pub fn rank(&self) -> Option<u8> {
        match self {
            Readiness::Ready => Some(0),
            Readiness::Asleep => Some(1),
            Readiness::Startable => Some(2),
            Readiness::NeedsRoot => Some(3),
            Readiness::No { .. } => None,
        }
    }
}

/// Names one physical builder, so that two backends that reach the same machine are one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct BuilderId(pub String);

/// What a backend could do for one system.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// For which system.
    pub system: NixSystem,
    /// How it would build.
    pub how: How,
    /// How near that is.
    pub readiness: Readiness,
    /// On which machine.
    pub builder: BuilderId,
}

/// One finding of `doctor`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was looked at: `Nix version`.
    pub title: String,
    /// What was found: `2.34.8`.
    pub detail: String,
    /// Whether it is as it should be.
    pub verdict: CheckVerdict,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remedies: Vec<Remedy>,
}

impl Check {
    /// A finding without remedies.
    pub fn new(title: impl Into<String>, verdict: CheckVerdict, detail: impl Into<String>) -> Self {
        Check { title: title.into(), detail: detail.into(), verdict, remedies: Vec::new() }
    }

    /// A finding that is as it should be.
    pub fn good(title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(title, CheckVerdict::Good, detail)
    }

    /// A finding that makes something impossible; builds work.
    pub fn warning(title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(title, CheckVerdict::Warning, detail)
    }

    /// The same with one more thing to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }

    /// What stands in the way, as its error says it.
    pub fn failed(title: impl Into<String>, error: &Error) -> Self {
        let mut causes = error.report().causes.clone();
        if causes.is_empty() {
            // What the program said last is the best hint then.
            causes.extend(error.report().log_tail.last().cloned());
        }
        let why = if causes.is_empty() { String::new() } else { format!(": {}", causes.join(": ")) };
        Check {
            remedies: error.report().remedies.clone(),
            ..Self::new(title, CheckVerdict::Bad, format!("{error}{why}"))
        }
    }

    /// Findings about several builders of one backend: what stands in the way of one does not stand in the way of a build
    /// while another can be used.
    #[must_use]
    pub fn of_several(mut builders: Vec<Check>) -> Vec<Check> {
        if builders.iter().any(|check| check.verdict != CheckVerdict::Bad) {
            for check in builders.iter_mut().filter(|check| check.verdict == CheckVerdict::Bad) {
                check.verdict = CheckVerdict::Warning;
            }
        }
        builders
    }
}

/// Whether a finding is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckVerdict {
    /// As it should be.
    Good,
    /// Stands in the way.
    Bad,
    /// Works, but could be better.
    #[serde(other)]
    Warning,
}

/// How much a forecast has to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// Only whether the backend takes the build. A backend that never declines answers at once.
    Verdict,
    /// Everything: evaluates and plans the build, for `nixoci plan`.
    Full,
}

/// What a build would do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// The derivation, once evaluated.
    pub drv: Option<StorePath>,
    /// The full attribute that was found.
    pub attribute: Option<String>,
    /// Where the output will be, when Nix can say beforehand.
    pub output: Option<StorePath>,
    /// Derivations that would be built.
    pub will_build: Vec<StorePath>,
    /// Store paths that would be fetched from caches.
    pub will_fetch: Vec<StorePath>,
    /// Download size in bytes, when known.
    pub download_bytes: Option<u64>,
    /// What that costs, in words, where somebody should know before it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// What the same derivation was built to before, on the same machine, as far as that is known without asking it. It is a
    /// hint, for finding the image in the cache by its hash: whoever does not find it builds.
    #[serde(skip)]
    pub known: Option<PathInfo>,
    /// Whether the backend takes the build.
    pub verdict: Verdict,
}

impl Forecast {
    /// The forecast of a backend that never declines and was not asked to evaluate.
    pub fn unknown() -> Self {
        Forecast {
            drv: None,
            attribute: None,
            output: None,
            will_build: Vec::new(),
            will_fetch: Vec::new(),
            download_bytes: None,
            cost: None,
            known: None,
            verdict: Verdict::Unknown,
        }
    }
}

/// Whether a backend takes a build.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// It does.
    Go,
    /// It does not: the next candidate should.
    Decline {
        /// Why, with the figures.
        error: Error,
    },
    /// It was not found out; it will try.
    #[serde(other)]
    Unknown,
}

/// What to let go of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "release", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Release {
    /// An artifact: its garbage collector root goes.
    Artifact {
        /// Which.
        id: ArtifactId,
    },
    /// Stop whatever the backend keeps running.
    Stop,
    /// Undo what provisioning did.
    Remove,
}
