//! What `doctor` looks at in a Mac's builders.

use futures_util::future::join_all;
use nixoci_core::backend::{Check, Cx};
use nixoci_core::platform::NixSystem;

use super::{Known, reach};
use crate::machines::Machine;

/// What can be said about each machine without logging in.
pub async fn checks(cx: &Cx<'_>, machines: &[Machine]) -> Vec<Check> {
    Check::of_several(join_all(machines.iter().map(|machine| check(cx, machine))).await)
}

async fn check(cx: &Cx<'_>, machine: &Machine) -> Check {
    let host = machine.host();
    match reach::trouble(cx, machine).await {
        None => Check::good(host, description(machine)),
        Some(error) => {
            let mut check = Check::failed(host, &error);
            let said = check.detail.strip_prefix(&format!("{host}: ")).unwrap_or(&check.detail).to_owned();
            check.detail = format!("{}: {said}", description(machine));
            check
        }
    }
}

fn description(machine: &Machine) -> String {
    let systems: Vec<&str> = machine.systems.iter().map(NixSystem::as_str).collect();
    let jobs =
        if machine.max_jobs == 1 { "one job".to_owned() } else { format!("{} jobs", machine.max_jobs) };
    let detail = format!("{}, {jobs}", systems.join(", "));
    match Known::named(machine.host()) {
        Some(known) if known.wakes => format!("{}: {detail} (not asked: that would start it)", known.title),
        Some(known) => format!("{}: {detail}", known.title),
        None => detail,
    }
}
