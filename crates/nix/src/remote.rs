//! What happens on a machine whose store is used, besides what its Nix does.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nixoci_core::artifact::StorePath;
use nixoci_core::backend::Cx;
use nixoci_core::runner::{Process, quote};
use nixoci_core::{Error, Remedy, Result};

use crate::place::RemoteMachine;
use crate::ssh::codes as ssh_codes;
use crate::{codes, diagnose};

/// Where a machine may have Nix that a session without login files does not find.
const PROFILES: &str =
    "/nix/var/nix/profiles/default/bin:$HOME/.nix-profile/bin:/run/current-system/sw/bin:/usr/local/bin";

/// Makes a root of the machine's garbage collector, and keeps it for as long as the process runs: it waits for the end of
/// its input, which comes when nixoci ends, however it does.
pub(crate) async fn hold(
    cx: &Cx<'_>,
    remote: &RemoteMachine,
    path: &StorePath,
    root: &Path,
) -> Result<Box<dyn Process>> {
    // Another machine's nixoci may have our process id. What a killed shell left behind goes after a day.
    let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let name = format!("{}-{unique}", root.file_name().unwrap_or_default().to_string_lossy());
    let script = format!(
        "PATH=$PATH:{PROFILES}; d=${{XDG_STATE_HOME:-$HOME/.local/state}}/nixoci/roots; mkdir -p \"$d\" || exit; \
         find \"$d\" -type l -mtime +0 -exec rm -f {{}} + ; r=$d/{name}; trap 'rm -f \"$r\"' EXIT; \
         nix-store --realise {} --add-root \"$r\" >/dev/null 2>&1; cat >/dev/null",
        quote(path.as_str().as_ref())
    );
    let command = remote.session.script(remote.machine.host(), &script).with_stdin();
    cx.runner.spawn(&command).await
}

/// Says more about a failure than Nix does, which hides what the connection's other end had to say. `doing` is what was done
/// meanwhile: `it built`.
pub(crate) async fn explain(cx: &Cx<'_>, remote: &RemoteMachine, doing: &str, error: Error) -> Error {
    let host = remote.machine.host();
    if error.is(&codes::UNSIGNED) {
        let causes = error.report().causes.clone();
        return causes.iter().fold(diagnose::untrusted(&remote.machine.destination()), Error::because);
    }
    if !error.is(&codes::CONNECTION_LOST) {
        return error;
    }
    let there = format!(
        "command -v nix-daemon && exit; PATH={PROFILES}; p=$(command -v nix-daemon) && echo \"no $p\" || echo none"
    );
    match remote.session.ask(cx, host, &there).await {
        Ok(Some(answer)) if answer.trim() == "none" => no_nix(host),
        Ok(Some(answer)) if answer.starts_with("no ") => {
            let program = answer.trim_start_matches("no ").trim().to_owned();
            Error::new(
                &ssh_codes::NO_NIX,
                format!("{host} does not find Nix in a session that ssh opens for a command"),
            )
            .because(format!("PATH has no nix-daemon there; it is {program}"))
            .remedy(Remedy::lines(
                "name it in the builder's settings",
                format!("remote-program = {program:?}"),
            ))
        }
        Ok(_) => lost(host, doing, error),
        Err(connection) => connection.because(error),
    }
}

/// The machine has no Nix, wherever one looks.
pub(crate) fn no_nix(host: &str) -> Error {
    Error::new(&ssh_codes::NO_NIX, format!("{host} has no Nix"))
        .because("neither PATH nor the places where installers put it have one")
        .remedy(Remedy::command(
            format!("install Nix on {host}"),
            "curl -L https://nixos.org/nix/install | sh -s -- --daemon",
        ))
}

/// Asks a machine's Nix for its settings. Where its daemon's program is, its `nix` is.
pub(crate) fn settings_script(remote_program: Option<&str>) -> String {
    let beside = remote_program.and_then(|program| program.rsplit_once('/')).map_or("", |(dir, _)| dir);
    format!(
        "PATH={beside}:$PATH:{PROFILES} exec nix --extra-experimental-features nix-command config show --json"
    )
}

fn lost(host: &str, doing: &str, error: Error) -> Error {
    let said = error.report().causes.clone();
    let error = Error::new(&codes::CONNECTION_LOST, format!("the connection to {host} broke while {doing}"));
    said.iter()
        .fold(error, Error::because)
        .remedy(Remedy::command("build again: what was finished is kept there", "nixoci build"))
}
