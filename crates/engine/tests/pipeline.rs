//! The pipeline over fake backends: what an image goes through, and what is left when something breaks.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nixoci_core::codes::{CANCELLED, NO_BACKEND, PENDING};
use nixoci_core::digest::Digest;
use nixoci_core::platform::NixSystem;
use nixoci_core::registry::Registry;
use nixoci_core::request::{Installable, NixFlags};
use nixoci_core::{Error, ErrorKind, Result};
use nixoci_engine::{Agreed, BuildReport, Engine, Entrust, Job, Nobody, Sinks, build, plan};
use nixoci_image::{Cache, Destination, Mismatch, Naming};
use nixoci_testkit::{FakeBackend, FakeFactory, Fault, World, nar_of, store_path};
use serde_json::json;
use sha2::Digest as _;

const SYSTEM: &str = "x86_64-linux";

fn hex(bytes: &[u8]) -> String {
    Digest::from_bytes(sha2::Sha256::digest(bytes).into()).hex()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o755);
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, name, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A program for amd64 that is its header only.
fn elf() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0".to_vec();
    bytes.resize(100, 0);
    bytes
}

/// A docker-archive of two layers, for this CPU, with so many bytes of ballast.
fn archive(architecture: &str, ballast: usize) -> Vec<u8> {
    let noise: Vec<u8> = (0..ballast).map(|n| (n * 31 % 251) as u8).collect();
    let layers = [tar(&[("nix/data", &noise)]), tar(&[("bin/hello", &elf())])];
    let digests = layers.each_ref().map(|layer| hex(layer));
    let config = json!({
        "architecture": architecture, "os": "linux", "created": "1970-01-01T00:00:01Z",
        "config": { "Cmd": ["/bin/hello"] },
        "rootfs": { "type": "layers", "diff_ids": digests.each_ref().map(|digest| format!("sha256:{digest}")) },
    })
    .to_string();
    let config_name = format!("{}.json", hex(config.as_bytes()));
    let names = digests.each_ref().map(|digest| format!("{digest}/layer.tar"));
    let manifest =
        json!([{ "Config": config_name, "RepoTags": ["hello:latest"], "Layers": names }]).to_string();
    tar(&[
        (&names[0], &layers[0]),
        (&names[1], &layers[1]),
        (&config_name, config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
    ])
}

fn archive_at(path: &std::path::Path) -> Destination {
    Destination::parse(&format!("archive:{}", path.display()), std::path::Path::new("/")).unwrap()
}

fn image() -> Vec<u8> {
    archive("amd64", 300_000)
}

fn system() -> NixSystem {
    SYSTEM.parse().unwrap()
}

fn good() -> FakeBackend {
    FakeBackend::new(&system(), &image())
}

fn faulty(fault: Fault) -> FakeBackend {
    good().with_fault(fault)
}

/// One user's machine: backends, a cache, a place for outputs.
struct Machine {
    world: World,
    registry: Registry,
    backends: Vec<Arc<FakeBackend>>,
    cache: Cache,
    outputs: tempfile::TempDir,
}

impl Machine {
    fn new(backends: Vec<(&'static str, FakeBackend)>) -> Machine {
        let world = World::without_processes(SYSTEM).unwrap();
        let factories: Vec<FakeFactory> =
            backends.into_iter().map(|(name, backend)| FakeFactory::new(name, backend)).collect();
        let backends = factories.iter().map(FakeFactory::backend).collect();
        let registry = Registry::new(factories.into_iter().map(|factory| Box::new(factory) as _).collect());
        let cache = Cache::open(world.dirs.cache.join("images")).unwrap().cancelled_by(world.cancel.clone());
        Machine { world, registry, backends, cache, outputs: tempfile::tempdir().unwrap() }
    }

    fn with(backend: FakeBackend) -> Machine {
        Machine::new(vec![("fake", backend)])
    }

    fn engine(&self) -> Engine<'_> {
        Engine { cx: self.world.cx(), registry: &self.registry, cache: &self.cache, consent: &Nobody }
    }

    fn output(&self) -> PathBuf {
        self.outputs.path().join("out.tar")
    }

    fn job(&self) -> Job {
        Job {
            installable: Installable::parse(".#container").unwrap(),
            platforms: vec![system().to_oci().unwrap()],
            native: system().to_oci().unwrap(),
            created: None,
            flags: NixFlags::default(),
            backends: Vec::new(),
            backend_tables: Default::default(),
            naming: Naming::Keep,
            sinks: Sinks { outputs: vec![archive_at(&self.output())], load: None, link: None },
            mismatch: Mismatch::Refused,
            system: None,
            agreed: Agreed { yes: true, ..Agreed::default() },
            credentials: None,
        }
    }

    async fn build(&self) -> Result<BuildReport> {
        self.run(&self.job()).await
    }

    /// Builds, and checks what holds however it ends.
    async fn run(&self, job: &Job) -> Result<BuildReport> {
        let limit = Duration::from_secs(60);
        let result = tokio::time::timeout(limit, build(&self.engine(), job)).await.unwrap();
        assert_eq!(self.held(), 0, "something is held");
        result
    }

    fn held(&self) -> u32 {
        self.backends.iter().map(|backend| backend.held()).sum()
    }

    /// What is in the cache and beside the output, locks and bookkeeping aside.
    fn files(&self) -> Vec<String> {
        let dirs = [self.world.dirs.cache.join("images"), self.outputs.path().to_owned()];
        let entries = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap());
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "lock" && name != "links");
        names.sort();
        names
    }

    #[track_caller]
    fn is_clean(&self) {
        assert_eq!(self.files(), Vec::<String>::new());
    }
}

