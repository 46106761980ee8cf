//! Nix's list of machines that builds may be sent to.
//!
//! Source of the format: Nix, `src/libstore/worker-settings.hh`, "builders", and `machines.cc`.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nixoci_core::host::Host;
use nixoci_core::platform::NixSystem;

use crate::ssh::SshHost;

/// The most that is read of a list, how deep lists may include each other, how many files are read, and how many machines are
/// taken. A list may be a project's.
const LIMIT: u64 = 1 << 20;
const DEPTH: usize = 8;
const FILES: usize = 64;
const MACHINES: usize = 1024;
/// The parameters of a store's URI that Nix is given. Source: Nix manual, "Experimental SSH Store", "Settings". A parameter
/// that is not among them (`ssh-key`, `base64-ssh-public-host-key`, `remote-store`) is told to ssh in another way, or not at all.
const PARAMETERS: [&str; 4] = ["remote-program", "compress", "max-connections", "priority"];

/// A machine that Nix knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Its store: `ssh-ng://builder@linux-builder`.
    pub uri: String,
    /// What it builds for.
    pub systems: Vec<NixSystem>,
    /// The private key that ssh is given.
    pub key: Option<PathBuf>,
    /// How many builds it does at once.
    pub max_jobs: u32,
    /// How fast it is, compared with the others.
    pub speed: f64,
    /// What derivations may ask for (`requiredSystemFeatures`).
    pub features: Vec<String>,
    /// What a derivation must ask for to be built there.
    pub mandatory: Vec<String>,
    /// The host key that is expected: `ssh-ed25519 AAAA…`.
    pub host_key: Option<String>,
    /// Where it is, if its name is ours alone and says nothing to ssh.
    pub address: Option<String>,
}

impl Machine {
    /// A machine of which only the store is known.
    #[cfg(test)]
    pub(crate) fn at(uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            systems: Vec::new(),
            key: None,
            max_jobs: 1,
            speed: 1.0,
            features: Vec::new(),
            mandatory: Vec::new(),
            host_key: None,
            address: None,
        }
    }

    /// The name that ssh knows it by: without scheme, user, port and parameters.
    pub fn host(&self) -> &str {
        self.address().0
    }

    /// What ssh is given: the user, where the URI names one, and the name.
    pub fn destination(&self) -> String {
        match self.user() {
            Some(user) => format!("{user}@{}", self.host()),
            None => self.host().to_owned(),
        }
    }

    /// The port, where the URI says it. (Nix has taken one there since 2.31.)
    pub fn port(&self) -> Option<u16> {
        self.address().1.trim_start_matches(':').parse().ok()
    }

    /// Who logs in, where the URI names one.
    pub fn user(&self) -> Option<&str> {
        let rest = self.uri.split_once("://").map_or(self.uri.as_str(), |(_, rest)| rest);
        rest.split(['?', '/']).next()?.rsplit_once('@').map(|(user, _)| user)
    }

    /// The program that serves its store, where the URI names a plain one.
    pub(crate) fn remote_program(&self) -> Option<&str> {
        let program =
            self.parameters().find_map(|(name, value)| (name == "remote-program").then_some(value))?;
        Some(program).filter(|program| !program.contains('%'))
    }

    /// The parameters of its URI.
    fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let words = self.uri.split_once('?').map_or("", |(_, words)| words);
        words.split('&').filter_map(|word| word.split_once('='))
    }

    /// Whether its URI has nothing but what may be given to Nix and to a shell of the machine.
    fn is_plain(&self) -> bool {
        self.parameters().all(|(name, value)| match name {
            "remote-program" => is_program(value),
            name => !PARAMETERS.contains(&name) || value.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        })
    }

    /// Whether its store speaks the protocol of Nix's daemon, and not the legacy one.
    pub fn is_ssh_ng(&self) -> bool {
        self.uri.starts_with("ssh-ng://")
    }

    /// Its store for a Nix whose ssh knows port and keys from our configuration. (A port in a URI is understood since 2.31
    /// only.)
    pub(crate) fn store_uri(&self) -> String {
        let known = self.parameters().filter(|(name, _)| PARAMETERS.contains(name));
        let words: Vec<String> = known.map(|(name, value)| format!("{name}={value}")).collect();
        let mark = if words.is_empty() { "" } else { "?" };
        format!("ssh-ng://{}{mark}{}", self.destination(), words.join("&"))
    }

    /// Its line in a list of builders for such a Nix.
    pub(crate) fn line(&self) -> String {
        let list = |words: &[String]| if words.is_empty() { "-".to_owned() } else { words.join(",") };
        let systems: Vec<String> = self.systems.iter().map(NixSystem::to_string).collect();
        format!(
            "{} {} - {} {} {} {} -",
            self.store_uri(),
            list(&systems),
            self.max_jobs,
            self.speed,
            list(&self.features),
            list(&self.mandatory)
        )
    }

    /// Host, and what follows it.
    fn address(&self) -> (&str, &str) {
        let rest = self.uri.split_once("://").map_or(self.uri.as_str(), |(_, rest)| rest);
        let rest = rest.split(['?', '/']).next().unwrap_or_default();
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        match host.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some(address) => address,
            None => host.split_at(host.find(':').unwrap_or(host.len())),
        }
    }

    /// The machines of a list, as `builders` in nix.conf has it: with the files that it includes. A line that cannot be
    /// read is left out, and so is a file that is not there: Nix does the same.
    pub fn list(host: &Host, own: &NixSystem, builders: &str) -> Vec<Machine> {
        let mut reading = Reading { host, own, files: 0, machines: Vec::new() };
        reading.text(builders, DEPTH);
        let all = reading.machines;
        let mut machines: Vec<Machine> = Vec::new();
        for machine in all {
            // A list may be a project's: nothing in it becomes an option of ssh.
            if SshHost::from(&machine).check().is_err() || !machine.is_plain() {
                continue;
            }
            // Nix takes a machine twice, with a line for each of its systems.
            match machines.iter_mut().find(|known| known.uri == machine.uri) {
                Some(known) => known.systems.extend(machine.systems),
                None => machines.push(machine),
            }
        }
        machines
    }
}

