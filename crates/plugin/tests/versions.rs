//! Libraries and hosts of other versions than each other. (`cargo xtask test` and `cargo test --workspace` turn the feature on.)
#![cfg(feature = "host")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use nixoci_core::backend::How;
use nixoci_core::factory::Factory;
use nixoci_core::platform::NixSystem;
use nixoci_core::runner::Runner;
use nixoci_plugin::abi::MINOR;
use nixoci_plugin::host::codes::ABI;
use nixoci_plugin::host::{HostVersion, testing};
use nixoci_testkit::World;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn world() -> World {
    World::new("x86_64-linux", Box::new(nixoci_nix::HostRunner::default())).unwrap()
}

/// A host with a longer table than this one's, as a later minor version has.
fn newer() -> HostVersion {
    let HostVersion { minor, size } = HostVersion::default();
    HostVersion { minor: minor + 1, size: size + 8 }
}

/// The library of the first SDK: x86_64 and GNU, so elsewhere there is nothing to load.
fn first(dir: &Path) -> Option<PathBuf> {
    if !cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
        return None;
    }
    let compressed = std::fs::File::open(here("tests/v1/libnixoci_backend_echo.so.gz")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(compressed).read_to_end(&mut bytes).unwrap();
    let path = dir.join("libnixoci_backend_echo.so");
    std::fs::write(&path, bytes).unwrap();
    Some(path)
}

/// A backend in C that needs at least this minor version.
fn needs(dir: &Path, minor: u32) -> PathBuf {
    let path = dir.join(format!("libnixoci_backend_mutant_{minor}.so"));
    let compiled = Command::new("cc")
        .args(["-std=c11", "-fPIC", "-shared", "-pthread", "-I"])
        .arg(here("include"))
        .arg(format!("-DMINOR_NEEDED={minor}"))
        // Its table is longer than what this host knows of it.
        .arg("-DSIZE=(sizeof(NixociPluginV1)+8)")
        .arg(here("../../lab/plugins/mutant.c"))
        .arg("-o")
        .arg(&path)
        .status()
        .unwrap();
    assert!(compiled.success());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_library_works_with_this_host_and_with_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = first(dir.path()) else { return };
    for version in [HostVersion::default(), newer()] {
        let world = world();
        let factory = testing::load_as(&world.cx(), "echo", &library, version).await.unwrap();
        assert_eq!(factory.description().sdk, "nixoci-plugin 0.1.0");
        assert_eq!(factory.descriptor().summary, "this machine's Nix, and every question is said aloud");
        let outcome = nixoci_testkit::factory::check(&factory);
        assert_eq!(outcome.failed, Vec::<String>::new());
        // It is asked something: without a Nix here, it says so in its own words.
        let backend = factory.create(&[]).unwrap();
        let asked = backend.offers(&world.cx(), None).await;
        match nixoci_nix::HostRunner::default().find("nix").await {
            Some(_) => assert_eq!(asked.unwrap()[0].how, How::Native),
            None => assert_eq!(asked.unwrap_err().code(), "nixoci::nix::missing"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_needs_a_later_minor_is_refused_by_an_older_host_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (now, later) = (needs(dir.path(), MINOR), needs(dir.path(), MINOR + 1));
    let world = world();
    let load =
        async |library: &Path, version| testing::load_as(&world.cx(), "mutant", library, version).await;
    for (library, version) in [(&now, HostVersion::default()), (&now, newer()), (&later, newer())] {
        let backend = load(library, version).await.unwrap().create(&[]).unwrap();
        let system: NixSystem = "x86_64-linux".parse().unwrap();
        let offers = backend.offers(&world.cx(), Some(&system)).await.unwrap();
        assert_eq!(offers[0].builder.0, "c-example");
    }
    let error = load(&later, HostVersion::default()).await.unwrap_err();
    assert!(error.is(&ABI), "{error:?}");
    let causes = error.report().causes.join("; ");
    assert!(
        causes.contains(&format!("needs version 1.{}, and this nixoci speaks 1.{MINOR}", MINOR + 1)),
        "{causes}"
    );
}