async fn error_of(fault: Fault) -> Error {
    let machine = Machine::with(faulty(fault));
    let error = machine.build().await.unwrap_err();
    machine.is_clean();
    error
}

#[tokio::test]
async fn an_image_travels_from_a_store_elsewhere_into_a_file() {
    let machine = Machine::with(good());
    let report = machine.build().await.unwrap();
    let platform = &report.images[0].platforms[0];
    assert_eq!(report.images[0].name.as_deref(), Some("hello:latest"));
    assert_eq!((platform.backend.as_str(), platform.layers.len()), ("fake", 2));
    assert_eq!(platform.store_path, store_path("image.tar"));
    let nar = nar_of(&image()).len() as u64;
    assert_eq!((report.transfer.fetched_bytes, report.transfer.reused_bytes), (nar, 0));
    let output = &report.images[0].outputs[0];
    assert_eq!(output.reference, machine.output().display().to_string());
    assert_eq!(output.platforms[0].layers[0].state, "written");
    let mut archive = tar::Archive::new(std::fs::File::open(machine.output()).unwrap());
    assert!(archive.entries().unwrap().any(|entry| entry.unwrap().path().unwrap().ends_with("index.json")));
}

#[tokio::test]
async fn the_second_build_comes_from_the_cache() {
    let machine = Machine::with(good());
    machine.build().await.unwrap();
    std::fs::remove_file(machine.output()).unwrap();
    let report = machine.build().await.unwrap();
    assert_eq!((report.transfer.fetched_bytes, machine.backends[0].fetches()), (0, 1));
    assert_eq!(report.transfer.reused_bytes, nar_of(&image()).len() as u64);
    assert!(machine.output().exists());
}

#[tokio::test]
async fn a_failed_build_is_the_backends_own_error() {
    let error = error_of(Fault::BuildFails).await;
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Build, "the fake build fails"));
}

#[tokio::test]
async fn what_vanished_is_a_transfer_error() {
    assert_eq!(error_of(Fault::Vanishes).await.kind(), ErrorKind::Transfer);
}

/// Within the NAR's header, within the image, and between the image and the end of the NAR.
fn places() -> Vec<usize> {
    let length = nar_of(&image()).len();
    vec![0, 5, 40, 112, 5000, length / 2, length - 20, length - 1]
}

#[tokio::test]
async fn a_transfer_that_breaks_off_says_what_the_sender_said() {
    for place in places() {
        let error = error_of(Fault::BreaksAfter(place)).await;
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Transfer, "the transfer broke off")
        );
    }
}

#[tokio::test]
async fn a_transfer_that_is_too_short_is_never_an_image() {
    for place in places() {
        let error = error_of(Fault::LiesAfter(place)).await;
        assert_eq!(error.kind(), ErrorKind::Transfer, "{place}: {error:?}");
    }
}

#[tokio::test]
async fn a_transfer_of_other_bytes_is_never_an_image() {
    let length = nar_of(&image()).len();
    // A layer's bytes, a tar header, the unused end of the outer archive, which no other check reads, the NAR's end.
    for place in [8, 120, 5000, length / 2, length - 700, length - 20] {
        let error = error_of(Fault::Flips(place)).await;
        assert_eq!(error.kind(), ErrorKind::Transfer, "{place}: {error:?}");
    }
}

#[tokio::test]
async fn who_declines_is_replaced_with_a_word() {
    let machine = Machine::new(vec![("alpha", faulty(Fault::Declines)), ("beta", good())]);
    let report = machine.build().await.unwrap();
    assert_eq!(report.images[0].platforms[0].backend, "beta");
    assert_eq!(machine.world.warnings(), ["alpha declines (the fake declines); beta takes over"]);
}

