//! Which backends there are, and which one gets the work.
//!
//! Selection is a pure function over offers: the same offers always give the same choice, and everyone who was
//! not chosen keeps the reason.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::{Descriptor, Offer, Readiness};
use crate::codes;
use crate::error::{Error, Remedy, Result};
use crate::factory::Factory;
use crate::platform::NixSystem;
use crate::shell;

/// All backends this nixoci has.
#[derive(Debug, Default)]
pub struct Registry {
    factories: Vec<Box<dyn Factory>>,
    elsewhere: Option<Elsewhere>,
}

/// What there is to say about a name that is not in a registry.
struct Elsewhere(Box<Say>);

type Say = dyn Fn(&str) -> Option<Error> + Send + Sync;

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elsewhere")
    }
}

impl Registry {
    /// A registry of these backends. Earlier ones keep their name if a later one claims it too.
    pub fn new(factories: Vec<Box<dyn Factory>>) -> Self {
        let mut registry = Registry::default();
        for factory in factories {
            if registry.get(&factory.descriptor().name).is_none() {
                registry.factories.push(factory);
            }
        }
        registry
    }

    /// The same, which says this of names that it does not have: that they could be had, and how.
    #[must_use]
    pub fn with_elsewhere(mut self, say: impl Fn(&str) -> Option<Error> + Send + Sync + 'static) -> Self {
        self.elsewhere = Some(Elsewhere(Box::new(say)));
        self
    }

    /// Every backend, in order of registration.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Factory> {
        self.factories.iter().map(AsRef::as_ref)
    }

    /// The backend with this name or alias.
    pub fn get(&self, name: &str) -> Option<&dyn Factory> {
        self.iter().find(|factory| {
            let descriptor = factory.descriptor();
            descriptor.name == name || descriptor.aliases.iter().any(|alias| alias == name)
        })
    }

    /// As [`get`](Self::get), with an error that suggests near names.
    ///
    /// # Errors
    /// [`codes::UNKNOWN_BACKEND`], or what is to be said of a backend that could be had.
    pub fn require(&self, name: &str) -> Result<&dyn Factory> {
        self.get(name).ok_or_else(|| {
            let elsewhere = self.elsewhere.as_ref().and_then(|Elsewhere(say)| say(name));
            elsewhere.unwrap_or_else(|| self.unknown(name))
        })
    }

    fn unknown(&self, name: &str) -> Error {
        let names: Vec<String> = self.iter().map(|f| f.descriptor().name.into_owned()).collect();
        let error = Error::new(&codes::UNKNOWN_BACKEND, format!("there is no backend called `{name}`"))
            .because(format!("this nixoci has: {}", names.join(", ")));
        let error = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => {
                error.remedy(Remedy::command("did you mean this one", shell!("--backend {}", near)))
            }
            None => error,
        };
        error
            .remedy(Remedy::command("list the backends", "nixoci backends"))
            .remedy(Remedy::command("if it is a plugin, trust its file", "nixoci plugin trust FILE"))
    }
}

/// The candidate that `name` was most likely meant to be.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// A backend that was asked, and what it answered.
#[derive(Debug)]
pub struct Candidate {
    /// Who.
    pub descriptor: Descriptor,
    /// Whether it is no part of nixoci.
    pub is_plugin: bool,
    /// The place in an explicit preference order, if one was given.
    pub preference: Option<usize>,
    /// What it offers, or why it could not say.
    pub offers: Result<Vec<Offer>>,
}

/// Why a backend was not chosen.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rejection {
    /// Which backend.
    pub backend: String,
    /// Why, and what would change it.
    pub error: Error,
}

/// The outcome of a selection for one system.
#[derive(Debug)]
pub struct Selection {
    /// Index of the chosen candidate, and its offer.
    pub chosen: Option<(usize, Offer)>,
    /// The candidates that could take over, best first, the chosen one excluded.
    pub others: Vec<(usize, Offer)>,
    /// Everyone who cannot build this, with the reason.
    pub rejected: Vec<Rejection>,
}

/// Chooses who builds for `want`: the explicit order first; else by readiness, then native before translated
/// before cross, then nixoci's own before those from elsewhere, then by name. One physical builder counts once.
pub fn select(want: &NixSystem, candidates: &[Candidate]) -> Selection {
    let mut able = Vec::new();
    let mut rejected = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        match best_offer(want, candidate) {
            Ok(offer) => able.push((index, offer)),
            Err(error) => {
                rejected.push(Rejection { backend: candidate.descriptor.name.clone().into_owned(), error });
            }
        }
    }
    able.sort_by_key(|(index, offer)| {
        let candidate = &candidates[*index];
        let order = candidate.preference.unwrap_or(usize::MAX);
        (order, offer.readiness.rank(), offer.how, candidate.is_plugin, candidate.descriptor.name.clone())
    });
    let mut seen = std::collections::HashSet::new();
    able.retain(|(_, offer)| seen.insert(offer.builder.clone()));
    let mut able = able.into_iter();
    Selection { chosen: able.next(), others: able.collect(), rejected }
}

fn best_offer(want: &NixSystem, candidate: &Candidate) -> Result<Offer> {
    let offers = candidate.offers.as_ref().map_err(Clone::clone)?;
    let mut matching: Vec<&Offer> = offers.iter().filter(|offer| offer.system == *want).collect();
    matching.sort_by_key(|offer| (offer.readiness.rank().unwrap_or(u8::MAX), offer.how));
    match matching.first() {
        Some(Offer { readiness: Readiness::No { error }, .. }) => Err(error.clone()),
        Some(offer) => Ok((*offer).clone()),
        None => {
            let systems: Vec<&str> = offers.iter().map(|offer| offer.system.as_str()).collect();
            let has = if systems.is_empty() { "no system".to_owned() } else { systems.join(", ") };
            Err(Error::new(&codes::NO_BACKEND, format!("it builds for {has}, not for {want}")))
        }
    }
}

