//! What Multipass prints as JSON, as far as nixoci uses it. Numbers are texts in some places, and absent while a virtual machine
//! does not run; fields that nobody knows are ignored.
//!
//! Source: Multipass, `src/client/cli/formatter/json_formatter.cpp`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// How a virtual machine stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs, as far as Multipass can see.
    Running,
    /// It is off.
    Stopped,
    /// It is off, with its memory kept.
    Suspended,
    /// It is gone, but its name is taken.
    Deleted,
    /// It is on its way to another state.
    Changing,
    /// It runs, and does not answer.
    Unknown,
    /// Its zone is switched off.
    Unavailable,
    /// A state of a later Multipass.
    Other(String),
}

impl From<&str> for State {
    fn from(text: &str) -> Self {
        match text {
            "Running" => State::Running,
            "Stopped" => State::Stopped,
            "Suspended" => State::Suspended,
            "Deleted" => State::Deleted,
            "Starting" | "Restarting" | "Delayed Shutdown" | "Suspending" => State::Changing,
            "Unknown" => State::Unknown,
            "Unavailable" => State::Unavailable,
            other => State::Other(other.to_owned()),
        }
    }
}

/// A virtual machine in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: State,
}

/// What is known of one virtual machine. What only a running one tells is absent otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// How it stands.
    pub state: Option<State>,
    /// What runs in it: `Ubuntu 24.04.3 LTS`.
    pub release: String,
    /// CPUs.
    pub cpus: Option<u32>,
    /// Memory in bytes: used, of all.
    pub memory: Option<(u64, u64)>,
    /// The first disk in bytes: used, of all.
    pub disk: Option<(u64, u64)>,
    /// Its addresses, the one that Multipass uses first.
    pub ipv4: Vec<String>,
    /// Directories of the host in it: where, and from where.
    pub mounts: BTreeMap<String, String>,
}

/// Understands `multipass list --format json`.
pub(crate) fn list(text: &str) -> Result<Vec<Instance>, String> {
    #[derive(Deserialize)]
    struct List {
        list: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        state: String,
    }
    let parsed: List = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let entry = |entry: Entry| Instance { state: State::from(entry.state.as_str()), name: entry.name };
    Ok(parsed.list.into_iter().map(entry).collect())
}

/// Understands `multipass info --format json NAME`.
pub(crate) fn info(text: &str, name: &str) -> Result<Info, String> {
    let all: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let one = all
        .get("info")
        .and_then(|info| info.get(name))
        .ok_or_else(|| format!("it says nothing of {name}"))?;
    let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default();
    let disks = one.get("disks").and_then(Value::as_object);
    let mounts = one.get("mounts").and_then(Value::as_object).into_iter().flatten();
    let source = |mount: &Value| mount.get("source_path").and_then(Value::as_str).map(str::to_owned);
    Ok(Info {
        state: Some(State::from(text("state"))),
        release: text("release").to_owned(),
        cpus: one.get("cpu_count").and_then(number).and_then(|cpus| u32::try_from(cpus).ok()),
        memory: one.get("memory").and_then(usage),
        disk: disks.and_then(|disks| disks.values().next()).and_then(usage),
        ipv4: one
            .get("ipv4")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        mounts: mounts.filter_map(|(place, mount)| Some((place.clone(), source(mount)?))).collect(),
    })
}

/// `{"used":…,"total":…}`.
fn usage(value: &Value) -> Option<(u64, u64)> {
    Some((number(value.get("used")?)?, number(value.get("total")?)?))
}

/// A number, or one written as a text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The versions of client and daemon in `multipass version --format json`. Without a daemon's, the daemon does not answer.
pub(crate) fn versions(text: &str) -> Result<(String, Option<String>), String> {
    let all: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let version = |key: &str| all.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok((version("multipass").ok_or("it names no version")?, version("multipassd")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_running_machine_tells_everything() {
        let text = r#"{"errors":[],"info":{"vm":{"zone":{"name":"zone1"},"state":"Running","release":"Ubuntu 24.04.3 LTS",
            "cpu_count":"4","disks":{"sda1":{"used":"1288490188","total":"5153960756"}},
            "memory":{"used":60817408,"total":1503238554},"ipv4":["10.168.32.2","172.17.0.1"],
            "mounts":{"/home/ubuntu/src":{"uid_mappings":["501:default"],"source_path":"/Users/me/src"}}}}}"#;
        let found = info(text, "vm").unwrap();
        assert_eq!((found.state, found.cpus), (Some(State::Running), Some(4)));
        assert_eq!(found.disk, Some((1_288_490_188, 5_153_960_756)));
        assert_eq!(found.memory, Some((60_817_408, 1_503_238_554)));
        assert_eq!(found.ipv4[0], "10.168.32.2");
        assert_eq!(found.mounts["/home/ubuntu/src"], "/Users/me/src");
        assert!(info(text, "other").is_err());
    }

    #[test]
    fn a_stopped_machine_tells_little() {
        let text = r#"{"errors":[],"info":{"vm":{"state":"Stopped","cpu_count":"","disks":{},"memory":{},"ipv4":[],"load":[],"release":""}}}"#;
        let found = info(text, "vm").unwrap();
        assert_eq!(
            (found.state, found.cpus, found.disk, found.memory),
            (Some(State::Stopped), None, None, None)
        );
    }

    #[test]
    fn a_list_may_be_empty_and_states_may_be_new() {
        assert_eq!(list(r#"{"list":[]}"#), Ok(Vec::new()));
        let text = r#"{"list":[{"name":"a","state":"Delayed Shutdown","ipv4":[],"release":"x"},{"name":"c","state":"Unavailable"},{"name":"b","state":"Odd"}]}"#;
        let states: Vec<State> = list(text).unwrap().into_iter().map(|one| one.state).collect();
        assert_eq!(states, [State::Changing, State::Unavailable, State::Other("Odd".into())]);
    }

    #[test]
    fn a_client_alone_has_one_version() {
        assert_eq!(versions(r#"{"multipass":"1.16.3+mac"}"#), Ok(("1.16.3+mac".into(), None)));
        assert_eq!(
            versions(r#"{"multipass":"1","multipassd":"2","update":{}}"#),
            Ok(("1".into(), Some("2".into())))
        );
    }

    proptest! {
        #[test]
        fn nothing_that_is_printed_makes_it_panic(text in "[\\[\\]{}\":,a-z0-9]{0,80}") {
            let _ = (list(&text), info(&text, "a"), versions(&text));
        }
    }
}
