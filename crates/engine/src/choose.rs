//! Asking the backends, and choosing one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nixoci_core::backend::{Backend, Cx, Descriptor, Offer, Readiness};
use nixoci_core::config::BackendTable;
use nixoci_core::event::{Event, Stage};
use nixoci_core::platform::NixSystem;
use nixoci_core::registry::{Candidate, Registry, Rejection, nobody, select};
use nixoci_core::{Error, Result};
use schemars::JsonSchema;
use serde::Serialize;

use crate::Engine;

/// How long a backend may think about its offers. The contract says two seconds; a loaded machine gets more.
const OFFER_LIMIT: Duration = Duration::from_secs(10);

/// A backend that takes part, and what it answered.
struct Asked {
    backend: Arc<dyn Backend>,
    candidate: Candidate,
}

/// What backends are asked.
#[derive(Clone, Copy)]
struct Question<'a> {
    /// For which system; all of them when absent.
    want: Option<&'a NixSystem>,
    /// Whether they were named, in an order that counts.
    explicit: bool,
}

/// A backend that could build.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Its name.
    pub name: String,
    /// The backend.
    pub backend: Arc<dyn Backend>,
    /// What it offered.
    pub offer: Offer,
}

/// Who could build, best first, and why the others cannot. There is at least one who could.
#[derive(Debug)]
pub(crate) struct Choices {
    pub(crate) able: VecDeque<Choice>,
    pub(crate) rejected: Vec<Rejection>,
}

/// What `nixoci backends` shows of one backend.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// What is known without asking it.
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// What it could build.
    pub offers: Vec<Offer>,
    /// Why it could not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

impl BackendStatus {
    /// Whether it can build for some system without anybody's help.
    pub(crate) fn can_build(&self) -> bool {
        self.offers.iter().any(|offer| {
            matches!(offer.readiness, Readiness::Ready | Readiness::Asleep | Readiness::Startable)
        })
    }
}

