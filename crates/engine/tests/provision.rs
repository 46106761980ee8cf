//! Making backends ready over fakes: who has to agree to what, and what comes of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nixoci_core::backend::{CheckVerdict, Release};
use nixoci_core::codes::{NO_BACKEND, PENDING};
use nixoci_core::event::Event;
use nixoci_core::registry::Registry;
use nixoci_core::{Error, ErrorKind, Result};
use nixoci_engine::{
    Agreed, Change, Consent, Engine, ProvisionJob, ProvisionReport, PutAway, provision, put_away,
};
use nixoci_image::Cache;
use nixoci_testkit::{FakeBackend, FakeFactory, Fault, World};

const SYSTEM: &str = "x86_64-linux";

/// Somebody who always answers the same, or is not there; and what they were shown and asked.
#[derive(Debug, Default)]
struct Somebody {
    answer: Option<bool>,
    heard: Mutex<Vec<String>>,
}

impl Somebody {
    fn hears(&self, how: &str, change: Change<'_>) {
        let what = match change {
            Change::Provision { backend, plan } => {
                let steps: Vec<&str> = plan.pending().map(|step| step.id.as_str()).collect();
                format!("{how} {backend}: {}", steps.join(", "))
            }
            Change::Remove { backend, .. } => format!("{how} {backend} removed"),
            Change::Entrust(entrust) => {
                format!("{how} for {} with {}", entrust.source, entrust.names.join(", "))
            }
            Change::Replace { names, .. } => format!("{how} {} replaced", names.join(", ")),
            Change::Write { file, .. } => format!("{how} {} written", file.display()),
        };
        self.heard.lock().unwrap().push(what);
    }
}

#[async_trait]
impl Consent for Somebody {
    fn show(&self, change: Change<'_>) {
        self.hears("shown", change);
    }

    async fn ask(&self, change: Change<'_>) -> Result<Option<bool>> {
        self.hears("asked", change);
        Ok(self.answer)
    }
}

/// A machine with fake backends, and whoever sits before it.
struct Machine {
    world: World,
    registry: Registry,
    backends: Vec<Arc<FakeBackend>>,
    cache: Cache,
    somebody: Somebody,
}

impl Machine {
    fn new(fakes: Vec<(&'static str, FakeBackend)>, answer: Option<bool>) -> Machine {
        let world = World::without_processes(SYSTEM).unwrap();
        let factories: Vec<FakeFactory> =
            fakes.into_iter().map(|(name, fake)| FakeFactory::new(name, fake)).collect();
        Machine {
            backends: factories.iter().map(FakeFactory::backend).collect(),
            registry: Registry::new(factories.into_iter().map(|factory| Box::new(factory) as _).collect()),
            cache: Cache::open(world.dirs.cache.join("images")).unwrap(),
            somebody: Somebody { answer, heard: Mutex::default() },
            world,
        }
    }

    fn with(fake: FakeBackend, answer: Option<bool>) -> Machine {
        Machine::new(vec![("fake", fake)], answer)
    }

    fn engine(&self) -> Engine<'_> {
        let cx = self.world.cx();
        Engine { cx, registry: &self.registry, cache: &self.cache, consent: &self.somebody }
    }

    async fn provision(&self, agreed: Agreed) -> Result<ProvisionReport> {
        provision(&self.engine(), &job(agreed)).await
    }

    fn heard(&self) -> Vec<String> {
        self.somebody.heard.lock().unwrap().clone()
    }

    fn said(&self) -> Vec<String> {
        let texts = self.world.events().into_iter().filter_map(|event| match event {
            Event::Message { text, .. } => Some(text),
            _ => None,
        });
        texts.collect()
    }
}

fn job(agreed: Agreed) -> ProvisionJob {
    ProvisionJob {
        platforms: vec!["linux/amd64".parse().unwrap()],
        backends: Vec::new(),
        named: false,
        backend_tables: Default::default(),
        agreed,
    }
}

fn asleep() -> FakeBackend {
    FakeBackend::new(&SYSTEM.parse().unwrap(), b"an image").unprovisioned()
}

