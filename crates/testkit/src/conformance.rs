//! The contract of [`Backend`], as checks that run against any backend.
//!
//! Each check returns what it found wrong, in a sentence that names the broken rule. A backend that cannot build
//! where the suite runs is told apart from one that is wrong: pass no requests, and the checks that build are left
//! out, visibly.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nixoci_core::artifact::{Artifact, PathInfo};
use nixoci_core::backend::{Backend, Check, CheckVerdict, Depth, Readiness};
use nixoci_core::codes::CANCELLED;
use nixoci_core::event::Event;
use nixoci_core::platform::NixSystem;
use nixoci_core::release::release_artifact;
use nixoci_core::request::BuildRequest;
use nixoci_core::{Error, ErrorKind, Result};

use crate::world::World;

/// How long offers, and the end of what was cancelled, may take here. The contract gives them two seconds; on a loaded machine everything
/// takes longer, so that the suite only tells what ends from what hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// After this time a backend that reports no events is taken to be in the middle of a build that takes a second or two. If it is not, it
/// has to do the same.
const SILENCE: Duration = Duration::from_millis(700);

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
    /// Adds what another part of the suite came to.
    pub fn add(&mut self, other: Outcome) {
        self.passed.extend(other.passed);
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }

    pub(crate) fn note(&mut self, rule: &'static str, result: std::result::Result<(), String>) {
        match result {
            Ok(()) => self.passed.push(rule),
            Err(why) => self.failed.push(format!("{rule}: {why}")),
        }
    }
}

/// Makes requests. Each should be for something that was not built yet and that takes a second or two, so that
/// cancelling in the middle is in the middle.
pub type Requests<'a> = &'a (dyn Fn() -> BuildRequest + Sync);

pub(crate) type Finding = std::result::Result<(), String>;

/// Runs the whole suite. Every world has a cancellation of its own, so `world` makes new ones, all on one machine.
pub async fn run(
    backend: &dyn Backend,
    world: impl Fn() -> World,
    requests: Option<Requests<'_>>,
) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.note("offers come quickly and twice the same", offers(backend, &world()).await);
    outcome.note("a plan changes nothing", plan(backend, &world(), requests).await);
    outcome.note("checks are findings that one can read", probe(backend, &world()).await);
    let builds = [
        "offers for one system are those for all",
        "a forecast changes nothing",
        "an artifact is built, queried and fetched",
        "a reader that goes away is a transfer error",
        "a cancelled build does not begin",
        "cancellation ends a build",
        "a dropped build can be built again",
        "two builds at once",
        "a proof is a finding of every system, and ends when cancelled",
        "two artifacts are fetched in order",
        "cancellation ends a build at any event",
        "a build that is dropped at any await can be built again",
    ];
    let Some(requests) = requests else {
        outcome.skipped.extend(builds);
        return outcome;
    };
    outcome.note(builds[0], offers_for_one(backend, &world(), &requests()).await);
    outcome.note(builds[1], forecast(backend, &world(), &requests()).await);
    outcome.note(builds[2], artifact(backend, &world(), &requests()).await);
    outcome.note(builds[3], deaf_reader(backend, &world(), &requests()).await);
    outcome.note(builds[4], cancelled_before(backend, &world(), &requests()).await);
    outcome.note(builds[5], cancelled_half_way(backend, &world(), &requests()).await);
    outcome.note(builds[6], dropped(backend, &world(), &requests()).await);
    outcome.note(builds[7], twice(backend, &world(), requests).await);
    outcome.note(builds[8], proof(backend, &world(), &world(), &requests()).await);
    outcome.note(builds[9], in_order(backend, &world(), requests).await);
    outcome.note(builds[10], cancelled_at_events(backend, &world, &requests()).await);
    outcome.note(builds[11], dropped_at_awaits(backend, &world(), &requests()).await);
    outcome
}

fn fail<T>(result: Result<T>, what: &str) -> std::result::Result<T, String> {
    result.map_err(|error| format!("{what} failed: {error:?}"))
}

async fn offers(backend: &dyn Backend, world: &World) -> Finding {
    let begin = Instant::now();
    let first = format!("{:?}", backend.offers(&world.cx(), None).await);
    if begin.elapsed() > LIMIT {
        return Err(format!("the first answer took {:?}", begin.elapsed()));
    }
    let second = format!("{:?}", backend.offers(&world.cx(), None).await);
    if first == second { Ok(()) } else { Err(format!("{first}\nthen {second}")) }
}

