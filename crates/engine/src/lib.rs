//! The pipeline as a library: from resolved settings to images in their places.
//!
//! ```text
//! Job --check sinks, ask backends--> Selection --provision--> build --> query --> cache or import --> deliver
//! ```
//! This is the one crate that knows both backends and images. It prints nothing: everything that happens is an
//! [`Event`](nixoci_core::event::Event), everything that came out is a [`BuildReport`].

mod arrive;
mod bring;
mod build;
mod choose;
mod codes;
mod consent;
mod deliver;
mod doctor;
mod job;
mod plan;
mod progress;
mod provision;
mod replaced;
mod report;
mod runtimes;
mod script;
mod shell;

pub use build::build;
pub use choose::{BackendStatus, Choice, survey};
pub use codes::CODES;
pub use consent::{Agreed, Change, Consent, Nobody, to_write};
pub use deliver::Runtimes;
pub use doctor::{Doctor, Examination, doctor};
pub use job::{Entrust, Job, Link, LoadSink, Sinks};
pub use plan::{PlanReport, PlatformPlan, plan};
pub use provision::{
    ProvisionJob, ProvisionReport, Provisioned, PutAway, PutAwayReport, configuration, provision, put_away,
};
pub use report::{
    BuildReport, ImageReport, LayerReport, LoadOutcome, OutputLayer, OutputPlatform, OutputReport,
    PlatformReport, Transfer,
};
pub use runtimes::load;
pub use shell::{ShellJob, shell};

use nixoci_core::backend::Cx;
use nixoci_core::registry::Registry;
use nixoci_image::Cache;

/// What the pipeline works with.
#[derive(Clone, Copy)]
pub struct Engine<'a> {
    /// The world: processes, host, events, cancellation.
    pub cx: Cx<'a>,
    /// The backends there are.
    pub registry: &'a Registry,
    /// Where images are kept between runs.
    pub cache: &'a Cache,
    /// Who agrees to changes of this machine.
    pub consent: &'a dyn Consent,
}

impl std::fmt::Debug for Engine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("cx", &self.cx).finish_non_exhaustive()
    }
}
