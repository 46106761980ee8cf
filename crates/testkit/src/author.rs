//! The suite as a backend's author runs it: one line in a test, on whatever machine there is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use nixoci_core::backend::Backend;
use nixoci_core::factory::Factory;
use nixoci_core::host::{Dirs, Host};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::{BuildRequest, Installable, NixArg, NixFlags};
use nixoci_nix::HostRunner;

use crate::conformance::{self, Outcome};
use crate::{World, factory};

/// Makes a test of a factory: `conformance!(my_backend::Factory)`.
///
/// What needs builds is done where the backend is ready for them, and left out, visibly, where it is not. With
/// `lab = "VARIABLE"` it is done where that variable is set, and must not be left out there. `settings` are the lines of its table.
#[macro_export]
macro_rules! conformance {
    ($factory:expr $(, settings = $settings:expr)? $(, lab = $lab:expr)? $(,)?) => {
        #[test]
        fn it_keeps_the_contract() {
            #[allow(unused_mut, unused_assignments, reason = "both are optional")]
            let (mut settings, mut lab): (&str, Option<&str>) = ("", None);
            $(settings = $settings;)?
            $(lab = Some($lab);)?
            match $crate::author::check(&$factory, settings, lab) {
                Ok(left_out) => left_out.iter().for_each(|rule| eprintln!("left out: {rule}")),
                Err(broken) => panic!("{broken}"),
            }
        }
    };
}

/// The body of the test that [`conformance!`](crate::conformance!) makes: the rules that were left out.
///
/// # Errors
/// The rules that are broken, one a line.
pub fn check(factory: &dyn Factory, settings: &str, lab: Option<&str>) -> Result<Vec<&'static str>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let (host, dirs) = this_machine()?;
    let world = || World::of(host.clone(), dirs.clone(), Box::new(HostRunner::default()));
    let name = factory.descriptor().name;
    let table = nixoci_core::config::BackendTable {
        file: "the test's settings".into(),
        source: format!("[backend.{name}]\n{settings}\n").into(),
        name: name.into_owned(),
    };
    let build = lab.is_none_or(|variable| std::env::var_os(variable).is_some());
    let what = if build { Build::Shell } else { Build::Nothing };
    let outcome = runtime.block_on(whole(factory, &[table], world, None, what))?;
    if lab.is_some() && build && !outcome.skipped.is_empty() {
        return Err("the backend is not ready, and the lab's variable is set".to_owned());
    }
    if outcome.failed.is_empty() { Ok(outcome.skipped) } else { Err(outcome.failed.join("\n")) }
}

/// What the suite has built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build<'a> {
    /// Nothing: what needs builds is left out.
    Nothing,
    /// What needs nothing but the shell that Nix gives every build on Linux.
    Shell,
    /// A file's function of `system` and `name`.
    File(&'a Path),
}

/// The whole suite over a factory: what needs builds too, if the backend is ready for `system` (or for this machine's own CPU).
///
/// # Errors
/// Why the suite cannot run at all.
pub async fn whole(
    factory: &dyn Factory,
    tables: &[nixoci_core::config::BackendTable],
    world: impl Fn() -> World,
    system: Option<&NixSystem>,
    build: Build<'_>,
) -> Result<Outcome, String> {
    let mut outcome = factory::check(factory);
    let backend = factory.create(tables).map_err(|error| format!("it is not made: {error:?}"))?;
    let first = world();
    let system = system.cloned().unwrap_or_else(|| first.host.system.to_linux());
    let project = tempfile::tempdir().map_err(|error| error.to_string())?;
    std::fs::write(project.path().join("default.nix"), EXPRESSION).map_err(|error| error.to_string())?;
    let file = if let Build::File(file) = build { file } else { project.path() };
    let requests = || request(file, project.path(), &system);
    let ready = build != Build::Nothing && is_ready(backend.as_ref(), &first, &system).await;
    let requests: Option<conformance::Requests<'_>> = if ready { Some(&requests) } else { None };
    outcome.add(conformance::run(backend.as_ref(), world, requests).await);
    Ok(outcome)
}

async fn is_ready(backend: &dyn Backend, world: &World, system: &NixSystem) -> bool {
    let offers = backend.offers(&world.cx(), Some(system)).await.unwrap_or_default();
    let able = offers.iter().any(|offer| offer.system == *system && offer.readiness.rank().is_some());
    let plan = backend.plan(&world.cx(), std::slice::from_ref(system)).await;
    able && plan.is_ok_and(|plan| plan.is_satisfied())
}

/// A build that takes a second or two and needs nothing but the shell that Nix gives every build on Linux. It waits at the terminal that Nix
/// makes for its messages, where nobody types anything; a shell that cannot do so looks at the clock until the time has passed.
const EXPRESSION: &str = r#"{ system, name }: derivation {
  inherit system name;
  builder = "/bin/sh";
  args = [ "-c" "read a _ < /proc/uptime; a=\${a%.*}; b=$a; while [ $((b - a)) -lt 2 ]; do read -t 1 _ <&2 2>/dev/null; read b _ < /proc/uptime; b=\${b%.*}; done; echo $name > $out" ];
}
"#;

/// A build that nobody has done before, of a function of `system` and `name`. The project's name is a part of it.
pub(crate) fn request(file: &Path, project: &Path, system: &NixSystem) -> BuildRequest {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = project.file_name().unwrap_or_default().to_string_lossy();
    let unique = name.replace(|c: char| !c.is_alphanumeric(), "");
    let name = NixArg::Str(format!("conformance-{unique}-{number}"));
    BuildRequest {
        installable: Installable::File {
            path: file.to_owned(),
            attribute: None,
            args: BTreeMap::from([("name".to_owned(), name)]),
        },
        system: system.clone(),
        prefer: Vec::new(),
        flags: NixFlags::default(),
    }
}

/// The machine that the test runs on.
fn this_machine() -> Result<(Host, Dirs), String> {
    let uname = |flag: &str| {
        let output = std::process::Command::new("uname").arg(flag).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let words = (uname("-s"), uname("-m"));
    let (Ok(kernel), Ok(machine)) = words else { return Err("`uname` does not run".to_owned()) };
    let system = NixSystem::from_uname(&kernel, &machine).ok_or("this machine is not known")?;
    let id = std::process::Command::new("id").arg("-u").output();
    let uid = id.ok().and_then(|id| String::from_utf8_lossy(&id.stdout).trim().parse().ok());
    let host = Host {
        system,
        home: std::env::home_dir(),
        uid: uid.ok_or("`id -u` does not say who this is")?,
        env: std::env::vars().collect(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let dirs = Dirs::from_host(&host).ok_or("there is no home directory")?;
    Ok((host, dirs))
}
