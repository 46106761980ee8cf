//! `info` and `list`.

use std::fs;
use std::thread;
use std::time::Duration;

use rustix::fs::statvfs;
use serde_json::{Value, json};

use super::Profile;
use super::daemon::Daemon;
use super::fault::Knob;
use super::instance::{self, Instance, Status};
use super::json::Json;
use super::net;
use super::protocol::{Failure, Outcome, Pair};
use super::size;

/// What a guest says of itself.
#[derive(Debug, Default)]
struct Now {
    release: String,
    load: Vec<f64>,
    disk: Option<(u64, u64)>,
    memory: Option<(u64, u64)>,
}

pub(super) fn info(daemon: &Daemon, profile: Profile, names: &[String], runtime: bool) -> Outcome {
    let missing = daemon.missing(names);
    if !missing.is_empty() {
        return Err(Failure::each(&missing));
    }
    let all = if names.is_empty() { daemon.names() } else { names.to_vec() };
    let mut maps = Vec::new();
    let mut mounts = Vec::new();
    let mut table = String::new();
    for instance in all.iter().filter_map(|name| daemon.get(name)) {
        let now = if runtime && instance.status == Status::Running {
            look(daemon, &instance).map_err(|line| Failure::each(&[line]))?
        } else {
            Now::default()
        };
        table.push_str(&text(profile, &instance, &now, runtime));
        maps.push((instance.name.clone(), map(profile, &instance, &now, runtime)));
        mounts.extend(instance.mounts.iter().map(|(target, mounted)| json!([mounted.source, target])));
    }
    let json = Json::map([("errors", Json::List(vec![])), ("info", Json::map(maps))]).print(profile);
    Ok(json!({ "json": json, "table": table, "mounts": mounts }))
}

/// Over ssh in life: whatever keeps that from working makes the whole command fail.
fn look(daemon: &Daemon, instance: &Instance) -> Result<Now, String> {
    while Knob::InfoWaits.is_on(&daemon.state, &instance.name) {
        thread::sleep(Duration::from_millis(20));
    }
    let failed = || format!("ssh connection failed: 'Timeout connecting to {}'", instance.address());
    let pid = instance.keeper.ok_or_else(failed)?;
    let root = format!("/proc/{pid}/root");
    if !net::answers(pid, instance.address()) {
        return Err(failed());
    }
    let release = fs::read_to_string(format!("{root}/etc/os-release")).unwrap_or_default();
    let release = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let disk = statvfs(&root).ok();
    Ok(Now {
        release: release.trim_matches('"').to_owned(),
        load: load.split(' ').take(3).filter_map(|word| word.parse().ok()).collect(),
        disk: disk
            .map(|disk| ((disk.f_blocks - disk.f_bfree) * disk.f_frsize, disk.f_blocks * disk.f_frsize)),
        memory: Some((memory_used(&instance.name).min(instance.memory), instance.memory)),
    })
}

fn memory_used(name: &str) -> u64 {
    let group = instance::group(name);
    ["memory.usage_in_bytes", "memory.current"]
        .iter()
        .find_map(|file| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok())
        .unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "JSON's numbers are what they are")]
fn number(bytes: u64) -> Json {
    Json::Number(bytes as f64)
}

fn map(profile: Profile, instance: &Instance, now: &Now, runtime: bool) -> Json {
    let seen = now.disk.is_some();
    let mut entries = Vec::new();
    if profile == Profile::V17 {
        entries.push(("zone", Json::map([("name", Json::text("zone1")), ("available", Json::Bool(true))])));
    }
    let disk = now.disk.map_or(vec![], |(used, total)| {
        vec![("used", Json::text(used.to_string())), ("total", Json::text(total.to_string()))]
    });
    let memory =
        now.memory.map_or(vec![], |(used, total)| vec![("used", number(used)), ("total", number(total))]);
    let cpus = if seen { instance.cpus.to_string() } else { String::new() };
    entries.extend([
        ("state", Json::text(instance.status.text())),
        ("image_hash", Json::text(instance.image.hash)),
        ("image_release", Json::text(instance.image.release())),
        ("release", Json::text(&now.release)),
        ("cpu_count", Json::text(cpus)),
        ("snapshot_count", Json::text("0")),
        ("load", Json::List(now.load.iter().copied().map(Json::Number).collect())),
        ("disks", Json::map([("sda1", Json::map(disk))])),
        ("memory", Json::map(memory)),
        ("ipv4", Json::List(addresses(instance, runtime))),
    ]);
    if profile == Profile::V17 {
        entries.push(("devices", Json::List(vec![])));
    }
    entries.push(("mounts", mounts(instance)));
    Json::map(entries)
}

fn addresses(instance: &Instance, wanted: bool) -> Vec<Json> {
    let known = wanted && instance.status == Status::Running;
    if known { vec![Json::text(instance.address().to_string())] } else { vec![] }
}

