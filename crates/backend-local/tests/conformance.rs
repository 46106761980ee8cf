//! The contract of `Backend`, kept by the local backend on real Nix.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nixoci_backend_local::{Factory, Local, Settings};
use nixoci_core::factory::TypedFactory;
use nixoci_core::request::{BuildRequest, Installable, NixArg, NixFlags};
use nixoci_nix::HostRunner;
use nixoci_testkit::{World, conformance};

const TEST: &str = "the_contract_is_kept_on_every_nix_for_every_user";
/// Set where the test runs on an emulated host. (Variables of nixoci's own are those that go along.)
const INSIDE: &str = "NIXOCI_CONFORMANCE_INSIDE";

/// Takes this program from standard input, wherever cargo has put it out here, and becomes it.
const ENTER: &str = r#"set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cat > "$dir/conformance"; chmod +x "$dir/conformance"
TMPDIR=$dir "$dir/conformance" --include-ignored --exact "$0" </dev/null"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_contract_is_kept_on_every_nix_for_every_user() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let hosts = ["2.26", "2.34"].map(|nix| ["root", "alice"].map(|user| (nix, user)));
    std::thread::scope(|scope| {
        for (nix, user) in hosts.into_iter().flatten() {
            scope.spawn(move || on_host(nix, user));
        }
    });
}

/// Runs this test on an emulated host.
fn on_host(nix: &str, user: &str) {
    let lab =
        std::env::var_os("NIXOCI_LAB").expect("NIXOCI_LAB names the lab's program: run `cargo xtask test`");
    let output = Command::new(lab)
        .args(["lab", "exec", "--nix", nix, "--user", user, "--env", &format!("{INSIDE}=1"), "--"])
        .args(["bash", "-c", ENTER, TEST])
        .stdin(File::open(std::env::current_exe().unwrap()).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("test result: ok. 1 passed"),
        "Nix {nix}, {user}:\n{said}\n{errors}"
    );
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