/// Asks every backend what it could build.
///
/// # Errors
/// Those of the backends' settings.
pub async fn survey(
    cx: &Cx<'_>,
    registry: &Registry,
    tables: &BTreeMap<String, Vec<BackendTable>>,
) -> Result<Vec<BackendStatus>> {
    let names: Vec<String> = registry.iter().map(|factory| factory.descriptor().name.into_owned()).collect();
    let made = made(registry, &names, tables)?;
    let asked = ask(cx, &made, Question { want: None, explicit: false }).await;
    Ok(asked
        .into_iter()
        .map(|Asked { candidate, .. }| {
            let (offers, error) = match candidate.offers {
                Ok(offers) => (offers, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            BackendStatus { descriptor: candidate.descriptor, offers, error }
        })
        .collect())
}

/// A backend with its settings.
pub(crate) struct Made {
    pub(crate) descriptor: Descriptor,
    is_plugin: bool,
    pub(crate) backend: Arc<dyn Backend>,
}

/// The backends that take part in a job: made once, so that two platforms share what one keeps, such as connections.
pub(crate) struct Pool {
    explicit: bool,
    made: Vec<Made>,
}

impl Pool {
    /// Those with these names; without names, those that are candidates by themselves.
    ///
    /// # Errors
    /// As [`made`].
    pub(crate) fn new(
        engine: &Engine<'_>,
        names: &[String],
        tables: &BTreeMap<String, Vec<BackendTable>>,
    ) -> Result<Pool> {
        let explicit = !names.is_empty();
        let names = if explicit { names.to_vec() } else { automatic(engine) };
        Ok(Pool { explicit, made: made(engine.registry, &names, tables)? })
    }
}

/// Makes the backends with these names.
///
/// # Errors
/// [`nixoci_core::codes::UNKNOWN_BACKEND`]; those of the backends' settings.
pub(crate) fn made(
    registry: &Registry,
    names: &[String],
    tables: &BTreeMap<String, Vec<BackendTable>>,
) -> Result<Vec<Made>> {
    let make = |name: &String| {
        let factory = registry.require(name)?;
        let descriptor = factory.descriptor();
        // A table may be written under an alias: all of a backend's names count.
        let own: Vec<BackendTable> = std::iter::once(&descriptor.name)
            .chain(descriptor.aliases.iter())
            .filter_map(|name| tables.get(name.as_ref()))
            .flatten()
            .cloned()
            .collect();
        Ok(Made { backend: factory.create(&own)?, descriptor, is_plugin: factory.is_plugin() })
    };
    names.iter().map(make).collect()
}

/// Asks backends, concurrently.
async fn ask(cx: &Cx<'_>, made: &[Made], question: Question<'_>) -> Vec<Asked> {
    let asked = made.iter().enumerate().map(|(place, Made { descriptor, is_plugin, backend })| async move {
        let (descriptor, backend) = (descriptor.clone(), Arc::clone(backend));
        let is_plugin = *is_plugin;
        let preference = question.explicit.then_some(place);
        let offers =
            tokio::time::timeout(OFFER_LIMIT, backend.offers(cx, question.want)).await.unwrap_or_else(|_| {
                let text = format!("it did not answer within {} s", OFFER_LIMIT.as_secs());
                Err(Error::new(&nixoci_core::codes::NO_BACKEND, text))
            });
        Asked { backend, candidate: Candidate { descriptor, is_plugin, preference, offers } }
    });
    join_all(asked).await
}

/// Puts the backends that could do a job in order.
///
/// # Errors
/// [`nixoci_core::codes::NO_BACKEND`] with every reason.
pub(crate) async fn choose(engine: &Engine<'_>, pool: &Pool, system: &NixSystem) -> Result<Choices> {
    let explicit = pool.explicit;
    let question = Question { want: Some(system), explicit };
    let mut asked = ask(&engine.cx, &pool.made, question).await;
    // Ctrl-C while asking makes backends answer "cancelled": that is no reason to name.
    if engine.cx.cancel.is_cancelled() {
        return Err(Error::new(&nixoci_core::codes::CANCELLED, "stopped"));
    }
    let candidates: Vec<Candidate> =
        asked.iter_mut().map(|asked| take_candidate(&mut asked.candidate)).collect();
    let selection = select(system, &candidates);
    if selection.chosen.is_none() {
        return Err(nobody(system, &selection.rejected));
    }
    let able = selection.chosen.into_iter().chain(selection.others).map(|(index, offer)| Choice {
        name: candidates[index].descriptor.name.clone().into_owned(),
        backend: Arc::clone(&asked[index].backend),
        offer,
    });
    let choices = Choices { able: able.collect(), rejected: selection.rejected };
    // Who could not even answer has nothing here that could be wrong: no machine is configured, for example.
    let answered = |name: &str| {
        candidates.iter().any(|candidate| candidate.descriptor.name == name && candidate.offers.is_ok())
    };
    announce(engine, &choices, system, explicit, answered);
    Ok(choices)
}

fn take_candidate(candidate: &mut Candidate) -> Candidate {
    let offers = std::mem::replace(&mut candidate.offers, Ok(Vec::new()));
    let descriptor = candidate.descriptor.clone();
    Candidate { descriptor, is_plugin: candidate.is_plugin, preference: candidate.preference, offers }
}

fn automatic(engine: &Engine<'_>) -> Vec<String> {
    let fits = |descriptor: &Descriptor| descriptor.automatic && descriptor.is_for(engine.cx.host);
    let candidates = engine.registry.iter().map(|factory| factory.descriptor()).filter(fits);
    candidates.map(|descriptor| descriptor.name.into_owned()).collect()
}

/// Somebody who named a backend wants to know that another one is used instead; everybody else wants to know who it is.
fn announce(
    engine: &Engine<'_>,
    choices: &Choices,
    system: &NixSystem,
    explicit: bool,
    answered: impl Fn(&str) -> bool,
) {
    let observer = engine.cx.observer;
    // Before somebody sets something up, they want to know what is wrong with what is there.
    let set_up =
        choices.able.front().is_some_and(|first| first.offer.readiness.rank() > Readiness::Asleep.rank());
    for Rejection { backend, error } in &choices.rejected {
        let causes: String = error.report().causes.iter().map(|cause| format!(": {cause}")).collect();
        let text = format!("{backend} cannot build for {system}: {error}{causes}");
        if explicit || (set_up && answered(backend)) {
            observer.warn(text, Vec::new())
        } else {
            observer.debug(text)
        }
    }
    if let Some(first) = choices.able.front() {
        let text = format!("{system} is built by the backend {}", first.name);
        observer.observe(Event::Stage { stage: Stage::Select, system: Some(system.clone()), text });
    }
}
