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
use super::yaml::Yaml;
use super::{size, zones};

/// What a guest says of itself.
#[derive(Debug, Default)]
struct Now {
    release: String,
    load: Vec<f64>,
    disk: Option<(u64, u64)>,
    memory: Option<(u64, u64)>,
}

/// An instance with what is known about it.
struct Seen {
    instance: Instance,
    now: Now,
    /// Its zone is on.
    available: bool,
    /// Whether the guest was asked.
    runtime: bool,
}

pub(super) fn info(daemon: &Daemon, profile: Profile, names: &[String], runtime: bool) -> Outcome {
    let missing = daemon.missing(names);
    if !missing.is_empty() {
        return Err(Failure::each(&missing));
    }
    let all = if names.is_empty() { daemon.names() } else { names.to_vec() };
    let mut seen = Vec::new();
    for instance in all.iter().filter_map(|name| daemon.get(name)) {
        let now = if runtime && instance.status == Status::Running {
            look(daemon, &instance).map_err(|line| Failure::each(&[line]))?
        } else {
            Now::default()
        };
        let available = zones::available(daemon, &instance);
        seen.push(Seen { instance, now, available, runtime });
    }
    let maps = seen.iter().map(|seen| (seen.instance.name.clone(), map(profile, seen)));
    let json = Json::map([("errors", Json::List(vec![])), ("info", Json::map(maps))]).print(profile);
    let mut document = vec![("errors".to_owned(), Yaml::List(vec![Yaml::Null]))];
    document
        .extend(seen.iter().map(|seen| (seen.instance.name.clone(), Yaml::List(vec![yaml(profile, seen)]))));
    let mounts = seen.iter().flat_map(|seen| &seen.instance.mounts);
    let mounts: Vec<Value> = mounts.map(|(target, mounted)| json!([mounted.source, target])).collect();
    let texts: Vec<String> = seen.iter().map(|seen| text(profile, seen)).collect();
    let table = if texts.is_empty() { "No instances found.\n".to_owned() } else { texts.join("\n") };
    Ok(json!({
        "json": json,
        "yaml": Yaml::Map(document).print(),
        "csv": csv(profile, &seen),
        "table": table,
        "mounts": mounts,
    }))
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

fn zone(instance: &Instance, available: bool) -> Json {
    Json::map([("name", Json::text(instance.zone)), ("available", Json::Bool(available))])
}

fn map(profile: Profile, seen: &Seen) -> Json {
    let Seen { instance, now, available, runtime } = seen;
    let mut entries = Vec::new();
    if profile == Profile::V17 {
        entries.push(("zone", zone(instance, *available)));
    }
    let disk = now.disk.map_or(vec![], |(used, total)| {
        vec![("used", Json::text(used.to_string())), ("total", Json::text(total.to_string()))]
    });
    let memory =
        now.memory.map_or(vec![], |(used, total)| vec![("used", number(used)), ("total", number(total))]);
    entries.extend([
        ("state", Json::text(instance.status.text())),
        ("image_hash", Json::text(instance.image.hash)),
        ("image_release", Json::text(instance.image.release())),
        ("release", Json::text(&now.release)),
        ("cpu_count", Json::text(seen.cpus())),
        ("snapshot_count", Json::text("0")),
        ("load", Json::List(now.load.iter().copied().map(Json::Number).collect())),
        ("disks", Json::map([("sda1", Json::map(disk))])),
        ("memory", Json::map(memory)),
        ("ipv4", Json::List(addresses(instance, *runtime))),
        ("mounts", mounts(instance)),
    ]);
    Json::map(entries)
}

impl Seen {
    fn cpus(&self) -> String {
        if self.now.disk.is_some() { self.instance.cpus.to_string() } else { String::new() }
    }

    fn load(&self) -> Vec<String> {
        self.now.load.iter().map(|load| format!("{load:.2}")).collect()
    }

    fn address(&self) -> String {
        let known = self.runtime && self.instance.status == Status::Running;
        if known { self.instance.address().to_string() } else { String::new() }
    }
}

/// `zone1`, as tables have it.
fn zone_text(instance: &Instance, available: bool) -> String {
    format!("{}{}", instance.zone, if available { "" } else { "(n/a)" })
}

fn yaml_zone(instance: &Instance, available: bool) -> Yaml {
    Yaml::map([("name", Yaml::text(instance.zone)), ("available", Yaml::text(available.to_string()))])
}

fn yaml(profile: Profile, seen: &Seen) -> Yaml {
    let Seen { instance, now, available, .. } = seen;
    let number = |part: Option<u64>| part.map_or(Yaml::Null, |part| Yaml::text(part.to_string()));
    let used = |pair: Option<(u64, u64)>| number(pair.map(|(used, _)| used));
    let total = |pair: Option<(u64, u64)>| number(pair.map(|(_, total)| total));
    let disk = Yaml::map([("used", used(now.disk)), ("total", total(now.disk))]);
    let ids = |pairs: &[Pair]| Yaml::List(pairs.iter().map(|each| Yaml::text(pair(each))).collect());
    let mounts = instance.mounts.iter().map(|(target, mounted)| {
        let mut entries = vec![];
        for (name, pairs) in [("uid_mappings", &mounted.uids), ("gid_mappings", &mounted.gids)] {
            if !pairs.is_empty() {
                entries.push((name, ids(pairs)));
            }
        }
        entries.push(("source_path", Yaml::text(&mounted.source)));
        (target.clone(), Yaml::map(entries))
    });
    let mut entries = vec![("state", Yaml::text(instance.status.text()))];
    if profile == Profile::V17 {
        entries.push(("zone", yaml_zone(instance, *available)));
    }
    entries.extend([
        ("snapshot_count", Yaml::text("0")),
        ("image_hash", Yaml::text(instance.image.hash)),
        ("image_release", Yaml::text(instance.image.release())),
        ("release", Yaml::text(&now.release)),
        ("cpu_count", Yaml::text(seen.cpus())),
    ]);
    if !now.load.is_empty() {
        entries.push(("load", Yaml::List(seen.load().into_iter().map(Yaml::Text).collect())));
    }
    entries.extend([
        ("disks", Yaml::List(vec![Yaml::map([("sda1", disk)])])),
        ("memory", Yaml::map([("usage", used(now.memory)), ("total", total(now.memory))])),
        (
            "ipv4",
            Yaml::List(
                Some(seen.address()).filter(|text| !text.is_empty()).map(Yaml::Text).into_iter().collect(),
            ),
        ),
        ("mounts", if instance.mounts.is_empty() { Yaml::Null } else { Yaml::map(mounts) }),
    ]);
    Yaml::map(entries)
}

/// For no instances at all there is no header.
fn csv(profile: Profile, all: &[Seen]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let header = match profile {
        Profile::V16 => "Name,State,Ipv4,Ipv6,",
        Profile::V17 => "Name,State,Zone,Zone available,Ipv4,",
    };
    let mut text = format!(
        "{header}Release,Image hash,Image release,Load,Disk usage,Disk total,Memory usage,Memory total,Mounts,AllIPv4,\
         CPU(s),Snapshots\n"
    );
    for seen in all {
        let Seen { instance, now, available, .. } = seen;
        let (name, state, address) = (&instance.name, instance.status.text(), seen.address());
        text.push_str(&match profile {
            Profile::V16 => format!("{name},{state},{address},,"),
            Profile::V17 => format!("{name},{state},{},{available},{address},", instance.zone),
        });
        let pair = |pair: Option<(u64, u64)>| {
            pair.map_or_else(|| ",".to_owned(), |(used, total)| format!("{used},{total}"))
        };
        let mounts: Vec<String> = instance
            .mounts
            .iter()
            .map(|(target, mounted)| format!("{} => {target}", mounted.source))
            .collect();
        text.push_str(&format!(
            "{},{},{},{},{},{},{},{address},{},0\n",
            now.release,
            instance.image.hash,
            instance.image.release(),
            seen.load().join(" "),
            pair(now.disk),
            pair(now.memory),
            mounts.join(";"),
            seen.cpus(),
        ));
    }
    text
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
fn text(profile: Profile, seen: &Seen) -> String {
    let Seen { instance, now, available, runtime } = seen;
    let usage = |pair: Option<(u64, u64)>| {
        pair.map_or_else(
            || "--".to_owned(),
            |(used, total)| format!("{} out of {}", size::human(used), size::human(total)),
        )
    };
    let or_dashes = |text: String| if text.is_empty() { "--".to_owned() } else { text };
    let known = *runtime && instance.status == Status::Running;
    let mut lines = vec![("Name:", instance.name.clone()), ("State:", instance.status.text().to_owned())];
    if profile == Profile::V17 {
        lines.push(("Zone:", zone_text(instance, *available)));
    }
    lines.extend([
        ("Snapshots:", "0".to_owned()),
        ("IPv4:", if known { instance.address().to_string() } else { "--".to_owned() }),
        ("Release:", or_dashes(now.release.clone())),
        ("Image hash:", format!("{} (Ubuntu {})", &instance.image.hash[..12], instance.image.release())),
        ("CPU(s):", if known { instance.cpus.to_string() } else { "--".to_owned() }),
        ("Load:", or_dashes(seen.load().join(" "))),
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
            entries.push(("zone", zone(instance, zones::available(daemon, instance))));
        }
        Json::map(entries)
    };
    let json = Json::map([("list", Json::List(all.iter().map(entry).collect()))]).print(profile);
    let on = |instance: &Instance| zones::available(daemon, instance);
    json!({
        "json": json,
        "yaml": list_yaml(profile, &all, wanted, &on),
        "csv": list_csv(profile, &all, wanted, &on),
        "table": list_text(profile, &all, wanted, &on),
    })
}

/// `list --snapshots`: there are none.
pub(super) fn snapshots(profile: Profile) -> Value {
    let json = Json::map([("errors", Json::List(vec![])), ("info", Json::Map(vec![]))]);
    json!({
        "json": json.print(profile),
        "yaml": Yaml::Null.print(),
        "csv": "Instance,Snapshot,Parent,Comment\n",
        "table": "No snapshots found.\n",
    })
}

/// An instance's address, or nothing.
fn listed(instance: &Instance, wanted: bool) -> String {
    let known = wanted && instance.status == Status::Running;
    if known { instance.address().to_string() } else { String::new() }
}

fn list_yaml(profile: Profile, all: &[Instance], wanted: bool, on: &dyn Fn(&Instance) -> bool) -> String {
    if all.is_empty() {
        return Yaml::Null.print();
    }
    let entry = |instance: &Instance| {
        let mut entries = vec![("state", Yaml::text(instance.status.text()))];
        if profile == Profile::V17 {
            entries.push(("zone", yaml_zone(instance, on(instance))));
        }
        let address = Some(listed(instance, wanted)).filter(|text| !text.is_empty()).map(Yaml::Text);
        entries.push(("ipv4", Yaml::List(address.into_iter().collect())));
        entries.push(("release", Yaml::text(format!("Ubuntu {}", instance.image.release()))));
        (instance.name.clone(), Yaml::List(vec![Yaml::map(entries)]))
    };
    Yaml::map(all.iter().map(entry)).print()
}

fn list_csv(profile: Profile, all: &[Instance], wanted: bool, on: &dyn Fn(&Instance) -> bool) -> String {
    let mut text = match profile {
        Profile::V16 => "Name,State,IPv4,IPv6,Release,AllIPv4\n",
        Profile::V17 => "Name,State,IPv4,Release,AllIPv4,Zone,Zone available\n",
    }
    .to_owned();
    for instance in all {
        let (name, state, release) = (&instance.name, instance.status.text(), instance.image.release());
        let address = listed(instance, wanted);
        text.push_str(&match profile {
            Profile::V16 => format!("{name},{state},{address},,Ubuntu {release},\"{address}\"\n"),
            Profile::V17 => format!(
                "{name},{state},{address},Ubuntu {release},\"{address}\",{},{}\n",
                instance.zone,
                on(instance)
            ),
        });
    }
    text
}

fn list_text(profile: Profile, all: &[Instance], wanted: bool, on: &dyn Fn(&Instance) -> bool) -> String {
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
        text.push_str(&row(
            &instance.name,
            instance.status.text(),
            &address,
            &image,
            &zone_text(instance, on(instance)),
        ));
    }
    text
}
