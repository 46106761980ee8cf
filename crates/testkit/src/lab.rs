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

/// Makes a test of each host: every Nix, as root and as an ordinary user. The function of the test's name is called with a [`Host`], and with
/// the arguments of each case, if there are any. It has to return `Ok(())`.
///
/// ```text
/// on_every_host!(the_contract_is_kept);
/// fn the_contract_is_kept(host: &Host) -> Result<(), String> {
///     keeps_the_contract(host, &Factory, Settings::default(), Machines::Linux)
/// }
/// ```
#[macro_export]
macro_rules! on_every_host {
    ($test:ident) => {
        mod $test {
            $crate::on_every_host!(@hosts super::$test());
        }
    };
    ($test:ident: $($case:ident($($argument:expr),+ $(,)?)),+ $(,)?) => {
        mod $test {
            $(mod $case {
                #[expect(clippy::allow_attributes, reason = "constants may be used as arguments, or not")]
                #[allow(unused_imports, reason = "constants may be used as arguments, or not")]
                use super::super::*;
                $crate::on_every_host!(@hosts super::super::$test($($argument),+));
            })+
        }
    };
    (@hosts $($test:ident)::+ ($($argument:expr),*)) => {
        $crate::on_every_host!(@host nix_2_26_as_root, "2.26", "root", $($test)::+ ($($argument),*));
        $crate::on_every_host!(@host nix_2_26_as_alice, "2.26", "alice", $($test)::+ ($($argument),*));
        $crate::on_every_host!(@host nix_2_34_as_root, "2.34", "root", $($test)::+ ($($argument),*));
        $crate::on_every_host!(@host nix_2_34_as_alice, "2.34", "alice", $($test)::+ ($($argument),*));
    };
    (@host $case:ident, $nix:literal, $user:literal, $($test:ident)::+ ($($argument:expr),*)) => {
        #[test]
        #[ignore = "needs the lab: cargo xtask test"]
        fn $case() {
            let test = concat!(module_path!(), "::", stringify!($case));
            let host = $crate::lab::Host { nix: $nix, user: $user, test };
            assert_eq!($($test)::+(&host $(, $argument)*), Ok(()));
        }
    };
}

/// An emulated host, and the test that runs again there.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The version of Nix.
    pub nix: &'static str,
    /// The user.
    pub user: &'static str,
    /// The whole path of the test.
    pub test: &'static str,
}

impl Host {
    /// Whether this is the run on the emulated host.
    pub fn is_inside(&self) -> bool {
        std::env::var_os(INSIDE).is_some()
    }

    /// Runs the test on the host. `flags` are further flags of `lab exec`.
    ///
    /// # Errors
    /// The output of the test, if it failed; or that NIXOCI_LAB does not name the lab's program.
    pub fn run(&self, flags: &[&str]) -> Result<(), String> {
        let lab = std::env::var_os("NIXOCI_LAB");
        let lab = lab.ok_or("NIXOCI_LAB names the lab's program: run `cargo xtask test`")?;
        let flags = [flags, &["--nix", self.nix, "--user", self.user]].concat();
        // The test program knows its tests without the name of the program itself.
        let test = self.test.split_once("::").map_or(self.test, |(_, test)| test);
        run_inside(&lab, &flags, test)
    }
}

/// The machines that a backend's suite runs on.
#[derive(Clone, Copy, Debug)]
pub enum Machines {
    /// Linux machines that build for themselves.
    Linux,
    /// Emulated Macs with this beside them, a name that `lab exec --with` knows, that builds for x86_64-linux.
    MacWith(&'static str),
    /// The same, for what builds for the Mac's own CPU.
    OwnCpuWith(&'static str),
}

/// Runs the conformance suite over a backend with these settings on a host; a backend that has to be made ready is, and is removed after that.
///
/// # Errors
/// The rules that were broken or left out.
pub fn keeps_the_contract<F: TypedFactory>(
    host: &Host,
    factory: &F,
    settings: F::Settings,
    machines: Machines,
) -> Result<(), String> {
    let (flags, own, system) = match machines {
        Machines::Linux => (Vec::new(), "x86_64-linux", "x86_64-linux"),
        Machines::MacWith(with) => (vec!["--as", "mac", "--with", with], "aarch64-darwin", "x86_64-linux"),
        Machines::OwnCpuWith(with) => {
            (vec!["--as", "mac", "--with", with], "aarch64-darwin", "aarch64-linux")
        }
    };
    if !host.is_inside() {
        return host.run(&flags);
    }
    let backend = factory.create(settings).map_err(|error| error.to_string())?;
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(conform(&backend, own, system)))
        .map_err(|error| format!("the suite does not run: {error}"))?;
    if outcome.failed.is_empty() && outcome.skipped.is_empty() && !outcome.passed.is_empty() {
        return Ok(());
    }
    Err(format!("broken: {:#?}\nleft out: {:?}", outcome.failed, outcome.skipped))
}

/// Runs the suite over a backend on a host of the system `host`, with builds for `system`.
async fn conform(backend: &dyn Backend, host: &str, system: &str) -> io::Result<Outcome> {
    let project = tempfile::tempdir()?;
    // A build is stopped at its first event: half a second is long enough for that.
    let text = "{ system, name }: (import <nixpkgs> { inherit system; }).runCommand name { } \
                \"sleep 0.5; echo $name > $out\"";
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
