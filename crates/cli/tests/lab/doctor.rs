//! What `nixoci doctor` says of healthy and of broken machines.

use super::*;

each!(
    doctor_tells_how_a_mac_is:
    healthy(&["--with", "linux-builder", "--with", "rosetta-builder"], 0, "", "healthy"),
    without_a_builder(&["--own-network"], 0, "", "no_builder"),
    without_nix_s_daemon(&["--with", "linux-builder", "--without", "nix-daemon"], 20, "", "no_daemon"),
    with_a_builder_that_is_down(&["--with", "linux-builder"], 20, DOWN, "builder_down"),
    // The machine that answers is not the one that Nix knows.
    with_another_host_key(&["--with", "linux-builder"], 20, SWAPPED, "another_host_key"),
    without_rosetta(&["--with", "rosetta-builder", "--without", "rosetta"], 0, "", "no_rosetta"),
    with_multipass(&["--without", "nix", "--with", "multipass"], 0, INSTANCE, "multipass"),
    with_multipass_down(MULTIPASS_DOWN, 20, "", "multipass_down"),
    with_nothing_at_all(&["--without", "nix"], 20, "", "nothing_at_all"),
    of_intel_s(&["--with", "linux-builder", "--intel"], 0, "", "intel"),
    with_broken_machines(&["--with", "trouble"], 20, BROKEN, "broken_machines"),
    with_a_machine_of_two(&["--with", "trouble"], 0, ONE_OF_TWO, "one_of_two"),
);

const DOWN: &str =
    "export NIX_CONFIG='builders = ssh-ng://builder@127.0.0.1:9 x86_64-linux /etc/nix/builder_ed25519'";
const SWAPPED: &str = "export NIX_CONFIG='builders = ssh-ng://builder@linux-builder x86_64-linux /etc/nix/builder_ed25519 1 1 - - c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUpCV2N4Yi9CbGFxdDFhdU90RStGOFFVV3JVb3RpQzVxQkorVXVFV2RWQ2I='";
/// A name that no other test takes.
const INSTANCE: &str = "printf '[backend.multipass]\ninstance = \"doctors\"\n' > nixoci.toml";
const MULTIPASS_DOWN: &[&str] = &["--without", "nix", "--with", "multipass", "--without", "multipass-daemon"];
const BROKEN: &str = "printf '[backend.remote]\nbuilders = [%s]' \"$(for m in silent closed web impostor refused nobody-home cat; do printf '{ host = \"%s\", systems = [\"x86_64-linux\"] }, ' $m; done)\" > nixoci.toml";
const ONE_OF_TWO: &str = "printf '[backend.remote]\nbuilders = [{ host = \"bee\" }, { host = \"refused\", systems = [\"x86_64-linux\"] }]' > nixoci.toml";

fn doctor_tells_how_a_mac_is(flags: &[&'static str], code: i32, before: &str, message: &str) {
    let mac: Vec<&'static str> = ["--as", "mac", "--user", "alice"].iter().chain(flags).copied().collect();
    // The runtimes are another test's.
    let script = format!(
        "cd $(mktemp -d); {before}\nnixoci doctor > out; code=$?; sed '/^runtime /,$d' out; tail -1 out; exit $code"
    );
    let run = NIX_2_34.with(mac.leak()).sh(&script).code(code);
    crate::harness::shows(&format!("doctor_{message}"), &run.out);
}
