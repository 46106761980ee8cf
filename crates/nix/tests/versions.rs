//! The driver against every version's command line, played by `shim/nix.sh`, which refuses what a version lacks.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nixoci_core::Result;
use nixoci_core::artifact::PathInfo;
use nixoci_core::backend::{Cx, Forecast};
use nixoci_core::event::{Event, Observer};
use nixoci_core::host::{Dirs, Host};
use nixoci_core::request::{BuildRequest, Installable, NixFlags};
use nixoci_core::runner::{Command, Process, Runner};
use nixoci_core::temporary::{TemporaryFiles, Unguarded};
use nixoci_nix::nar::{HashingReader, Writer};
use nixoci_nix::{HostRunner, Nix, codes};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const PATH: &str = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-image.tar.gz";

/// Version line, and the number of the Nix whose command line it has.
const VERSIONS: &[(&str, &str)] = &[
    ("nix (Lix, like Nix) 2.91.1", "218"),
    ("nix (Nix) 2.24.14", "224"),
    ("nix (Nix) 2.26.3", "226"),
    ("nix (Determinate Nix 3.4.1) 2.28.2", "228"),
    ("nix (Nix) 2.34.8", "234"),
    ("nix (Nix) 2.36pre20260801_0123abc", "236"),
];

/// Runs the shim in Nix's place.
#[derive(Debug)]
struct ShimRunner {
    host: HostRunner,
    env: Vec<(&'static str, String)>,
}

fn shim() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/nix.sh")
}

#[async_trait]
impl Runner for ShimRunner {
    async fn spawn(&self, command: &Command) -> Result<Box<dyn Process>> {
        assert_eq!(Path::new(&command.program), shim(), "only Nix is ever started");
        assert!(!command.stdin && !command.interactive, "Nix would prompt");
        let mut shown = Command::new("sh").arg(shim()).args(command.args.clone());
        for (name, value) in &self.env {
            shown = shown.env(name, value);
        }
        self.host.spawn(&shown).await
    }

    async fn find(&self, program: &str) -> Option<PathBuf> {
        (program == "nix").then(shim)
    }
}

#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<Event>>,
    observed: Notify,
}

impl Observer for Recorder {
    fn observe(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.observed.notify_one();
    }
}

/// A machine with one version of Nix.
struct World {
    temporary: Arc<dyn TemporaryFiles>,
    dir: tempfile::TempDir,
    runner: ShimRunner,
    observer: Recorder,
    host: Host,
    dirs: Dirs,
    cancel: CancellationToken,
    info: PathInfo,
}

impl World {
    fn new(version: (&str, &str)) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.regular(false, 5, b"hello".as_slice()).unwrap();
        let nar = writer.finish().unwrap();
        let mut hashing = HashingReader::new(nar.as_slice());
        std::io::copy(&mut hashing, &mut std::io::sink()).unwrap();
        let (nar_hash, nar_size) = hashing.finish();
        std::fs::write(dir.path().join("nar"), &nar).unwrap();
        let env = vec![
            ("SHIM_VERSION", version.0.to_owned()),
            ("SHIM_BASE", version.1.to_owned()),
            ("SHIM_CALLS", dir.path().join("calls").display().to_string()),
            ("SHIM_NAR", dir.path().join("nar").display().to_string()),
            ("SHIM_HASH", nar_hash.sri()),
            ("SHIM_SIZE", nar_size.to_string()),
            ("SHIM_ATTRS", "packages.x86_64-linux.container packages.aarch64-darwin.mac".to_owned()),
        ];
        let host = Host {
            system: "x86_64-linux".parse().unwrap(),
            home: None,
            uid: 1000,
            env: BTreeMap::new(),
            cpus: 1,
        };
        let place = |name: &str| dir.path().join(name);
        let dirs = Dirs { cache: place("cache"), config: place("config"), state: place("state") };
        let info = PathInfo {
            path: PATH.parse().unwrap(),
            nar_hash,
            nar_size,
            references: vec![PATH.parse().unwrap()],
            deriver: None,
            local: None,
        };
        World {
            runner: ShimRunner { host: HostRunner::default(), env },
            observer: Recorder::default(),
            cancel: CancellationToken::new(),
            temporary: Arc::new(Unguarded),
            dir,
            host,
            dirs,
            info,
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> World {
        self.runner.env.push((name, value.to_owned()));
        self
    }

    fn cx(&self) -> Cx<'_> {
        Cx {
            cancel: &self.cancel,
            observer: &self.observer,
            runner: &self.runner,
            host: &self.host,
            dirs: &self.dirs,
            temporary: &self.temporary,
            credentials: &nixoci_core::credentials::NONE,
            stall_timeout: nixoci_core::stall::DEFAULT_LIMIT,
        }
    }

    /// How often Nix was started with these first words.
    fn calls(&self, words: &str) -> usize {
        let text = std::fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        text.lines().filter(|line| line.starts_with(words)).count()
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }
}