const NOTHING: Agreed = Agreed { never: false, yes: false, root: false };
const YES: Agreed = Agreed { yes: true, ..NOTHING };
const ROOT: Agreed = Agreed { root: true, ..NOTHING };
const BOTH: Agreed = Agreed { yes: true, ..ROOT };
const NEVER: Agreed = Agreed { never: true, ..BOTH };

type Fake = fn() -> FakeBackend;

#[tokio::test]
async fn every_way_to_agree_and_not_to() {
    let plain = asleep;
    let mixed = || asleep().with_root_step();
    let root = || asleep().root_only();
    let (yes, no, nobody) = (Some(true), Some(false), None);
    // (the steps, what was agreed to beforehand, the answer) -> (is it done, what somebody heard)
    let table: Vec<(Fake, Agreed, Option<bool>, bool, &str)> = vec![
        (plain, NOTHING, nobody, false, "asked fake: pretend"),
        (plain, NOTHING, no, false, "asked fake: pretend"),
        (plain, NOTHING, yes, true, "asked fake: pretend"),
        (plain, YES, nobody, true, "shown fake: pretend"),
        (plain, YES, no, true, "shown fake: pretend"),
        (plain, ROOT, nobody, false, "asked fake: pretend"),
        (plain, BOTH, nobody, true, "shown fake: pretend"),
        (plain, NEVER, yes, false, ""),
        (mixed, NOTHING, nobody, false, "asked fake: pretend, root"),
        (mixed, NOTHING, yes, true, "asked fake: pretend, root"),
        (mixed, YES, nobody, false, "asked fake: pretend, root"),
        (mixed, YES, yes, true, "asked fake: pretend, root"),
        (mixed, YES, no, false, "asked fake: pretend, root"),
        (mixed, ROOT, nobody, false, "asked fake: pretend, root"),
        (mixed, BOTH, nobody, true, "shown fake: pretend, root"),
        (mixed, NEVER, yes, false, ""),
        (root, YES, nobody, false, "asked fake: root"),
        (root, ROOT, nobody, true, "shown fake: root"),
        (root, NOTHING, yes, true, "asked fake: root"),
        (root, NEVER, yes, false, ""),
    ];
    for (fake, agreed, answer, done, heard) in table {
        let machine = Machine::with(fake(), answer);
        let result = machine.provision(agreed).await;
        let case = format!("{agreed:?}, answer {answer:?}: {result:?}");
        assert_eq!(result.is_ok(), done, "{case}");
        assert_eq!(machine.backends[0].provisions(), u32::from(done), "{case}");
        assert_eq!(machine.heard().join("; "), heard, "{case}");
        if let Err(error) = result {
            assert!(error.is(&PENDING) && error.kind().exit_code() == 75, "{case}");
        }
    }
}

fn commands(error: &Error) -> Vec<&str> {
    error.report().remedies.iter().filter_map(|remedy| remedy.command.as_deref()).collect()
}

#[tokio::test]
async fn who_is_not_asked_gets_the_command_that_agrees_and_the_steps() {
    let refused =
        async |fake, agreed, answer| Machine::with(fake, answer).provision(agreed).await.unwrap_err();
    let agree = "nixoci provision --backend fake --platform linux/amd64";
    let error = refused(asleep().with_root_step(), NOTHING, None).await;
    let all = format!("{agree} --yes --allow-root");
    assert_eq!(commands(&error), [all.as_str(), "pretend", "sudo pretend --harder"]);
    assert_eq!(error.report().remedies[2].text, "by hand, step 2: become root (needs root)");
    assert_eq!(error.report().causes[0], "to do: pretend to be ready, become root");
    assert!(error.report().causes[1].contains("nobody can be asked here"));
    assert_eq!(commands(&refused(asleep(), NOTHING, None).await)[0], format!("{agree} --yes"));
    let error = refused(asleep().root_only(), YES, Some(false)).await;
    assert_eq!(commands(&error)[0], format!("{agree} --allow-root"));
    assert_eq!(error.report().causes[1], "the answer was no");
}

#[tokio::test]
async fn the_command_that_agrees_does() {
    // What the error above says, as flags.
    let machine = Machine::with(asleep().with_root_step(), None);
    let named = ProvisionJob { backends: vec!["fake".to_owned()], named: true, ..job(BOTH) };
    let report = provision(&machine.engine(), &named).await.unwrap();
    let fake = &report.backends[0];
    assert!(fake.changed && fake.plan.steps.len() == 2);
    assert_eq!((fake.proof[0].title.as_str(), fake.proof[0].verdict), (SYSTEM, CheckVerdict::Good));
}

