//! 1.17's availability zones. A zone that is off takes its instances with it, until it is on again.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::daemon::{DEFAULT_TIMEOUT, Daemon};
use super::fault::Knob;
use super::instance::{self, Instance, Status};
use super::json::Json;
use super::protocol::Outcome;
use super::yaml::Yaml;
use super::{Profile, net};

/// Their names. The first one is the default.
pub(super) const ZONES: [&str; 3] = ["zone1", "zone2", "zone3"];

/// Which ones are on.
#[derive(Debug)]
pub(super) struct Zones([AtomicBool; ZONES.len()]);

impl Default for Zones {
    fn default() -> Self {
        Self(ZONES.map(|_| AtomicBool::new(true)))
    }
}

impl Zones {
    fn of(&self, name: &str) -> Option<&AtomicBool> {
        self.0.get(ZONES.iter().position(|zone| *zone == name)?)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.of(name).is_some_and(|on| on.load(Ordering::Relaxed))
    }
}

/// Whether an instance's zone is on, as far as this instance knows.
pub(super) fn available(daemon: &Daemon, instance: &Instance) -> bool {
    daemon.zones.is_on(instance.zone) && !Knob::ZoneUnavailable.is_on(&daemon.state, &instance.name)
}

/// `enable-zones` and `disable-zones`. None: all of them.
pub(super) fn set(daemon: &Daemon, names: &[String], on: bool) -> Outcome {
    let named = |zone: &str| names.is_empty() || names.iter().any(|name| name == zone);
    for zone in ZONES.into_iter().filter(|zone| named(zone)) {
        if let Some(zone) = daemon.zones.of(zone) {
            zone.store(on, Ordering::Relaxed);
        }
        for name in daemon.names() {
            if daemon.get(&name).is_some_and(|instance| instance.zone == zone) {
                apply(daemon, &name);
            }
        }
    }
    Ok(Value::Null)
}

/// Makes an instance follow its zone. What ran before runs again.
pub(super) fn apply(daemon: &Daemon, name: &str) {
    let Some(before) = daemon.get(name) else { return };
    match (before.status, available(daemon, &before)) {
        (Status::Deleted | Status::Preparing | Status::Unavailable, false) => {}
        (status, false) => {
            daemon.change(name, |instance| {
                instance.status = Status::Unavailable;
                instance.was_running = status == Status::Running;
            });
            instance::stop(daemon, name, true);
        }
        (Status::Unavailable, true) => {
            let next = if before.was_running { Status::Starting } else { Status::Stopped };
            daemon.set_status(name, next);
            if before.was_running && instance::start(daemon, name, DEFAULT_TIMEOUT).is_ok() {
                instance::remount(daemon, name, &mut |_| ());
            }
        }
        (_, true) => {}
    }
}

/// `zones`, in every format.
pub(super) fn list(daemon: &Daemon, profile: Profile) -> Value {
    let zones = ZONES.map(|zone| (zone, daemon.zones.is_on(zone)));
    let json = zones.map(|(zone, on)| {
        (zone, Json::map([("available", Json::Bool(on)), ("subnet", Json::text(net::subnet()))]))
    });
    let yaml = zones.map(|(zone, on)| {
        (zone, Yaml::map([("available", Yaml::text(on.to_string())), ("subnet", Yaml::text(net::subnet()))]))
    });
    let row = |zone: &str, state: &str, subnet: &str| format!("{zone:<7}{state:<14}{subnet}\n");
    let table =
        zones.map(|(zone, on)| row(zone, if on { "Available" } else { "Unavailable" }, &net::subnet()));
    let csv = zones.map(|(zone, on)| format!("{zone},{on},{}\n", net::subnet()));
    json!({
        "json": Json::map(json).print(profile),
        "yaml": Yaml::map(yaml).print(),
        "table": row("Name", "State", "Subnet") + &table.concat(),
        "csv": format!("Name,Available,Subnet\n{}", csv.concat()),
    })
}