fn request(text: &str) -> BuildRequest {
    BuildRequest {
        installable: Installable::parse(text).unwrap(),
        system: "x86_64-linux".parse().unwrap(),
        prefer: Vec::new(),
        flags: NixFlags::default(),
    }
}

#[tokio::test]
async fn every_version_is_driven_with_flags_it_knows() {
    for &version in VERSIONS {
        let world = World::new(version);
        let cx = world.cx();
        let nix = Nix::discover(&cx).await.unwrap();
        assert_eq!(nix.version().text, version.0);
        let settings = nix.settings(&cx).await.unwrap();
        assert!(settings.builds(&"i686-linux".parse().unwrap()), "{version:?}");
        assert_eq!(nix.store_info(&cx).await.unwrap().trusted, Some(true), "{version:?}");

        let wanted = request("github:o/r#container");
        let forecast = nix.forecast(&cx, &wanted).await.unwrap();
        assert_eq!(forecast.attribute.as_deref(), Some("packages.x86_64-linux.container"));
        assert_eq!(forecast.will_build.len(), 1, "{version:?}");
        assert_eq!(forecast.output.unwrap().as_str(), PATH);

        let built = nix.build(&cx, &wanted, &Forecast::unknown(), &world.root()).await.unwrap();
        assert_eq!(built.path.as_str(), PATH, "{version:?}");
        assert_eq!(std::fs::read_link(world.root()).unwrap(), Path::new(PATH));

        let infos = nix.path_info(&cx, std::slice::from_ref(&built.path), false).await.unwrap();
        assert_eq!((infos[0].nar_hash, infos[0].nar_size), (world.info.nar_hash, world.info.nar_size));
        assert_eq!(infos[0].references, world.info.references, "{version:?}");
        assert!(infos[0].deriver.as_ref().unwrap().is_derivation());
        let mut out = Vec::new();
        assert_eq!(nix.dump(&cx, &infos[0], &mut out).await.unwrap(), world.info.nar_size);
        assert_eq!(out, std::fs::read(world.dir.path().join("nar")).unwrap());

        let invalid = "/nix/store/2mixbwv945yr64jsc6jla0384mdn9l4z-x".parse().unwrap();
        let error = nix.path_info(&cx, &[invalid], true).await.unwrap_err();
        assert!(error.is(&codes::GONE), "{version:?} {error:?}");
    }
}

#[tokio::test]
async fn what_is_too_old_or_no_nix_at_all_is_refused() {
    for (version, code) in [
        ("nix (Nix) 2.8.0", &codes::TOO_OLD),
        ("nix (Nix) 2.23.3", &codes::TOO_OLD),
        ("nix (Nix) 2.24pre20240701_abc", &codes::TOO_OLD),
        ("nix 1.2", &codes::TOO_OLD),
        ("hello", &codes::UNKNOWN_VERSION),
    ] {
        let world = World::new((version, "208"));
        let error = Nix::discover(&world.cx()).await.unwrap_err();
        assert!(error.is(code), "{version}: {error:?}");
        assert_eq!(error.kind().exit_code(), 21);
        assert!(!error.report().remedies.is_empty());
    }
}

#[tokio::test]
async fn a_build_costs_one_process_where_the_attribute_is_where_it_is_looked_up_first() {
    let world = World::new(VERSIONS[2]);
    let cx = world.cx();
    let nix = Nix::discover(&cx).await.unwrap();
    nix.build(&cx, &request("github:o/r#container"), &Forecast::unknown(), &world.root()).await.unwrap();
    assert_eq!((world.calls("build"), world.calls("eval")), (1, 0));
    let events = world.observer.events.lock().unwrap();
    let logged = events.iter().any(|event| matches!(event, Event::Log { line, .. } if line == "a line"));
    assert!(logged, "{events:?}");
}

#[tokio::test]
async fn a_name_that_is_only_among_a_macs_packages_is_found_there() {
    let mut world = World::new(VERSIONS[4]);
    world.host.system = "aarch64-darwin".parse().unwrap();
    let cx = world.cx();
    let nix = Nix::discover(&cx).await.unwrap();
    let wanted = request("github:o/r#mac");
    let forecast = nix.forecast(&cx, &wanted).await.unwrap();
    assert_eq!(forecast.attribute.as_deref(), Some("packages.aarch64-darwin.mac"));
    let before = world.calls("build");
    let built = nix.build(&cx, &wanted, &forecast, &world.root()).await.unwrap();
    assert_eq!(built.attribute.as_deref(), Some("packages.aarch64-darwin.mac"));
    assert_eq!(world.calls("build"), before + 1, "the forecast spares the lookup");
}

