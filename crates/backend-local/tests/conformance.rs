//! The contract of `Backend`, kept by the local backend on real Nix.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use nixoci_backend_local::{Factory, Local, Settings};
use nixoci_core::factory::TypedFactory;
use nixoci_core::request::{BuildRequest, Installable, NixArg, NixFlags};
use nixoci_nix::HostRunner;
use nixoci_testkit::{World, conformance, lab};

const TEST: &str = "the_contract_is_kept_on_every_nix_for_every_user";
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_contract_is_kept_on_every_nix_for_every_user() {
    if lab::is_inside() {
        return inside();
    }
    let program =
        std::env::var_os("NIXOCI_LAB").expect("NIXOCI_LAB names the lab's program: run `cargo xtask test`");
    let hosts = ["2.26", "2.34"].map(|nix| ["root", "alice"].map(|user| (nix, user)));
    std::thread::scope(|scope| {
        for (nix, user) in hosts.into_iter().flatten() {
            let program = &program;
            scope.spawn(move || lab::run_inside(program, &["--nix", nix, "--user", user], TEST).unwrap());
        }
    });
}

#[tokio::main]
async fn inside() {
    let backend: Local = Factory.create(Settings::default()).unwrap();
    let project = tempfile::tempdir().unwrap();
    // `sleep` is enough of a build to be stopped in its middle.
    let text = "{ system, name }: (import <nixpkgs> { inherit system; }).runCommand name { } \
                \"sleep 1.5; echo $name > $out\"";
    std::fs::write(project.path().join("default.nix"), text).unwrap();
    let requests = || request(project.path());
    let outcome = conformance::run(&backend, world, Some(&requests)).await;
    assert_eq!(outcome.failed, Vec::<String>::new());
    assert_eq!(outcome.skipped, Vec::<&str>::new());
    assert!(!outcome.passed.is_empty());
}

fn system() -> String {
    format!("{}-linux", std::env::consts::ARCH)
}

fn world() -> World {
    let mut world = World::new(&system(), Box::new(HostRunner::default())).unwrap();
    world.host.env = std::env::vars().collect();
    world
}

/// A build that nobody has done before.
fn request(project: &Path) -> BuildRequest {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unique = project.file_name().unwrap().to_string_lossy().replace(|c: char| !c.is_alphanumeric(), "");
    let name = NixArg::Str(format!("conformance-{unique}-{number}"));
    BuildRequest {
        installable: Installable::File {
            path: project.to_owned(),
            attribute: None,
            args: BTreeMap::from([("name".to_owned(), name)]),
        },
        system: system().parse().unwrap(),
        prefer: Vec::new(),
        flags: NixFlags::default(),
    }
}
