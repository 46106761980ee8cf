//! `get` and `set` of what the daemon keeps.

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::fault::Knob;
use super::instance::{self, Instance, Status};
use super::protocol::{Failure, Outcome};
use super::{Profile, size};

/// The settings of an instance.
const PROPERTIES: [&str; 4] = ["bridged", "cpus", "disk", "memory"];
/// The daemon's own.
const KEYS: [&str; 5] = [
    "local.bridged-network",
    "local.driver",
    "local.image.mirror",
    "local.passphrase",
    "local.privileged-mounts",
];

/// Every key that the daemon knows, a line for each.
pub(super) fn keys(daemon: &Daemon) -> Outcome {
    let instances = daemon.names();
    let of_instances =
        instances.iter().flat_map(|name| PROPERTIES.map(|property| format!("local.{name}.{property}")));
    Ok(Value::from(of_instances.chain(KEYS.map(str::to_owned)).collect::<Vec<String>>()))
}

/// `local.NAME.cpus`, as a name and a property.
fn of_instance(key: &str) -> Option<(&str, &str)> {
    let (name, property) = key.strip_prefix("local.")?.rsplit_once('.')?;
    PROPERTIES.contains(&property).then_some((name, property))
}

pub(super) fn unrecognized(key: &str) -> Failure {
    Failure::new(format!("Unrecognized settings key: '{key}'"))
}

fn cannot(what: &str, name: &str, reason: &str) -> Failure {
    Failure::new(format!("Cannot {what} instance settings; instance: {name}; reason: {reason}"))
}

pub(super) fn get(daemon: &Daemon, key: &str) -> Outcome {
    match key {
        "local.driver" => return Ok(json!("qemu")),
        // One for all, in life; here a host that cannot mount is a fault of the instance.
        "local.privileged-mounts" => return Ok(json!("true")),
        "local.passphrase" => return Ok(json!("false")),
        "local.image.mirror" | "local.bridged-network" => return Ok(json!("")),
        _ => {}
    }
    let (name, property) = of_instance(key).ok_or_else(|| unrecognized(key))?;
    let instance = daemon.get(name).ok_or_else(|| cannot("obtain", name, "No such instance"))?;
    Ok(json!(match property {
        "bridged" => "false".to_owned(),
        "cpus" => instance.cpus.to_string(),
        "memory" => size::human(instance.memory),
        _ => size::human(instance.disk),
    }))
}

pub(super) fn set(daemon: &Daemon, profile: Profile, key: &str, value: &str) -> Outcome {
    if matches!(key, "local.driver" | "local.privileged-mounts" | "local.passphrase") {
        return Ok(Value::Null);
    }
    let (name, property) = of_instance(key).ok_or_else(|| unrecognized(key))?;
    let instance = daemon.get(name).ok_or_else(|| cannot("update", name, "No such instance"))?;
    if instance.status == Status::Deleted {
        return Err(cannot("update", name, "Instance is deleted"));
    }
    if instance.status != Status::Stopped {
        return Err(cannot("update", name, "Instance must be stopped for modification"));
    }
    let invalid = |why: &str| Failure::new(format!("Invalid setting '{key}={value}': {why}"));
    let no_size = || invalid(&format!("{value} {}", size::INVALID));
    match property {
        "bridged" => {}
        "cpus" => {
            let few = "Need a positive integer (in decimal format) of minimum 1";
            let cpus = value.parse().ok().filter(|cpus| *cpus >= 1).ok_or_else(|| invalid(few))?;
            daemon.change(name, |instance| instance.cpus = cpus);
        }
        "memory" => {
            let bytes = size::parse(value).ok_or_else(no_size)?;
            let least = profile.least_memory();
            if size::parse(least).is_some_and(|least| bytes < least) {
                return Err(invalid(&format!("Memory less than {least} minimum not allowed")));
            }
            daemon.change(name, |instance| instance.memory = bytes);
        }
        _ => {
            let bytes = size::parse(value).ok_or_else(no_size)?;
            grow(daemon, &instance, bytes)
                .map_err(|why| why.unwrap_or_else(|| invalid("Disk can only be expanded")))?;
        }
    }
    Ok(Value::Null)
}

/// None: it would shrink.
fn grow(daemon: &Daemon, instance: &Instance, bytes: u64) -> Result<(), Option<Failure>> {
    if bytes < instance.disk {
        return Err(None);
    }
    instance::grow_disk(&daemon.state, &instance.name, bytes).map_err(|error| Some(error.into()))?;
    daemon.change(&instance.name, |instance| instance.disk = bytes);
    Ok(())
}

/// Whether instances of this name cannot have mounts here.
pub(super) fn mounts_disabled(daemon: &Daemon, name: &str) -> bool {
    Knob::MountsDisabled.is_on(&daemon.state, name)
}