#[tokio::test]
async fn when_nobody_can_every_reason_is_named() {
    let machine = Machine::new(vec![
        ("alpha", faulty(Fault::Declines)),
        ("beta", faulty(Fault::NoOffer)),
        ("gamma", FakeBackend::new(&"aarch64-linux".parse().unwrap(), &image())),
    ]);
    let error = machine.build().await.unwrap_err();
    assert!(error.is(&NO_BACKEND));
    assert_eq!(error.kind().exit_code(), 20);
    let causes = error.report().causes.join("\n");
    for reason in
        ["alpha: the fake declines", "beta: the fake has no builder", "gamma: it builds for aarch64-linux"]
    {
        assert!(causes.contains(reason), "{causes}");
    }
    assert_eq!(machine.backends.iter().map(|backend| backend.builds()).sum::<u32>(), 0);
    machine.is_clean();
}

#[tokio::test]
async fn an_explicit_order_counts_and_only_who_is_named_takes_part() {
    let machine = Machine::new(vec![
        ("alpha", good()),
        ("beta", faulty(Fault::NoOffer)),
        ("gamma", good().unprovisioned()),
    ]);
    let named = |names: &[&str]| Job {
        backends: names.iter().map(|name| (*name).to_owned()).collect(),
        ..machine.job()
    };
    let report = machine.run(&machine.job()).await.unwrap();
    assert_eq!(report.images[0].platforms[0].backend, "alpha", "the readiest, then by name");
    let report = machine.run(&named(&["beta", "gamma", "alpha"])).await.unwrap();
    assert_eq!(report.images[0].platforms[0].backend, "gamma");
    assert_eq!(machine.world.warnings().len(), 1, "that beta was passed over is said");
    let error = machine.run(&named(&["beta"])).await.unwrap_err();
    assert_eq!(error.to_string(), "the fake has no builder", "of one candidate, its own reason is the error");
    assert_eq!(machine.run(&named(&["delta"])).await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_backend_that_is_not_ready_is_made_ready_where_that_is_allowed() {
    let machine = Machine::with(good().unprovisioned());
    let careful = Job { agreed: Agreed { never: true, yes: true, root: true }, ..machine.job() };
    let error = machine.run(&careful).await.unwrap_err();
    assert!(error.is(&PENDING));
    assert_eq!(error.kind().exit_code(), 75);
    assert!(error.report().causes[0].contains("pretend to be ready"));
    let plan = plan(&machine.engine(), &careful).await.unwrap();
    assert!(!plan.platforms[0].provision.is_satisfied());
    assert_eq!(machine.backends[0].builds(), 0);
    let unasked = Job { agreed: Agreed::default(), ..machine.job() };
    assert!(machine.run(&unasked).await.unwrap_err().is(&PENDING), "nobody agreed, and nobody is there");
    machine.is_clean();
    machine.build().await.unwrap();
    machine.run(&careful).await.unwrap();
}

#[tokio::test]
async fn a_project_that_was_not_given_the_credentials_is_not_evaluated_with_them() {
    let machine = Machine::with(good());
    let entrust = Entrust { source: "/p".to_owned(), names: vec!["your ssh agent".to_owned()] };
    let unasked = Job { credentials: Some(entrust), ..machine.job() };
    let error = machine.run(&unasked).await.unwrap_err();
    assert!(
        error.code() == "nixoci::credentials::not_agreed"
            && error.report().causes[0].contains("your ssh agent"),
        "{error:?}"
    );
    assert_eq!((error.kind().exit_code(), machine.backends[0].builds()), (11, 0));
    let plan = plan(&machine.engine(), &unasked).await.unwrap();
    assert!(plan.platforms[0].forecast.drv.is_none());
    machine.is_clean();
    machine.build().await.unwrap();
}

#[tokio::test]
async fn provisioning_without_effect_is_noticed() {
    let machine = Machine::with(faulty(Fault::ProvisionHasNoEffect).unprovisioned());
    let error = machine.build().await.unwrap_err();
    assert!(error.is(&PENDING) && error.report().causes[0].contains("had no effect"), "{error:?}");
    assert_eq!(machine.backends[0].builds(), 0);
}

/// Builds, and cancels when the backend has come to a stop.
async fn cancelled(fault: Fault) {
    let machine = Machine::with(faulty(fault));
    let cancel = async {
        machine.backends[0].stuck().await;
        machine.world.cancel.cancel();
    };
    let job = machine.job();
    let (result, ()) = tokio::join!(machine.run(&job), cancel);
    assert!(result.unwrap_err().is(&CANCELLED));
    machine.is_clean();
}

#[tokio::test]
async fn a_cancelled_build_ends_and_leaves_nothing() {
    cancelled(Fault::Hangs).await;
}

#[tokio::test]
async fn a_cancelled_transfer_ends_and_leaves_nothing() {
    cancelled(Fault::StallsAfter(0)).await;
    cancelled(Fault::StallsAfter(150_000)).await;
}

#[tokio::test]
async fn a_transfer_that_stands_still_is_given_up_after_one_more_try() {
    for sent in [0, 150_000] {
        let mut machine = Machine::with(faulty(Fault::StallsAfter(sent)));
        machine.world.stall_timeout = Duration::from_millis(80);
        let error = machine.run(&machine.job()).await.unwrap_err();
        assert_eq!(error.code(), "nixoci::fetch::stalled", "{error:?}");
        assert_eq!(machine.backends[0].fetches(), 2);
        machine.is_clean();
    }
}

#[test]
fn a_build_that_is_dropped_half_way_leaves_nothing_half() {
    for fault in [Fault::Hangs, Fault::StallsAfter(0), Fault::StallsAfter(150_000)] {
        let machine = Machine::with(faulty(fault));
        let job = machine.job();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let engine = machine.engine();
        runtime.block_on(async {
            tokio::select! {
                _ = build(&engine, &job) => panic!("it has ended"),
                () = machine.backends[0].stuck() => {}
            }
        });
        // Waits for the thread that reads the image.
        drop(runtime);
        machine.is_clean();
    }
}

#[tokio::test]
async fn a_sender_that_stalls_does_not_hide_what_failed_here() {
    let machine = Machine::with(faulty(Fault::StallsAfter(150_000)));
    std::fs::remove_dir_all(machine.world.dirs.cache.join("images")).unwrap();
    let error = machine.build().await.unwrap_err();
    assert!(error.is(&nixoci_image::codes::CACHE), "{error:?}");
}

#[tokio::test]
async fn two_builds_at_once_are_one_image() {
    let machine = Machine::with(good());
    let job = machine.job();
    let other = machine.outputs.path().join("other.tar");
    let second = Job {
        sinks: Sinks { outputs: vec![archive_at(&other.clone())], ..Sinks::default() },
        ..machine.job()
    };
    let engine = machine.engine();
    let (first, second) = tokio::join!(build(&engine, &job), build(&engine, &second));
    let ids = [first.unwrap(), second.unwrap()].map(|report| report.images[0].platforms[0].image_id);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(std::fs::read(machine.output()).unwrap(), std::fs::read(other).unwrap());
    assert_eq!((machine.held(), machine.files().len()), (0, 4), "{:?}", machine.files());
}

#[tokio::test]
async fn an_image_for_another_platform_goes_nowhere() {
    let machine = Machine::with(FakeBackend::new(&system(), &archive("arm64", 1000)));
    let error = machine.build().await.unwrap_err();
    assert!(error.is(&nixoci_image::codes::PLATFORM_MISMATCH), "{error:?}");
    assert_eq!(error.kind().exit_code(), 42);
    machine.is_clean();
    let lenient = Job { mismatch: Mismatch::Allowed, ..machine.job() };
    machine.run(&lenient).await.unwrap();
    // It is in the cache now; that does not make it right.
    assert_eq!(machine.build().await.unwrap_err().kind(), ErrorKind::Image);
}

#[tokio::test]
async fn what_is_no_image_goes_nowhere() {
    for bytes in [b"just a text\n".to_vec(), vec![], vec![7; 3 << 20], tar(&[("README", b"hello")])] {
        let machine = Machine::with(FakeBackend::new(&system(), &bytes));
        let error = machine.build().await.unwrap_err();
        assert_eq!(error.kind().exit_code(), 42, "{error:?}");
        machine.is_clean();
    }
}

#[tokio::test]
async fn a_destination_that_cannot_be_written_is_found_before_the_build() {
    let machine = Machine::with(good());
    for place in ["missing/out.tar", "."] {
        let outputs = vec![archive_at(&machine.outputs.path().join(place))];
        let job = Job { sinks: Sinks { outputs, ..Sinks::default() }, ..machine.job() };
        let error = machine.run(&job).await.unwrap_err();
        assert!(error.is(&nixoci_image::codes::DESTINATION_UNUSABLE), "{error:?}");
    }
    assert_eq!(machine.backends[0].builds(), 0);
    machine.is_clean();
}

#[tokio::test]
async fn a_platform_that_nix_has_no_name_for_is_refused_at_once() {
    let machine = Machine::with(good());
    for platform in ["darwin/arm64", "windows/amd64"] {
        let job = Job { platforms: vec![platform.parse().unwrap()], ..machine.job() };
        assert_eq!(machine.run(&job).await.unwrap_err().kind(), ErrorKind::Usage, "{platform}");
    }
}
