//! What `doctor` finds over fake backends.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use nixoci_core::backend::CheckVerdict;
use nixoci_core::codes::CANCELLED;
use nixoci_core::registry::Registry;
use nixoci_engine::{Doctor, Examination, doctor};
use nixoci_testkit::{FakeBackend, FakeFactory, Fault, World};

const SYSTEM: &str = "x86_64-linux";

async fn look(
    world: &World,
    fakes: Vec<(&'static str, FakeBackend)>,
    build: bool,
) -> nixoci_core::Result<Doctor> {
    let factories = fakes.into_iter().map(|(name, fake)| Box::new(FakeFactory::new(name, fake)) as _);
    let registry = Registry::new(factories.collect());
    doctor(&world.cx(), &registry, &Default::default(), &Examination { docker_host: None, build }).await
}

fn good() -> FakeBackend {
    FakeBackend::new(&SYSTEM.parse().unwrap(), b"an image")
}

#[tokio::test]
async fn nothing_is_built_unless_asked() {
    let world = World::without_processes(SYSTEM).unwrap();
    let found = look(&world, vec![("fake", good().with_fault(Fault::ProofFails))], false).await.unwrap();
    assert!(found.ready);
    assert_eq!(found.backends["fake"].len(), 1);
}

#[tokio::test]
async fn a_proof_is_a_finding_of_its_backend_and_decides_what_is_ready() {
    let world = World::without_processes(SYSTEM).unwrap();
    let bad = || good().with_fault(Fault::ProofFails);
    let found = look(&world, vec![("alpha", good()), ("beta", bad())], true).await.unwrap();
    assert!(found.ready);
    let (proven, failed) = (&found.backends["alpha"][1], &found.backends["beta"][1]);
    assert_eq!((proven.title.as_str(), proven.verdict), (SYSTEM, CheckVerdict::Good));
    assert_eq!(proven.detail, "built and read back in 0.0 s");
    assert_eq!(
        (failed.verdict, failed.detail.as_str()),
        (CheckVerdict::Bad, "the fake builds nothing: a test said so")
    );
    assert_eq!(failed.remedies[0].command.as_deref(), Some("mend fake"));
    assert!(!look(&world, vec![("beta", bad())], true).await.unwrap().ready);
}

#[tokio::test]
async fn what_is_not_ready_builds_nothing() {
    let world = World::without_processes(SYSTEM).unwrap();
    let found = look(&world, vec![("alpha", good()), ("beta", good().unprovisioned())], true).await.unwrap();
    assert_eq!((found.backends["alpha"].len(), found.backends["beta"].len()), (2, 1));
    let found = look(&world, vec![("fake", good().with_fault(Fault::NoOffer))], true).await.unwrap();
    assert!(!found.ready && found.backends["fake"].len() == 1);
}

#[tokio::test]
async fn a_cancelled_examination_is_no_finding() {
    let world = World::without_processes(SYSTEM).unwrap();
    world.cancel.cancel();
    assert!(look(&world, vec![("fake", good())], true).await.unwrap_err().is(&CANCELLED));
}