#[tokio::test]
async fn a_preferred_suffix_is_built_where_it_exists() {
    let world =
        World::new(VERSIONS[4]).with("SHIM_ATTRS", "packages.x86_64-linux.a.conf packages.x86_64-linux.b");
    let cx = world.cx();
    let nix = Nix::discover(&cx).await.unwrap();
    for (name, preferred) in [("a", Some("conf")), ("b", None)] {
        let wanted = BuildRequest { prefer: vec!["conf".into()], ..request(&format!("github:o/r#{name}")) };
        let built = nix.build(&cx, &wanted, &Forecast::unknown(), &world.root()).await.unwrap();
        assert_eq!(built.preferred.as_deref(), preferred);
    }
}

#[tokio::test]
async fn what_is_nowhere_is_explained() {
    let outputs = r#"{"x86_64-linux":["container"],"aarch64-darwin":["container"]}"#;
    let world = World::new(VERSIONS[2]).with("SHIM_OUTPUTS", outputs);
    let cx = world.cx();
    let nix = Nix::discover(&cx).await.unwrap();
    let build = async |text: &str, system: &str| {
        let wanted = BuildRequest { system: system.parse().unwrap(), ..request(text) };
        nix.build(&cx, &wanted, &Forecast::unknown(), &world.root()).await.unwrap_err()
    };
    let error = build("github:o/r#contaner", "x86_64-linux").await;
    assert!(error.is(&codes::NO_ATTRIBUTE), "{error:?}");
    assert_eq!(error.report().remedies[0].command.as_deref(), Some("nixoci build github:o/r#container"));
    let error = build("github:o/r#container", "riscv64-linux").await;
    assert!(error.is(&codes::NO_SYSTEM), "{error:?}");
    let error = build("github:o/r#packages.riscv64-linux.container", "riscv64-linux").await;
    assert!(error.is(&codes::NO_SYSTEM), "{error:?}");
}

#[tokio::test]
async fn a_failed_build_brings_its_log() {
    let world = World::new(VERSIONS[2]).with("SHIM_FAULT", "fail");
    let cx = world.cx();
    let nix = Nix::discover(&cx).await.unwrap();
    let wanted = request("github:o/r#container");
    let error = nix.build(&cx, &wanted, &Forecast::unknown(), &world.root()).await.unwrap_err();
    assert!(error.is(&codes::BUILD_FAILED), "{error:?}");
    assert_eq!(error.to_string(), "building image.tar.gz failed with exit code 2");
    assert_eq!(error.report().log_tail, ["a line"]);
    let log = std::fs::read_to_string(error.report().log_path.as_ref().unwrap()).unwrap();
    assert!(log.contains("image.tar.gz> a line\n") && log.contains("failed with exit code 2"), "{log}");
}

#[tokio::test]
async fn a_stream_that_is_not_what_was_recorded_is_a_transfer_error() {
    for (fault, code) in [("gone", &codes::GONE), ("short", &codes::TRANSFER), ("long", &codes::DAMAGED)] {
        let world = World::new(VERSIONS[2]).with("SHIM_FAULT", fault);
        let cx = world.cx();
        let nix = Nix::discover(&cx).await.unwrap();
        let error = nix.dump(&cx, &world.info, &mut Vec::new()).await.unwrap_err();
        assert!(error.is(code), "{fault}: {error:?}");
        assert_eq!(error.kind().exit_code(), 50, "{fault}");
    }
    // The hash is checked by whoever reads.
    let world = World::new(VERSIONS[2]).with("SHIM_FAULT", "damaged");
    let (cx, mut nar) = (world.cx(), Vec::new());
    Nix::discover(&cx).await.unwrap().dump(&cx, &world.info, &mut nar).await.unwrap();
    let mut read = HashingReader::new(nar.as_slice());
    std::io::copy(&mut read, &mut std::io::sink()).unwrap();
    assert!(read.check(&world.info).unwrap_err().is(&codes::DAMAGED));
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_transfer() {
    struct Closed;
    impl tokio::io::AsyncWrite for Closed {
        fn poll_write(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::task::Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()))
        }
        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
        fn poll_shutdown(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }
    let world = World::new(VERSIONS[2]);
    let cx = world.cx();
    let nix = Nix::discover(&cx).await.unwrap();
    let error = nix.dump(&cx, &world.info, &mut Closed).await.unwrap_err();
    assert!(error.is(&codes::TRANSFER), "{error:?}");
}

#[tokio::test]
async fn a_build_that_hangs_is_stopped() {
    let world = World::new(VERSIONS[2]).with("SHIM_FAULT", "hang");
    let cx = world.cx();
    let nix = Nix::discover(&cx).await.unwrap();
    let (stop, wanted, root) = (world.cancel.clone(), request("github:o/r#container"), world.root());
    let forecast = Forecast::unknown();
    let stopping = async {
        world.observer.observed.notified().await;
        stop.cancel();
    };
    let (result, ()) = tokio::join!(nix.build(&cx, &wanted, &forecast, &root), stopping);
    assert!(result.unwrap_err().is(&nixoci_core::codes::CANCELLED));
}