/// A list and the lists in it, while they are read.
struct Reading<'a> {
    host: &'a Host,
    own: &'a NixSystem,
    files: usize,
    machines: Vec<Machine>,
}

impl Reading<'_> {
    fn text(&mut self, text: &str, depth: usize) {
        for line in text.split(['\n', ';']) {
            if self.machines.len() >= MACHINES {
                return;
            }
            let line = line.split('#').next().unwrap_or_default().trim();
            match line.strip_prefix('@') {
                Some(file) if depth > 0 && self.files < FILES => {
                    self.files += 1;
                    let bytes = self.host.read(Path::new(file.trim()), LIMIT).unwrap_or_default();
                    self.text(&String::from_utf8_lossy(&bytes), depth - 1);
                }
                Some(_) => {}
                None => self.machines.extend(parse(self.own, line)),
            }
        }
    }
}

/// A program as a parameter of a URI has it, with its own words: `sudo%20nix-daemon`. A shell of the machine reads it.
fn is_program(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=~ ".contains(c);
    let text = value.replace("%20", " ").replace("%2B", "+").replace("%2F", "/");
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

fn parse(own: &NixSystem, line: &str) -> Option<Machine> {
    let mut fields = line.split_whitespace();
    let uri = fields.next()?;
    let uri = if uri.contains("://") { uri.to_owned() } else { format!("ssh://{uri}") };
    let mut next = || fields.next().filter(|field| *field != "-");
    let systems = match next() {
        Some(systems) => systems.split(',').filter_map(|system| system.parse().ok()).collect(),
        // Without the field, Nix takes it for a machine like this one.
        None => vec![own.clone()],
    };
    let key = next().map(PathBuf::from);
    let max_jobs = next().map_or(Some(1), |field| field.parse().ok())?;
    let speed = next().map_or(Some(1.0), |field| field.parse().ok())?;
    let mut words = || next().map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default();
    let (features, mandatory) = (words(), words());
    let host_key =
        next().and_then(|text| BASE64.decode(text).ok()).and_then(|key| String::from_utf8(key).ok());
    let host_key = host_key.map(|key| key.trim().to_owned());
    Some(Machine { uri, systems, key, max_jobs, speed, features, mandatory, host_key, address: None })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_list_is_read_without_a_panic(text in "[ -~\n]{0,200}", fields in "[a-z:/@?\\[\\]0-9=., -]{0,80}") {
            for text in [text, format!("ssh-ng://{fields}")] {
                for machine in Machine::list(&host(), &mac(), &text) {
                    let _ = (machine.port(), machine.user(), machine.line(), machine.destination());
                    prop_assert!(machine.uri.contains("://"));
                }
            }
        }
    }

    #[test]
    fn parameters_of_a_list_are_a_closed_list() {
        let one = |parameters: &str| {
            let list = Machine::list(&host(), &mac(), &format!("ssh-ng://bee?{parameters} x86_64-linux"));
            list.first().map(Machine::store_uri)
        };
        let right = "remote-program=sudo%20nix-daemon&compress=true";
        assert_eq!(
            one(right).as_deref(),
            Some("ssh-ng://bee?remote-program=sudo%20nix-daemon&compress=true")
        );
        assert_eq!(
            one("trusted=true&ssh-key=/k&max-connections=2").as_deref(),
            Some("ssh-ng://bee?max-connections=2")
        );
        for attack in [
            "remote-program=sh%20-c%20%27id%3E/tmp/x%27",
            "remote-program=$(id)",
            "remote-program=-oProxyCommand=x",
            "remote-program=a%0ab",
            "remote-program=",
            "compress=true%26x",
        ] {
            assert_eq!(one(attack), None, "{attack}");
        }
    }

    #[test]
    fn lists_that_include_themselves_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("machines");
        let mut text = format!("@{}\n", file.display()).repeat(60);
        text.push_str(&"bee\n".repeat(3000));
        std::fs::write(&file, text).unwrap();
        assert_eq!(Machine::list(&host(), &mac(), &format!("@{}", file.display())).len(), 1);
    }

    fn host() -> Host {
        Host { system: mac(), home: None, uid: 501, env: Default::default(), cpus: 1 }
    }

    fn mac() -> NixSystem {
        "aarch64-darwin".parse().unwrap()
    }

    fn systems(machine: &Machine) -> Vec<&str> {
        machine.systems.iter().map(NixSystem::as_str).collect()
    }

    #[test]
    fn what_nix_darwin_writes() {
        let line = "ssh-ng://builder@linux-builder aarch64-linux /etc/nix/builder_ed25519 1 1 \
                    kvm,benchmark,big-parallel - c3NoLWVkMjU1MTk=";
        let list = Machine::list(&host(), &mac(), line);
        assert_eq!((list.len(), list[0].host(), list[0].max_jobs), (1, "linux-builder", 1));
        assert_eq!(systems(&list[0]), ["aarch64-linux"]);
        assert_eq!(list[0].key.as_deref(), Some(Path::new("/etc/nix/builder_ed25519")));
        assert_eq!(list[0].features, ["kvm", "benchmark", "big-parallel"]);
        assert_eq!(list[0].host_key.as_deref(), Some("ssh-ed25519"));
        // The key is our ssh configuration's.
        assert_eq!(
            list[0].line(),
            "ssh-ng://builder@linux-builder aarch64-linux - 1 1 kvm,benchmark,big-parallel - -"
        );
    }

    #[test]
    fn missing_fields_have_nix_s_defaults() {
        let list = Machine::list(
            &host(),
            &mac(),
            "me@box ; ssh-ng://other x86_64-linux,aarch64-linux - # comment\n\n",
        );
        assert_eq!((list[0].uri.as_str(), list[0].host()), ("ssh://me@box", "box"));
        assert_eq!(systems(&list[0]), ["aarch64-darwin"]);
        assert_eq!(systems(&list[1]), ["x86_64-linux", "aarch64-linux"]);
        assert_eq!((list[1].key.as_deref(), list[1].max_jobs), (None, 1));
        assert!(Machine::list(&host(), &mac(), "ssh-ng://a x86_64-linux - many").is_empty());
    }

    #[test]
    fn files_are_included_and_may_be_absent_or_name_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("machines");
        std::fs::write(&file, format!("ssh-ng://a x86_64-linux\n@{}\n", file.display())).unwrap();
        let list = Machine::list(&host(), &mac(), &format!("@{};@/does/not/exist", file.display()));
        assert!(!list.is_empty() && list.iter().all(|machine| machine.host() == "a"));
        assert!(Machine::list(&host(), &mac(), "").is_empty());
    }

    #[test]
    fn a_line_that_would_be_an_option_of_ssh_is_left_out_and_two_of_one_machine_are_one() {
        let odd = "ssh-ng://-oProxyCommand=sh${IFS}x x86_64-linux\nssh-ng://box x86_64-linux\nssh-ng://box aarch64-linux";
        let list = Machine::list(&host(), &mac(), odd);
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].host(), systems(&list[0])), ("box", vec!["x86_64-linux", "aarch64-linux"]));
    }

    #[test]
    fn hosts_of_all_kinds_of_addresses() {
        let name = |uri: &str| Machine::list(&host(), &mac(), uri)[0].host().to_owned();
        assert_eq!(name("ssh-ng://u@h:2222?remote-program=x"), "h");
        assert_eq!(name("ssh://[::1]:22"), "::1");
        assert_eq!(name("ssh-ng://h?ssh-key=/a@b"), "h");
        let port = |uri: &str| Machine::list(&host(), &mac(), uri)[0].port();
        assert_eq!(
            (port("ssh-ng://u@h:2222"), port("ssh://[::1]:22"), port("ssh://h")),
            (Some(2222), Some(22), None)
        );
    }
}
