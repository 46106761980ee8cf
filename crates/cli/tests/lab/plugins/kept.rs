//! The contract: what keeps it, and what is caught breaking it.

use super::{ALICE, Host, NIX_2_26, NIX_2_34, alone};

each!(
    a_library_keeps_the_contract:
    // Other people's compilers, C, and nixoci's own backend, as root and as an ordinary user.
    in_rust_as_root(NIX_2_26, "libnixoci_backend_echo"),
    in_rust_as_a_user(NIX_2_34.with(ALICE), "libnixoci_backend_echo"),
    by_another_compiler_as_root(NIX_2_26, "second/libnixoci_backend_echo"),
    by_another_compiler_as_a_user(NIX_2_34.with(ALICE), "second/libnixoci_backend_echo"),
    in_c_as_root(NIX_2_26, "libnixoci_backend_c_example"),
    in_c_as_a_user(NIX_2_34.with(ALICE), "libnixoci_backend_c_example"),
    nixoci_s_own_as_root(NIX_2_26, "libnixoci_backend_as_local"),
    nixoci_s_own_as_a_user(NIX_2_34.with(ALICE), "libnixoci_backend_as_local"),
    a_fake_that_does_nothing_wrong(NIX_2_34.with(ALICE), "libnixoci_backend_fake"),
);
fn a_library_keeps_the_contract(host: Host, library: &str) {
    host.sh(&alone(&format!("check $plugins/{library}.so"))).code(0).out("[19,0,0]\n");
}

each!(
    the_suite_catches:
    a_build_that_fails("fake", "fault = 'build-fails'"),
    a_plugin_that_vanishes("fake", "fault = 'vanishes'"),
    a_transfer_that_breaks("fake", "fault = 'breaks-after40'"),
    a_length_that_is_a_lie("fake", "fault = 'lies-after40'"),
    a_flipped_bit("fake", "fault = 'flips100'"),
    a_proof_that_fails("fake", "fault = 'proof-fails'"),
    a_panic("fake", "fault = 'panics'"),
    garbage("mutant", "fault = 'garbage'"),
    an_answer_of_another_type("mutant", "fault = 'other-type'"),
    a_status_that_does_not_exist("mutant", "fault = 'other-status'"),
    a_cancellation_that_was_not_asked_for("mutant", "fault = 'cancelled'"),
    a_crash("mutant", "fault = 'segv'"),
);
fn the_suite_catches(library: &str, fault: &str) {
    let at = if library == "mutant" { "at = 'query'" } else { "" };
    let script = format!(
        r#"config '[backend.{library}]' "{fault}" "{at}"; nixoci plugin check $plugins/libnixoci_backend_{library}.so --format json"#
    );
    let run = NIX_2_34.with(ALICE).sh(&alone(&script));
    if library == "fake" {
        let run = run.code(70).err("\"code\":\"nixoci::plugin::contract\"");
        let report: serde_json::Value = serde_json::from_str(&run.out).unwrap();
        assert!(!report["failed"].as_array().unwrap().is_empty(), "{report}");
    } else {
        run.code(70);
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_plugin_that_makes_no_offer_breaks_no_rule() {
    let script = "config '[backend.fake]' \"fault = 'no-offer'\"; check $plugins/libnixoci_backend_fake.so";
    NIX_2_34.with(ALICE).sh(&alone(script)).code(0).out("[7,0,12]\n");
}

const MAC: &[&str] = &["--as", "mac", "--user", "alice"];
const BUILDER: &[&str] = &["--as", "mac", "--user", "alice", "--with", "linux-builder"];
const BOTH: &[&str] = &["--as", "mac", "--user", "alice", "--with", "rosetta-builder"];
const FLEET: &[&str] = &["--user", "alice", "--with", "fleet"];
const VM: &[&str] = &["--as", "mac", "--user", "alice", "--without", "nix", "--with", "multipass"];

/// The settings of a machine over ssh, which is reached with alice's own keys.
const REMOTE: &str = r#"export HOME=/home/alice; config '[backend.as-remote]' 'builders = [{ host = "ant" }]'; check $library"#;
/// A virtual machine of this name is made first, and removed at the end.
const MULTIPASS: &str = r#"config '[backend.as-multipass]' 'instance = "as-library"' 'memory = "2G"' 'disk = "10G"'; export XDG_STATE_HOME=$own/state
    trust $library; nixoci provision --backend as-multipass -y >log 2>&1 || { cat log; exit 98; }
    check $library --system aarch64-linux; nixoci provision --backend as-multipass -y --remove >log 2>&1 || cat log"#;

each!(
    a_backend_of_nixoci_s_keeps_the_contract_as_a_library:
    darwin_builder(NIX_2_34.with(BUILDER), "darwin_builder", "check $library --system x86_64-linux"),
    rosetta(NIX_2_26.with(BOTH), "rosetta", "check $library --system x86_64-linux"),
    remote(NIX_2_34.with(FLEET), "remote", REMOTE),
    cross(NIX_2_34.with(MAC), "cross", "check $library --system aarch64-linux --file slow.nix"),
    multipass(NIX_2_34.with(VM), "multipass", MULTIPASS),
);
fn a_backend_of_nixoci_s_keeps_the_contract_as_a_library(host: Host, name: &str, script: &str) {
    // The suite cancels some of these builds at their first event, or after a while where there are none: they take long enough for that.
    let script = format!(
        r#"library=$plugins/libnixoci_backend_as_{name}.so
        echo '{{ system, name }}: (import <nixpkgs> {{ inherit system; }}).runCommand name {{ }} "sleep 1.5; echo $name > $out"' > slow.nix
        {script}"#
    );
    host.sh(&alone(&script)).out("[19,0,0]\n");
}