async fn offers_for_one(backend: &dyn Backend, world: &World, request: &BuildRequest) -> Finding {
    let able = async |want: Option<&NixSystem>| {
        let offers = fail(backend.offers(&world.cx(), want).await, "offers")?;
        let ours = offers.into_iter().filter(|offer| offer.system == request.system);
        Ok::<_, String>(ours.filter_map(|offer| offer.readiness.rank()).min())
    };
    let (one, all) = (able(Some(&request.system)).await?, able(None).await?);
    if one == all { Ok(()) } else { Err(format!("{one:?} for {}, {all:?} among all", request.system)) }
}

async fn plan(backend: &dyn Backend, world: &World, requests: Option<Requests<'_>>) -> Finding {
    let cx = world.cx();
    let want = match requests {
        Some(requests) => vec![requests().system],
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

async fn probe(backend: &dyn Backend, world: &World) -> Finding {
    let checks = match backend.probe(&world.cx()).await {
        Ok(checks) => checks,
        // It cannot look, and says why.
        Err(error) => return helps(&error),
    };
    let odd = |check: &&Check| check.title.trim().is_empty() || check.title.contains('\n');
    match checks.iter().find(odd) {
        Some(check) => Err(format!("{check:?}")),
        None => Ok(()),
    }
}

/// A missing tool or right is something that a person can get.
fn helps(error: &Error) -> Finding {
    let hopeless = error.report().remedies.is_empty();
    match error.kind() {
        ErrorKind::ToolMissing | ErrorKind::Permission if hopeless => {
            Err(format!("an error without a remedy: {error:?}"))
        }
        _ => Ok(()),
    }
}

/// Whether every task begins once, is spoken of while it runs, and ends once.
fn nested(events: &[Event]) -> Finding {
    let mut open = HashSet::new();
    for event in events {
        let fine = match event {
            Event::Started { task, parent, .. } => {
                parent.is_none_or(|parent| open.contains(&parent)) && open.insert(*task)
            }
            Event::Progress { task, .. } | Event::Phase { task, .. } => open.contains(task),
            Event::Finished { task, .. } => open.remove(task),
            Event::Log { task, .. } => task.is_none_or(|task| open.contains(&task)),
            _ => true,
        };
        if !fine {
            return Err(format!("an event at the wrong time: {event:?}"));
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("tasks that never end: {open:?}")) }
}

async fn build(backend: &dyn Backend, world: &World, request: &BuildRequest) -> Result<Artifact> {
    let cx = world.cx();
    let forecast = backend.forecast(&cx, request, Depth::Verdict).await?;
    backend.build(&cx, request, &forecast).await
}

async fn release(backend: &dyn Backend, world: &World, artifact: Artifact) -> Finding {
    fail(release_artifact(backend, &world.cx(), artifact.id).await, "release")
}

async fn forecast(backend: &dyn Backend, world: &World, request: &BuildRequest) -> Finding {
    let full = async || {
        let forecast = backend.forecast(&world.cx(), request, Depth::Full).await;
        fail(forecast, "the forecast").map(|forecast| serde_json::to_string(&forecast).unwrap_or_default())
    };
    let (first, second) = (full().await?, full().await?);
    if first == second { Ok(()) } else { Err(format!("{first}\nthen {second}")) }
}

async fn artifact(backend: &dyn Backend, world: &World, request: &BuildRequest) -> Finding {
    let cx = world.cx();
    let artifact = fail(build(backend, world, request).await, "the build")?;
    nested(&world.events())?;
    let paths = std::slice::from_ref(&artifact.path);
    let infos = fail(backend.query(&cx, paths, false).await, "query")?;
    let found = infos.iter().find(|info| info.path == artifact.path);
    let info = found.ok_or("query did not answer for the artifact")?;
    if !fail(backend.query(&cx, paths, true).await, "query of the closure")?.contains(info) {
        return Err("the closure of the artifact is without the artifact".to_owned());
    }
    let mut nar = Vec::new();
    let count = fail(backend.fetch(&cx, paths, &mut nar).await, "fetch")?;
    compare(&nar, count, info)?;
    let missing = crate::fake::store_path("nixoci-conformance-missing");
    match backend.fetch(&cx, &[missing], &mut Vec::new()).await {
        Err(error) if error.kind() == ErrorKind::Transfer => {}
        other => return Err(format!("fetching a path that does not exist is no transfer error: {other:?}")),
    }
    release(backend, world, artifact.clone()).await?;
    release(backend, world, artifact).await.map_err(|why| format!("the second time: {why}"))
}

fn compare(nar: &[u8], count: u64, info: &PathInfo) -> Finding {
    let (length, size) = (nar.len() as u64, info.nar_size);
    if length != count || count != size {
        return Err(format!("the NAR has {length} bytes, fetch said {count}, query said {size}"));
    }
    if crate::fake::hash_of(nar) != info.nar_hash {
        return Err("the NAR does not have the hash that query said".to_owned());
    }
    Ok(())
}

async fn deaf_reader(backend: &dyn Backend, world: &World, request: &BuildRequest) -> Finding {
    let artifact = fail(build(backend, world, request).await, "the build")?;
    let (mut writer, reader) = tokio::io::duplex(1);
    drop(reader);
    let fetched = backend.fetch(&world.cx(), std::slice::from_ref(&artifact.path), &mut writer).await;
    release(backend, world, artifact).await?;
    match fetched {
        Err(error) if error.kind() == ErrorKind::Transfer => Ok(()),
        other => Err(format!("fetch ended with {other:?}")),
    }
}

fn in_time(begin: Instant) -> Finding {
    if begin.elapsed() > LIMIT { Err(format!("it took {:?}", begin.elapsed())) } else { Ok(()) }
}

async fn cancelled_before(backend: &dyn Backend, world: &World, request: &BuildRequest) -> Finding {
    world.cancel.cancel();
    let begin = Instant::now();
    match build(backend, world, request).await {
        Err(error) if error.is(&CANCELLED) => in_time(begin),
        other => Err(format!("a cancelled build ended with {other:?}")),
    }
}

/// The middle of a build: it has begun, as far as the backend says.
async fn half_way(world: &World) {
    if tokio::time::timeout(SILENCE, world.build_begins()).await.is_err() && !world.events().is_empty() {
        world.build_begins().await;
    }
}

async fn cancelled_half_way(backend: &dyn Backend, world: &World, request: &BuildRequest) -> Finding {
    let mut running = std::pin::pin!(build(backend, world, request));
    let early = tokio::select! {
        built = &mut running => Some(built),
        () = half_way(world) => None,
    };
    let begin = Instant::now();
    let built = match early {
        Some(built) => built,
        None => {
            world.cancel.cancel();
            running.await
        }
    };
    in_time(begin)?;
    match built {
        Err(error) if error.is(&CANCELLED) => Ok(()),
        // It was quicker than we are.
        Ok(artifact) => release(backend, world, artifact).await,
        other => Err(format!("a cancelled build ended with {other:?}")),
    }
}

async fn dropped(backend: &dyn Backend, world: &World, request: &BuildRequest) -> Finding {
    let built = tokio::select! {
        built = build(backend, world, request) => Some(built),
        () = half_way(world) => None,
    };
    if let Some(built) = built {
        release(backend, world, fail(built, "the build")?).await?;
    }
    let artifact = fail(build(backend, world, request).await, "the build after one that was dropped")?;
    release(backend, world, artifact).await
}

async fn twice(backend: &dyn Backend, world: &World, requests: Requests<'_>) -> Finding {
    let (one, other) = (requests(), requests());
    // The same twice, and something else.
    let (first, second, third) =
        tokio::join!(build(backend, world, &one), build(backend, world, &one), build(backend, world, &other));
    for built in [first, second, third] {
        release(backend, world, fail(built, "a build")?).await?;
    }
    Ok(())
}

/// A system that nobody builds for is a finding, too.
async fn proof(backend: &dyn Backend, world: &World, stopped: &World, request: &BuildRequest) -> Finding {
    let none = "nixoci-linux".parse::<NixSystem>().map_err(|error| error.to_string())?;
    let want = [request.system.clone(), none];
    let checks = fail(backend.prove(&world.cx(), &want).await, "prove")?;
    // A backend of several builders names each: `box: x86_64-linux`.
    let about = |check: &&Check, system: &NixSystem| check.title.split(": ").last() == Some(system.as_str());
    for (system, verdict) in [(&want[0], CheckVerdict::Good), (&want[1], CheckVerdict::Bad)] {
        let mut found = checks.iter().filter(|check| about(check, system)).peekable();
        if found.peek().is_none() || found.any(|check| check.verdict != verdict) {
            return Err(format!("{checks:?}"));
        }
    }
    stopped.cancel.cancel();
    let begin = Instant::now();
    match backend.prove(&stopped.cx(), &want).await {
        Err(error) if error.is(&CANCELLED) => in_time(begin),
        other => Err(format!("a cancelled proof ended with {other:?}")),
    }
}

async fn in_order(backend: &dyn Backend, world: &World, requests: Requests<'_>) -> Finding {
    let cx = world.cx();
    let first = fail(build(backend, world, &requests()).await, "the build")?;
    let second = fail(build(backend, world, &requests()).await, "the second build")?;
    // The one that was built last comes first.
    let paths = [second.path.clone(), first.path.clone()];
    let infos = fail(backend.query(&cx, &paths, false).await, "query")?;
    let mut nars = Vec::new();
    let count = fail(backend.fetch(&cx, &paths, &mut nars).await, "fetch")?;
    let mut rest = nars.as_slice();
    for path in &paths {
        let info = infos.iter().find(|info| info.path == *path).ok_or("query did not answer for both")?;
        let size = usize::try_from(info.nar_size).unwrap_or(usize::MAX);
        let (nar, behind) = rest.split_at_checked(size).ok_or("the NARs are too short")?;
        compare(nar, info.nar_size, info)?;
        rest = behind;
    }
    if !rest.is_empty() || count != nars.len() as u64 {
        return Err(format!("{} bytes beyond the NARs, and fetch said {count}", rest.len()));
    }
    release(backend, world, first).await?;
    release(backend, world, second).await
}

async fn cancelled_at_events(
    backend: &dyn Backend,
    world: &impl Fn() -> World,
    request: &BuildRequest,
) -> Finding {
    for events in [1, 2, 3, 5, 8] {
        let world = world().cancelled_after(events);
        let mut begin = None;
        let cancelled = async {
            world.cancel.cancelled().await;
            begin = Some(Instant::now());
            std::future::pending::<()>().await;
        };
        let built = tokio::select! {
            built = build(backend, &world, request) => built,
            () = cancelled => unreachable!("it is pending"),
        };
        begin.map_or(Ok(()), in_time)?;
        nested(&world.events()).map_err(|why| format!("cancelled at event {events}: {why}"))?;
        match built {
            Err(error) if error.is(&CANCELLED) => {}
            Ok(artifact) => release(backend, &world, artifact).await?,
            other => return Err(format!("cancelled at event {events}, it ended with {other:?}")),
        }
    }
    Ok(())
}

async fn dropped_at_awaits(backend: &dyn Backend, world: &World, request: &BuildRequest) -> Finding {
    for polls in [1, 2, 3, 5, 8, 13, 21] {
        let built = Polled { future: Box::pin(build(backend, world, request)), left: polls }.await;
        if let Some(built) = built {
            return release(backend, world, fail(built, "the build")?).await;
        }
    }
    let artifact = fail(build(backend, world, request).await, "the build after those that were dropped")?;
    release(backend, world, artifact).await
}

/// A future that is polled so often, and then no more.
struct Polled<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    left: usize,
}

impl<T> Future for Polled<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        let polled = self.future.as_mut().poll(context).map(Some);
        if polled.is_pending() && self.left == 0 { Poll::Ready(None) } else { polled }
    }
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
        run(&backend, || World::without_processes("x86_64-linux").unwrap(), Some(&request)).await
    }

    #[tokio::test]
    async fn a_good_backend_passes() {
        let outcome = suite(Fault::None).await;
        assert_eq!(outcome.failed, Vec::<String>::new());
        assert_eq!(outcome.passed.len(), 15);
    }

    #[tokio::test]
    async fn bad_backends_are_caught() {
        for fault in [
            Fault::BuildFails,
            Fault::Vanishes,
            Fault::BreaksAfter(40),
            Fault::LiesAfter(40),
            Fault::Flips(100),
            Fault::ProofFails,
        ] {
            assert!(!suite(fault).await.failed.is_empty(), "{fault:?}");
        }
    }
}
