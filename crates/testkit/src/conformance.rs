//! The contract of [`Backend`], as checks that run against any backend.
//!
//! Each check returns what it found wrong, in a sentence that names the broken rule. A backend that cannot build
//! where the suite runs is told apart from one that is wrong: pass no request, and the checks that build are left
//! out, visibly.

use std::time::{Duration, Instant};

use nixoci_core::artifact::Artifact;
use nixoci_core::backend::{Backend, Depth, Readiness, Release};
use nixoci_core::codes::CANCELLED;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::GRACE;
use nixoci_core::{ErrorKind, Result};

use crate::world::World;

/// The contract gives a backend two seconds for its offers; a loaded test machine gets some more.
const OFFERS_LIMIT: Duration = Duration::from_secs(10);

/// What a run of the suite came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Checks that held.
    pub passed: Vec<&'static str>,
    /// Broken rules.
    pub failed: Vec<String>,
    /// Checks that were left out.
    pub skipped: Vec<&'static str>,
}

impl Outcome {
    fn note(&mut self, rule: &'static str, result: std::result::Result<(), String>) {
        match result {
            Ok(()) => self.passed.push(rule),
            Err(why) => self.failed.push(format!("{rule}: {why}")),
        }
    }
}

/// Runs the whole suite. Every world has a cancellation of its own, so `world` makes new ones.
pub async fn run(
    backend: &dyn Backend,
    world: impl Fn() -> World,
    request: Option<&BuildRequest>,
) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.note("offers come quickly and twice the same", offers(backend, &world()).await);
    outcome.note("a plan changes nothing", plan(backend, &world(), request).await);
    let builds =
        ["an artifact is built, queried and fetched", "cancellation ends a build", "two builds at once"];
    match request {
        None => outcome.skipped.extend(builds),
        Some(request) => {
            outcome.note(builds[0], artifact(backend, &world(), request).await);
            outcome.note(builds[1], cancel(backend, &world(), request).await);
            outcome.note(builds[2], twice(backend, &world(), request).await);
        }
    }
    outcome
}

fn fail<T>(result: Result<T>, what: &str) -> std::result::Result<T, String> {
    result.map_err(|error| format!("{what} failed: {error:?}"))
}

async fn offers(backend: &dyn Backend, world: &World) -> std::result::Result<(), String> {
    let begin = Instant::now();
    let first = format!("{:?}", backend.offers(&world.cx(), None).await);
    if begin.elapsed() > OFFERS_LIMIT {
        return Err(format!("the first answer took {:?}", begin.elapsed()));
    }
    let second = format!("{:?}", backend.offers(&world.cx(), None).await);
    if first == second { Ok(()) } else { Err(format!("{first}\nthen {second}")) }
}

async fn plan(
    backend: &dyn Backend,
    world: &World,
    request: Option<&BuildRequest>,
) -> std::result::Result<(), String> {
    let cx = world.cx();
    let want = match request {
        Some(request) => vec![request.system.clone()],
        None => vec![world.host.system.to_linux()],
    };
    let describe = async || {
        let plan = backend.plan(&cx, &want).await;
        plan.map(|plan| serde_json::to_string(&plan).unwrap_or_default())
            .map_err(|error| format!("{error:?}"))
    };
    let (first, second) = (describe().await, describe().await);
    if first != second {
        return Err(format!("{first:?}\nthen {second:?}"));
    }
    let plan = fail(backend.plan(&cx, &want).await, "plan")?;
    let offers = fail(backend.offers(&cx, None).await, "offers")?;
    let ready = offers.iter().any(|o| want.contains(&o.system) && matches!(o.readiness, Readiness::Ready));
    if ready && !plan.is_satisfied() {
        return Err("a backend that offers to build now has a plan with something to do".to_owned());
    }
    if plan.is_satisfied() {
        fail(backend.provision(&cx, &plan).await, "provisioning a satisfied plan")?;
    }
    Ok(())
}

