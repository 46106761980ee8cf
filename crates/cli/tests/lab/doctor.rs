//! What `nixoci doctor` says of healthy and of broken machines.

use super::*;

/// A machine, its exit code, and a script that runs before.
struct Patient {
    options: &'static [&'static str],
    before: &'static str,
    code: i32,
}

fn doctor(patient: &Patient) -> String {
    let host = NIX_2_34.with(patient.options);
    // The runtimes are another test's.
    let script = format!(
        "cd $(mktemp -d); {} nixoci doctor > out; code=$?; sed '/^runtime /,$d' out; tail -1 out; exit $code",
        patient.before
    );
    host.sh(&script).code(patient.code).out
}

/// What differs from one lab to the next.
const FILTERS: [(&str, &str); 3] = [
    ("ssh-ed25519 AAAA[A-Za-z0-9+/]+", "ssh-ed25519 [KEY]"),
    (r"\b\d+ CPUs?", "[N] CPUs"),
    (r"\b(2\.26|2\.34)\.\d+", "$1.[N]"),
];

macro_rules! says {
    ($name:literal, $code:literal, [$($option:literal),*], $before:expr) => {
        let options = &["--as", "mac", "--user", "alice", $($option),*];
        insta::with_settings!({ filters => FILTERS }, {
            insta::assert_snapshot!($name, doctor(&Patient { options, before: $before, code: $code }));
        });
    };
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_healthy_mac_and_broken_ones() {
    says!("healthy", 0, ["--with", "linux-builder", "--with", "rosetta-builder"], "");
    says!("no_builder", 0, ["--own-network"], "");
    says!("no_daemon", 20, ["--with", "linux-builder", "--without", "nix-daemon"], "");
    says!(
        "builder_down",
        20,
        ["--with", "linux-builder"],
        "export NIX_CONFIG='builders = ssh-ng://builder@127.0.0.1:9 x86_64-linux /etc/nix/builder_ed25519';"
    );
    // What answers is another machine than the one that Nix knows.
    says!(
        "another_host_key",
        20,
        ["--with", "linux-builder"],
        "export NIX_CONFIG='builders = ssh-ng://builder@linux-builder x86_64-linux /etc/nix/builder_ed25519 1 1 - - c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUpCV2N4Yi9CbGFxdDFhdU90RStGOFFVV3JVb3RpQzVxQkorVXVFV2RWQ2I=';"
    );
    says!("no_rosetta", 0, ["--with", "rosetta-builder", "--without", "rosetta"], "");
    // A name that nobody else takes.
    let own = "printf '[backend.multipass]\ninstance = \"doctors\"\n' > nixoci.toml;";
    says!("multipass", 0, ["--without", "nix", "--with", "multipass"], own);
    says!(
        "multipass_down",
        20,
        ["--without", "nix", "--with", "multipass", "--without", "multipass-daemon"],
        ""
    );
    says!("nothing_at_all", 20, ["--without", "nix"], "");
    says!("intel", 0, ["--with", "linux-builder", "--intel"], "");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn machines_over_ssh() {
    says!(
        "broken_machines",
        20,
        ["--with", "trouble"],
        "printf '[backend.remote]\nbuilders = [%s]' \"$(for m in silent closed web impostor refused nobody-home cat; do printf '{ host = \"%s\", systems = [\"x86_64-linux\"] }, ' $m; done)\" > nixoci.toml;"
    );
    says!(
        "one_of_two",
        0,
        ["--with", "trouble"],
        "printf '[backend.remote]\nbuilders = [{ host = \"bee\" }, { host = \"refused\", systems = [\"x86_64-linux\"] }]' > nixoci.toml;"
    );
}
