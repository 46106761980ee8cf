//! Whether builders build, proven by building; and making them ready.

mod own;
mod root;
mod write;

use super::*;
use crate::conforms::conforms;
use crate::harness::shows;
use crate::mac::{NONE, ROSETTA};

const LINUX_BUILDER: &[&str] = &["--as", "mac", "--user", "alice", "--with", "linux-builder"];
const ALICE: &[&str] = &["--user", "alice"];

/// The results of the builds of `doctor --build`: a line for each system, `aarch64-linux good`.
const BUILT: &str = "built() { nixoci doctor --build --format json \
    | jq -r '[.backends[][] | select(.title | endswith(\"-linux\")) | \"\\(.title | split(\" \") | last) \\(.verdict)\"] | unique | .[]'; }";

each!(
    doctor_proves_that_a_linux_host_builds:
    nix_2_26(NIX_2_26),
    nix_2_34(NIX_2_34),
    nix_2_26_as_a_user(NIX_2_26.with(ALICE)),
    nix_2_34_as_a_user(NIX_2_34.with(ALICE)),
);
fn doctor_proves_that_a_linux_host_builds(host: Host) {
    // Built twice, because it is never there already, and nothing is kept.
    let run = host.sh(&format!("{BUILT}\nbuilt; built; ls $XDG_CACHE_HOME/nixoci/roots | wc -l")).code(0);
    assert_eq!(
        run.out, "i686-linux good\nx86_64-linux good\ni686-linux good\nx86_64-linux good\n0\n",
        "{run:#?}"
    );
}

each!(
    doctor_proves_each_cpu_that_is_built_for:
    emulated_on_nix_2_26(NIX_2_26.with(&["--arm64"]), BOTH),
    emulated_on_nix_2_34(NIX_2_34.with(&["--arm64"]), BOTH),
    of_a_mac_s_builder_from_nix_2_26(NIX_2_26.with(LINUX_BUILDER), "x86_64-linux good\n"),
    of_a_mac_s_builder_from_nix_2_34(NIX_2_34.with(LINUX_BUILDER), "x86_64-linux good\n"),
    of_a_builder_with_rosetta_from_nix_2_26(NIX_2_26.with(ROSETTA), BOTH),
    of_a_builder_with_rosetta_from_nix_2_34(NIX_2_34.with(ROSETTA), BOTH),
);
const BOTH: &str = "aarch64-linux good\nx86_64-linux good\n";
fn doctor_proves_each_cpu_that_is_built_for(host: Host, built: &str) {
    let run = host.sh(&format!("{BUILT}\nbuilt")).code(0);
    assert_eq!(run.out, built, "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_that_answers_and_cannot_be_used_is_found_out() {
    // ssh knows no key of this host, and without one in Nix's list nobody may connect: no look from outside tells.
    let options: &[&str] = &[
        "--as",
        "mac",
        "--user",
        "root",
        "--with",
        "linux-builder",
        "--env",
        "NIX_CONFIG=builders = ssh-ng://builder@linux-builder aarch64-linux /etc/nix/builder_ed25519",
    ];
    let run = NIX_2_34.with(options).sh("nixoci doctor --format json | jq .ready; nixoci doctor --build");
    let run = run.code(20).out("true\n");
    let bad: Vec<&str> =
        run.out.lines().skip_while(|line| !line.trim_start().starts_with("bad ")).take(2).collect();
    shows("provision_builder_found_out", &bad.join("\n"));
}

/// The daemon cannot be told of a builder without root.
const DAEMON: &str = "dir=$(mktemp -d); printf '[backend.darwin-builder]\ntransport = \"daemon\"\n' > $dir/nixoci.toml; provision() { nixoci --config-file $dir/nixoci.toml provision --backend darwin-builder \"$@\"; }";

each!(
    what_is_the_administrator_s_is_told_whatever_is_agreed_to:
    nothing_on_nix_2_26(NIX_2_26, ""),
    nothing_on_nix_2_34(NIX_2_34, ""),
    everything_on_nix_2_26(NIX_2_26, "--yes --allow-root"),
    everything_on_nix_2_34(NIX_2_34, "--yes --allow-root"),
    a_platform_on_nix_2_26(NIX_2_26, "--platform linux/arm64"),
    a_platform_on_nix_2_34(NIX_2_34, "--platform linux/arm64"),
);
fn what_is_the_administrator_s_is_told_whatever_is_agreed_to(host: Host, flags: &str) {
    let run = host.with(NONE).sh(&format!("{DAEMON}; provision {flags}"));
    let run = run.fails(75, "nixoci::darwin_builder::none");
    assert!(run.out.is_empty(), "{run:#?}");
    run.says("provision_administrator");
}

each!(nothing_is_made_ready_when_that_is_forbidden: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn nothing_is_made_ready_when_that_is_forbidden(host: Host) {
    let never = "nixoci build --no-provision -y --allow-root ./examples/cowsay#container --no-link";
    host.with(NONE).sh(never).fails(75, "nixoci::backend::pending").says("provision_forbidden");
}

each!(
    where_a_backend_is_ready_there_is_nothing_to_do:
    nix_2_26(NIX_2_26),
    nix_2_34(NIX_2_34),
);
fn where_a_backend_is_ready_there_is_nothing_to_do(host: Host) {
    let run = host.sh("nixoci provision --format json; nixoci provision >&2; nixoci provision --stop >&2; nixoci provision --remove >&2").code(0);
    let document = serde_json::from_str(&run.out).unwrap();
    conforms("provision", &document);
    shows("provision_nothing_to_do", &run.err);
}

each!(a_builder_that_is_the_machine_s_own_is_left_alone: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_builder_that_is_the_machine_s_own_is_left_alone(host: Host) {
    let run = host.with(ROSETTA).sh(
        "nixoci provision --platform linux/amd64,linux/arm64 >&2; nixoci provision --stop --backend linux-builder >&2",
    );
    shows("provision_machine_s_own", &run.code(0).err);
}

each!(
    without_a_backend_there_is_nothing_to_make_ready:
    for_another_platform(NIX_2_34, "--platform linux/arm64"),
    without_nix(NIX_2_34.with(&["--without", "nix"]), ""),
);
fn without_a_backend_there_is_nothing_to_make_ready(host: Host, flags: &str) {
    host.sh(&format!("nixoci provision {flags}")).fails(20, "nixoci::backend::none");
}