async fn build(backend: &dyn Backend, world: &World, request: &BuildRequest) -> Result<Artifact> {
    let cx = world.cx();
    let forecast = backend.forecast(&cx, request, Depth::Verdict).await?;
    backend.build(&cx, request, &forecast).await
}

async fn artifact(
    backend: &dyn Backend,
    world: &World,
    request: &BuildRequest,
) -> std::result::Result<(), String> {
    let cx = world.cx();
    let artifact = fail(build(backend, world, request).await, "the build")?;
    let paths = std::slice::from_ref(&artifact.path);
    let infos = fail(backend.query(&cx, paths, false).await, "query")?;
    let info = infos
        .iter()
        .find(|info| info.path == artifact.path)
        .ok_or("query did not answer for the artifact")?;
    let mut nar = Vec::new();
    let count = fail(backend.fetch(&cx, paths, &mut nar).await, "fetch")?;
    if count != info.nar_size || nar.len() as u64 != count {
        return Err(format!(
            "the NAR has {} bytes, fetch said {count}, query said {}",
            nar.len(),
            info.nar_size
        ));
    }
    if crate::fake::hash_of(&nar) != info.nar_hash {
        return Err("the NAR does not have the hash that query said".to_owned());
    }
    let missing = crate::fake::store_path("nixoci-conformance-missing");
    match backend.fetch(&cx, &[missing], &mut Vec::new()).await {
        Err(error) if error.kind() == ErrorKind::Transfer => {}
        other => return Err(format!("fetching a path that does not exist is no transfer error: {other:?}")),
    }
    for _ in 0..2 {
        let how = Release::Artifact { id: artifact.id.clone() };
        fail(backend.release(&cx, how).await, "release (twice is legal)")?;
    }
    Ok(())
}

async fn cancel(
    backend: &dyn Backend,
    world: &World,
    request: &BuildRequest,
) -> std::result::Result<(), String> {
    world.cancel.cancel();
    let begin = Instant::now();
    match build(backend, world, request).await {
        Err(error) if error.is(&CANCELLED) => {}
        other => return Err(format!("a cancelled build ended with {other:?}")),
    }
    let limit = GRACE + Duration::from_secs(3);
    if begin.elapsed() > limit { Err(format!("it took {:?}", begin.elapsed())) } else { Ok(()) }
}

async fn twice(
    backend: &dyn Backend,
    world: &World,
    request: &BuildRequest,
) -> std::result::Result<(), String> {
    let (first, second) = tokio::join!(build(backend, world, request), build(backend, world, request));
    for artifact in [fail(first, "the first build")?, fail(second, "the second build")?] {
        let how = Release::Artifact { id: artifact.id };
        fail(backend.release(&world.cx(), how).await, "release")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeBackend, Fault};
    use nixoci_core::request::{Installable, NixFlags};

    fn request() -> BuildRequest {
        BuildRequest {
            installable: Installable::parse(".#x").unwrap(),
            system: "x86_64-linux".parse().unwrap(),
            prefer: Vec::new(),
            flags: NixFlags::default(),
        }
    }

    async fn suite(fault: Fault) -> Outcome {
        let backend = FakeBackend::new(&"x86_64-linux".parse().unwrap(), b"an image").with_fault(fault);
        run(&backend, || World::without_processes("x86_64-linux").unwrap(), Some(&request())).await
    }

    #[tokio::test]
    async fn a_good_backend_passes() {
        let outcome = suite(Fault::None).await;
        assert_eq!(outcome.failed, Vec::<String>::new());
        assert_eq!(outcome.passed.len(), 5);
    }

    #[tokio::test]
    async fn bad_backends_are_caught() {
        for fault in [
            Fault::BuildFails,
            Fault::Vanishes,
            Fault::BreaksAfter(40),
            Fault::LiesAfter(40),
            Fault::Flips(100),
        ] {
            assert!(!suite(fault).await.failed.is_empty(), "{fault:?}");
        }
    }
}