#[tokio::test]
async fn what_is_ready_is_left_alone() {
    let machine = Machine::with(asleep(), None);
    machine.provision(YES).await.unwrap();
    let report = machine.provision(NOTHING).await.unwrap();
    assert!(!report.backends[0].changed && report.backends[0].proof.is_empty());
    assert_eq!((machine.backends[0].provisions(), machine.heard().len()), (1, 1));
}

#[tokio::test]
async fn steps_for_the_administrator_are_no_question() {
    let machine = Machine::with(asleep().by_hand(), Some(true));
    let error = machine.provision(BOTH).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Pending, "the fake must be made ready by hand")
    );
    assert_eq!(machine.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn steps_without_effect_and_a_backend_that_builds_nothing_are_noticed() {
    let error = Machine::with(asleep().with_fault(Fault::ProvisionHasNoEffect), None).provision(YES).await;
    let error = error.unwrap_err();
    assert!(error.is(&PENDING) && error.report().causes[0].contains("had no effect"), "{error:?}");
    let error = Machine::with(asleep().with_fault(Fault::ProofFails), None).provision(YES).await.unwrap_err();
    assert_eq!((error.code(), error.kind().exit_code()), ("nixoci::provision::not_proven", 30));
    assert_eq!(error.report().causes, ["the fake builds nothing: a test said so"]);
    assert_eq!(commands(&error), ["mend fake"]);
}

#[tokio::test]
async fn a_backend_is_made_ready_once_for_all_its_platforms() {
    let machine =
        Machine::new(vec![("alpha", asleep()), ("beta", asleep().with_fault(Fault::NoOffer))], None);
    let twice = ProvisionJob { platforms: vec!["linux/amd64".parse().unwrap(); 2], ..job(YES) };
    let report = provision(&machine.engine(), &twice).await.unwrap();
    assert_eq!((report.backends.len(), report.backends[0].systems.len()), (1, 1));
    assert_eq!(machine.heard(), ["shown alpha: pretend"]);
    let other = ProvisionJob { platforms: vec!["linux/arm64".parse().unwrap()], ..job(YES) };
    assert!(provision(&machine.engine(), &other).await.unwrap_err().is(&NO_BACKEND));
}

#[tokio::test]
async fn stopping_asks_nobody_and_removing_does() {
    let machine = Machine::with(asleep(), None);
    let report = put_away(&machine.engine(), &job(NOTHING), PutAway::Stop).await.unwrap();
    assert_eq!(report.backends, ["fake"]);
    assert_eq!(machine.said().last().unwrap(), "the fake is put away");
    let error = put_away(&machine.engine(), &job(ROOT), PutAway::Remove).await.unwrap_err();
    assert_eq!((error.code(), error.kind().exit_code()), ("nixoci::provision::not_removed", 75));
    assert_eq!(commands(&error), ["nixoci provision --backend fake --remove --yes"]);
    put_away(&machine.engine(), &job(YES), PutAway::Remove).await.unwrap();
    assert_eq!(machine.backends[0].put_away(), [Release::Stop, Release::Remove]);
    assert_eq!(machine.heard(), ["asked fake removed", "shown fake removed"]);
    let asked = Machine::with(asleep(), Some(true));
    put_away(&asked.engine(), &job(NOTHING), PutAway::Remove).await.unwrap();
    assert_eq!(asked.backends[0].put_away(), [Release::Remove]);
}

#[tokio::test]
async fn what_is_broken_is_put_away_when_it_is_named() {
    let machine = Machine::with(asleep().with_fault(Fault::NoOffer), None);
    let error = put_away(&machine.engine(), &job(YES), PutAway::Stop).await.unwrap_err();
    assert_eq!(error.to_string(), "the fake has no builder");
    let named = ProvisionJob { backends: vec!["fake".to_owned()], named: true, ..job(YES) };
    put_away(&machine.engine(), &named, PutAway::Stop).await.unwrap();
    assert_eq!(machine.backends[0].put_away(), [Release::Stop]);
}
