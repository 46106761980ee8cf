//! The conformance suite on hosts of the lab: a test that runs itself again there, over real Nix.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::process::Command;

use nixoci_core::backend::{Backend, Release};
use nixoci_core::factory::TypedFactory;
use nixoci_core::platform::NixSystem;
use nixoci_nix::HostRunner;

use crate::World;
use crate::conformance::{self, Outcome};

/// Set where the test runs on an emulated host. (Variables of nixoci's own are those that go along.)
const INSIDE: &str = "NIXOCI_CONFORMANCE_INSIDE";

/// Takes this program from standard input, wherever cargo has put it out here, and becomes it. Root's Nix has other users build in TMPDIR.
const ENTER: &str = r#"set -eu
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
chmod 711 "$dir"; cat > "$dir/conformance"; chmod +x "$dir/conformance"
TMPDIR=$dir "$dir/conformance" --include-ignored --exact "$0" </dev/null"#;

/// Whether this is the run on the emulated host.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the test of this name of this program with every Nix, as root and as an ordinary user, at once. `flags` are further
/// flags of `lab exec`.
///
/// # Errors
/// What was printed on the hosts where the test did not pass; that NIXOCI_LAB does not name the lab's program.
pub fn on_every_host(flags: &[&str], test: &str) -> Result<(), String> {
    let lab = std::env::var_os("NIXOCI_LAB");
    let lab = lab.ok_or("NIXOCI_LAB names the lab's program: run `cargo xtask test`")?;
    let hosts = ["2.26", "2.34"].map(|nix| ["root", "alice"].map(|user| ["--nix", nix, "--user", user]));
    let failures: Vec<String> = std::thread::scope(|scope| {
        let run = |host: [&'static str; 4]| {
            let flags = [flags, &host].concat();
            let lab = &lab;
            scope.spawn(move || run_inside(lab, &flags, test))
        };
        let running: Vec<_> = hosts.into_iter().flatten().map(run).collect();
        let ended =
            running.into_iter().map(|run| run.join().unwrap_or_else(|_| Err("it panicked".to_owned())));
        ended.filter_map(Result::err).collect()
    });
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// The hosts that a backend's suite runs on.
#[derive(Clone, Copy, Debug)]
pub enum Hosts {
    /// Linux machines that build for themselves.
    Linux,
    /// Emulated Macs with this beside them, a name that `lab exec --with` knows, that builds for x86_64-linux.
    MacWith(&'static str),
    /// The same, for what builds for the Mac's own CPU.
    OwnCpuWith(&'static str),
}

/// Runs the conformance suite over a backend with these settings, with every Nix, as root and as an ordinary user; a backend that
/// has to be made ready is, and is removed after that. `test` is the test that calls this: on the hosts it is run again, and runs the suite there.
///
/// # Errors
/// The rules that were broken or left out, and where.
pub fn keeps_the_contract<F: TypedFactory>(
    factory: &F,
    settings: F::Settings,
    hosts: Hosts,
    test: &str,
) -> Result<(), String> {
    let (flags, host, system) = match hosts {
        Hosts::Linux => (Vec::new(), "x86_64-linux", "x86_64-linux"),
        Hosts::MacWith(with) => (vec!["--as", "mac", "--with", with], "aarch64-darwin", "x86_64-linux"),
        Hosts::OwnCpuWith(with) => (vec!["--as", "mac", "--with", with], "aarch64-darwin", "aarch64-linux"),
    };
    if !is_inside() {
        return on_every_host(&flags, test);
    }
    let backend = factory.create(settings).map_err(|error| error.to_string())?;
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(conform(&backend, host, system)))
        .map_err(|error| format!("the suite does not run: {error}"))?;
    if outcome.failed.is_empty() && outcome.skipped.is_empty() && !outcome.passed.is_empty() {
        return Ok(());
    }
    Err(format!("broken: {:#?}\nleft out: {:?}", outcome.failed, outcome.skipped))
}

/// Runs the suite over a backend on a host of the system `host`, with builds for `system`.
async fn conform(backend: &dyn Backend, host: &str, system: &str) -> io::Result<Outcome> {
    let project = tempfile::tempdir()?;
    // `sleep` is enough of a build to be stopped in its middle.
    let text = "{ system, name }: (import <nixpkgs> { inherit system; }).runCommand name { } \
                \"sleep 1.5; echo $name > $out\"";
    std::fs::write(project.path().join("default.nix"), text)?;
    let world = || {
        #[expect(clippy::expect_used, reason = "a test that cannot start has failed")]
        let mut world = World::new(host, Box::new(HostRunner::default())).expect("a world");
        world.host.env = std::env::vars().collect();
        world
    };
    let system: NixSystem = system.parse().map_err(io::Error::other)?;
    let requests = || crate::author::request(project.path(), project.path(), &system);
    let first = world();
    let plan = backend.plan(&first.cx(), std::slice::from_ref(&system)).await.map_err(io::Error::other)?;
    backend.provision(&first.cx(), &plan).await.map_err(io::Error::other)?;
    let outcome = conformance::run(backend, world, Some(&requests)).await;
    if plan.pending().next().is_some() {
        backend.release(&first.cx(), Release::Remove).await.map_err(io::Error::other)?;
    }
    Ok(outcome)
}

/// `lab` is the lab's program.
fn run_inside(lab: &OsStr, flags: &[&str], test: &str) -> Result<(), String> {
    let run = || -> io::Result<_> {
        Command::new(lab)
            .args(["lab", "exec", "--env", &format!("{INSIDE}=1")])
            .args(flags)
            .args(["--", "bash", "-c", ENTER, test])
            .stdin(File::open(std::env::current_exe()?)?)
            .output()
    };
    let output = run().map_err(|error| format!("the lab's program does not run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && said.contains("test result: ok. 1 passed") {
        return Ok(());
    }
    Err(format!("{flags:?}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr)))
}