/// The error when a selection chose nobody: every rejection with its reason, and the remedies of all. Of a single candidate
/// it is its own.
pub fn nobody(want: &NixSystem, rejected: &[Rejection]) -> Error {
    let all = Remedy::command("see what every backend needs", "nixoci backends");
    if let [Rejection { error, .. }] = rejected {
        return error.clone().remedy(all);
    }
    let platform = want.to_oci().map_or_else(|| want.to_string(), |platform| platform.to_string());
    let message = format!("no backend can build for {platform} ({want})");
    let mut error = Error::new(&codes::NO_BACKEND, message);
    for Rejection { backend, error: reason } in rejected {
        let causes = &reason.report().causes;
        let why = if causes.is_empty() { String::new() } else { format!(": {}", causes.join(": ")) };
        error = error.because(format!("{backend}: {reason}{why}"));
    }
    for remedy in rejected.iter().flat_map(|rejection| &rejection.error.report().remedies) {
        error = error.remedy(remedy.clone());
    }
    error.remedy(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{BuilderId, How};
    use proptest::prelude::*;
    use std::borrow::Cow;

    fn system() -> NixSystem {
        "x86_64-linux".parse().unwrap()
    }

    fn candidate(name: &'static str, preference: Option<usize>, readiness: Readiness, how: How) -> Candidate {
        Candidate {
            descriptor: Descriptor {
                name: Cow::Borrowed(name),
                aliases: Cow::Borrowed(&[]),
                summary: Cow::Borrowed(""),
                concurrent_builds: true,
                automatic: true,
                hosts: Cow::Borrowed(&[]),
                credentials: false,
            },
            is_plugin: false,
            preference,
            offers: Ok(vec![Offer { system: system(), how, readiness, builder: BuilderId(name.to_owned()) }]),
        }
    }

    fn no() -> Readiness {
        Readiness::No { error: Error::new(&codes::NO_BACKEND, "no KVM") }
    }

    fn chosen(candidates: &[Candidate]) -> Option<&str> {
        select(&system(), candidates).chosen.map(|(index, _)| candidates[index].descriptor.name.as_ref())
    }

    #[test]
    fn readiness_then_native_then_name() {
        use How::{Native, Translated};
        let c = [
            candidate("d", None, Readiness::Asleep, Native),
            candidate("c", None, Readiness::Ready, Translated),
            candidate("b", None, Readiness::Ready, Native),
            candidate("a", None, Readiness::Ready, Translated),
        ];
        assert_eq!(chosen(&c), Some("b"));
        assert_eq!(chosen(&c[..2]), Some("c"));
    }

    #[test]
    fn a_plugin_takes_over_only_where_it_is_nearer() {
        let mut c = [
            candidate("acme", None, Readiness::Ready, How::Native),
            candidate("local", None, Readiness::Ready, How::Native),
        ];
        c[0].is_plugin = true;
        assert_eq!(chosen(&c), Some("local"));
        c[1] = candidate("local", None, Readiness::Asleep, How::Native);
        assert_eq!(chosen(&c), Some("acme"));
    }

    #[test]
    fn an_explicit_order_beats_readiness_but_not_impossibility() {
        let c = [
            candidate("first", Some(0), no(), How::Native),
            candidate("second", Some(1), Readiness::NeedsRoot, How::Translated),
            candidate("third", Some(2), Readiness::Ready, How::Native),
        ];
        let selection = select(&system(), &c);
        assert_eq!(chosen(&c), Some("second"));
        assert_eq!(selection.rejected[0].backend, "first");
        assert_eq!(selection.rejected[0].error.to_string(), "no KVM");
        assert_eq!(selection.others.len(), 1);
    }

    #[test]
    fn the_error_keeps_every_reason() {
        let mut other = candidate("b", None, Readiness::Ready, How::Native);
        other.offers = Err(Error::new(&codes::TOOL_MISSING, "nix is not installed")
            .remedy(Remedy::command("install Nix", "sh install")));
        let selection = select(&system(), &[candidate("a", None, no(), How::Native), other]);
        let error = nobody(&system(), &selection.rejected);
        assert_eq!(error.report().causes, ["a: no KVM", "b: nix is not installed"]);
        assert_eq!(error.report().remedies[0].text, "install Nix");
        assert_eq!(error.kind().exit_code(), 20);
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        assert_eq!(nearest("locl", ["local", "remote"].into_iter()), Some("local"));
        assert_eq!(nearest("xyz", ["local", "remote"].into_iter()), None);
    }

    proptest! {
        #[test]
        fn the_choice_does_not_depend_on_the_order_of_candidates(seed: [u8; 5], rotate in 0usize..5) {
            const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
            let make = |n: usize| {
                let readiness = match seed[n] % 5 {
                    0 => Readiness::Ready, 1 => Readiness::Asleep, 2 => Readiness::Startable,
                    3 => Readiness::NeedsRoot, _ => no(),
                };
                let how = if seed[n] & 64 == 0 { How::Native } else { How::Translated };
                let candidate = candidate(NAMES[n], (seed[n] & 128 != 0).then_some(n), readiness, how);
                Candidate { is_plugin: seed[n] & 32 != 0, ..candidate }
            };
            let straight: Vec<_> = (0..5).map(make).collect();
            let mut order: Vec<usize> = (0..5).collect();
            order.rotate_left(rotate);
            let turned: Vec<_> = order.into_iter().map(make).collect();
            prop_assert_eq!(chosen(&straight), chosen(&turned));
        }
    }
}