fn mounts(instance: &Instance) -> Json {
    Json::map(instance.mounts.iter().map(|(target, mounted)| {
        let entry = Json::map([
            ("uid_mappings", pairs(&mounted.uids)),
            ("gid_mappings", pairs(&mounted.gids)),
            ("source_path", Json::text(&mounted.source)),
        ]);
        (target.clone(), entry)
    }))
}

/// `501:default`.
pub(super) fn pair(Pair(host, guest): &Pair) -> String {
    let guest = guest.map_or_else(|| "default".to_owned(), |id| id.to_string());
    format!("{host}:{guest}")
}

fn pairs(pairs: &[Pair]) -> Json {
    Json::List(pairs.iter().map(|each| Json::text(pair(each))).collect())
}

/// `info` for people.
fn text(profile: Profile, instance: &Instance, now: &Now, runtime: bool) -> String {
    let usage = |pair: Option<(u64, u64)>| {
        pair.map_or_else(
            || "--".to_owned(),
            |(used, total)| format!("{} out of {}", size::human(used), size::human(total)),
        )
    };
    let or_dashes = |text: String| if text.is_empty() { "--".to_owned() } else { text };
    let known = runtime && instance.status == Status::Running;
    let load: Vec<String> = now.load.iter().map(|load| format!("{load:.2}")).collect();
    let mut lines = vec![("Name:", instance.name.clone()), ("State:", instance.status.text().to_owned())];
    if profile == Profile::V17 {
        lines.push(("Zone:", "zone1(a)".to_owned()));
    }
    lines.extend([
        ("Snapshots:", "0".to_owned()),
        ("IPv4:", if known { instance.address().to_string() } else { "--".to_owned() }),
        ("Release:", or_dashes(now.release.clone())),
        ("Image hash:", format!("{} (Ubuntu {})", &instance.image.hash[..12], instance.image.release())),
        ("CPU(s):", if known { instance.cpus.to_string() } else { "--".to_owned() }),
        ("Load:", or_dashes(load.join(" "))),
        ("Disk usage:", usage(now.disk)),
        ("Memory usage:", usage(now.memory)),
    ]);
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:<16}{value}\n")).collect();
    if instance.mounts.is_empty() {
        return text + "Mounts:         --\n";
    }
    let longest = instance.mounts.values().map(|mounted| mounted.source.len()).max().unwrap_or_default();
    for (n, (target, mounted)) in instance.mounts.iter().enumerate() {
        let list = |pairs: &[Pair]| pairs.iter().map(pair).collect::<Vec<_>>().join(", ");
        let label = if n == 0 { "Mounts:" } else { "" };
        text.push_str(&format!("{label:<16}{:<longest$} => {target}\n", mounted.source));
        text.push_str(&format!("{:>29}{}\n", "UID map: ", list(&mounted.uids)));
        text.push_str(&format!("{:>29}{}\n", "GID map: ", list(&mounted.gids)));
    }
    text
}

pub(super) fn list(daemon: &Daemon, profile: Profile, wanted: bool) -> Value {
    let all: Vec<Instance> = daemon.names().iter().filter_map(|name| daemon.get(name)).collect();
    let entry = |instance: &Instance| {
        let mut entries = vec![
            ("name", Json::text(&instance.name)),
            ("state", Json::text(instance.status.text())),
            ("ipv4", Json::List(addresses(instance, wanted))),
            ("release", Json::text(format!("Ubuntu {}", instance.image.release()))),
        ];
        if profile == Profile::V17 {
            entries
                .push(("zone", Json::map([("name", Json::text("zone1")), ("available", Json::Bool(true))])));
        }
        Json::map(entries)
    };
    let json = Json::map([("list", Json::List(all.iter().map(entry).collect()))]).print(profile);
    json!({ "json": json, "table": list_text(profile, &all, wanted) })
}

fn list_text(profile: Profile, all: &[Instance], wanted: bool) -> String {
    if all.is_empty() {
        return "No instances found.\n".to_owned();
    }
    let width = all.iter().map(|instance| instance.name.len()).max().unwrap_or_default().max(22) + 2;
    let row = |name: &str, state: &str, address: &str, image: &str, zone: &str| match profile {
        Profile::V16 => format!("{name:<width$}{state:<18}{address:<17}{image}\n"),
        Profile::V17 => format!("{name:<width$}{state:<18}{address:<17}{image:<20}{zone}\n"),
    };
    let mut text = row("Name", "State", "IPv4", "Image", "Zone");
    for instance in all {
        let known = wanted && instance.status == Status::Running;
        let address = if known { instance.address().to_string() } else { "--".to_owned() };
        let image = format!("Ubuntu {}", instance.image.release());
        text.push_str(&row(&instance.name, instance.status.text(), &address, &image, "zone1(a)"));
    }
    text
}
