//! The emulated Mac and its Linux builders. Its user is not trusted by Nix, and may not read root's key.

use super::*;
use crate::harness::shows;

/// A Mac whose Nix knows no builder, and with nothing at the port of nixpkgs' Linux builder.
pub(crate) const NONE: &[&str] = &["--as", "mac", "--user", "alice", "--own-network"];
const LINUX: &[&str] = &["--as", "mac", "--user", "alice", "--with", "linux-builder"];
pub(crate) const ROSETTA: &[&str] = &["--as", "mac", "--user", "alice", "--with", "rosetta-builder"];
/// A list of builders with one where no program listens.
const DOWN: &[&str] = &[
    "--as",
    "mac",
    "--user",
    "alice",
    "--env",
    "NIX_CONFIG=builders = ssh-ng://builder@127.0.0.1:9 x86_64-linux",
];

each!(a_mac_s_builder_builds_what_the_mac_cannot: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_mac_s_builder_builds_what_the_mac_cannot(host: Host) {
    let script = "nixoci build --backend darwin-builder --platform linux/amd64 ./examples/cowsay#container --no-link \
         -t $tag --load --format json | jq -r '.images[].platforms[].backend' && docker run --rm $tag; docker rmi $tag >&2";
    host.with(LINUX).sh(script).code(0).out("darwin-builder\n").out("< hello world >");
}

each!(both_cpus_are_built_on_a_builder_that_has_both: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn both_cpus_are_built_on_a_builder_that_has_both(host: Host) {
    let script = "cd $XDG_CACHE_HOME; nixoci build --platform linux/amd64,linux/arm64 $OLDPWD/examples/hello#container --no-link \
                  -t $tag -o archive:both.tar >&2 && nixoci load both.tar >&2 && docker run --rm $tag && \
                  nixoci inspect both.tar --format json | jq -r '.images[].platforms[].platform'; docker rmi -f $tag $tag-arm64 >&2; true";
    host.with(ROSETTA).sh(script).code(0).out("Hello, world!").out("linux/amd64\nlinux/arm64\n");
}

const BUILD: &str = "nixoci build ./examples/cowsay#container --no-link";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_without_a_builder_is_told_the_steps() {
    NIX_2_34.with(NONE).sh(BUILD).fails(75, "nixoci::backend::pending").says("mac_without_a_builder");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_whose_builder_has_the_other_cpu_is_told_the_steps() {
    // nix-darwin's builder has one CPU.
    NIX_2_34.with(LINUX).sh(BUILD).fails(75, "nixoci::rosetta::none").says("mac_with_one_cpu");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_does_not_build_for_another_cpu() {
    NIX_2_34
        .with(LINUX)
        .sh(&BUILD.replace("build ", "build --backend darwin-builder "))
        .fails(20, "nixoci::mac::system")
        .says("mac_system");
}

const BUILD_ON_ONE_THAT_IS_DOWN: &str =
    "nixoci build --platform linux/amd64 ./examples/cowsay#container --no-link";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_that_is_down_is_named_when_another_backend_would_do() {
    NIX_2_34.with(DOWN).sh(BUILD_ON_ONE_THAT_IS_DOWN).code(75).err("127.0.0.1:9: Connection refused");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_that_is_down_is_named_when_it_is_the_one_that_is_wanted() {
    NIX_2_34
        .with(DOWN)
        .sh(&format!("{BUILD_ON_ONE_THAT_IS_DOWN} --backend darwin-builder"))
        .fails(20, "nixoci::ssh::refused")
        .says("mac_builder_refuses");
}

/// As root, who may read the builder's key, and whose settings of Nix the daemon takes.
const ROOT: &[&str] = &["--as", "mac", "--with", "linux-builder", "--with", "trouble"];

/// A small image through one transport of darwin-builder; its plan's title on standard output.
fn through(transport: &str) -> String {
    format!(
        "cd $XDG_CACHE_HOME; printf '[backend.darwin-builder]\ntransport = \"{transport}\"' > nixoci.toml; here=$OLDPWD
         nixoci plan --backend darwin-builder --platform linux/amd64 $here/examples/hello#container --format json 2>/dev/null | jq -r '.platforms[].provision.steps[].title'
         nixoci build --backend darwin-builder --platform linux/amd64 $here/examples/hello#container -o archive:a.tar >/dev/null"
    )
}

each!(
    a_transport_builds:
    daemon_on_nix_2_26(NIX_2_26.with(ROOT), "daemon", "daemon"),
    daemon_on_nix_2_34(NIX_2_34.with(ROOT), "daemon", "daemon"),
    store_on_nix_2_26(NIX_2_26.with(ROOT), "store", "store"),
    store_on_nix_2_34(NIX_2_34.with(ROOT), "store", "store"),
    builders_on_nix_2_26(NIX_2_26.with(ROOT), "builders", "builders"),
    builders_on_nix_2_34(NIX_2_34.with(ROOT), "builders", "builders"),
    // A user who may read the key needs no daemon to carry things to and fro.
    chosen_for_root_on_nix_2_26(NIX_2_26.with(ROOT), "auto", "store"),
    chosen_for_root_on_nix_2_34(NIX_2_34.with(ROOT), "auto", "store"),
    chosen_for_a_user_on_nix_2_26(NIX_2_26.with(LINUX), "auto", "daemon"),
    chosen_for_a_user_on_nix_2_34(NIX_2_34.with(LINUX), "auto", "daemon"),
);
fn a_transport_builds(host: Host, transport: &str, taken: &str) {
    shows(&format!("mac_transport_{taken}"), &host.sh(&through(transport)).code(0).out);
}

each!(
    a_transport_without_the_key_is_refused:
    store_on_nix_2_26(NIX_2_26, "store"),
    store_on_nix_2_34(NIX_2_34, "store"),
    builders_on_nix_2_26(NIX_2_26, "builders"),
    builders_on_nix_2_34(NIX_2_34, "builders"),
);
fn a_transport_without_the_key_is_refused(host: Host, transport: &str) {
    host.with(LINUX)
        .sh(&through(transport))
        .fails(22, "nixoci::ssh::key_unreadable")
        .says("mac_key_unreadable");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn this_machine_s_own_binary_caches_are_not_lost() {
    // A cache that the builder does not know: with `store`, it would not be looked into.
    let script = format!(
        "mkdir -p $XDG_CACHE_HOME/cache; export NIX_CONFIG=\"substituters = file://$XDG_CACHE_HOME/cache\"; {}",
        through("auto")
    );
    shows("mac_transport_daemon", &NIX_2_34.with(ROOT).sh(&script).code(0).out);
}

/// A derivation of its own for every run.
const TINY: &str = r#"{ system, n, features ? [ ] }: derivation { name = "t-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo hi > $out" ]; requiredSystemFeatures = features; }"#;

const SWAPPED_KEY: &str = "ssh-ng://builder@linux-builder x86_64-linux /etc/nix/builder_ed25519 1 1 - - c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUpCV2N4Yi9CbGFxdDFhdU90RStGOFFVV3JVb3RpQzVxQkorVXVFV2RWQ2I=";
const UNKNOWN_KEY: &str = "ssh-ng://builder@linux-builder x86_64-linux /etc/nix/builder_ed25519";
/// Without ssh's configuration of linux-builder, which names the right key besides.
const STRANGER: &str = "ssh-ng://builder@127.0.0.1:31022 x86_64-linux /root/.ssh/other_ed25519 1 1 - - $key";

// Nix says no more than that it could not connect.
each!(
    why_the_daemon_cannot_use_a_builder_is_found_out:
    another_host_key_on_nix_2_26(NIX_2_26, SWAPPED_KEY, 20, "host_key_changed"),
    another_host_key_on_nix_2_34(NIX_2_34, SWAPPED_KEY, 20, "host_key_changed"),
    an_unknown_host_key_on_nix_2_26(NIX_2_26, UNKNOWN_KEY, 20, "host_key_unknown"),
    an_unknown_host_key_on_nix_2_34(NIX_2_34, UNKNOWN_KEY, 20, "host_key_unknown"),
    a_refused_key(NIX_2_34, STRANGER, 22, "key_refused"),
);
fn why_the_daemon_cannot_use_a_builder_is_found_out(host: Host, line: &str, exit: i32, code: &str) {
    let script = format!(
        "key=$(awk '{{ print $8 }}' /etc/nix/machines); export NIX_CONFIG=\"builders = {line}\"; cd $(mktemp -d); printf '%s' '{TINY}' > t.nix
         printf '[backend.darwin-builder]\ntransport = \"daemon\"' > nixoci.toml
         nixoci build --backend darwin-builder --platform linux/amd64 --no-link -f t.nix --argstr n $RANDOM"
    );
    host.with(ROOT).sh(&script).fails(exit, &format!("nixoci::ssh::{code}")).says(&format!("mac_{code}"));
}

each!(what_the_builder_lacks_is_named_through_the_daemon_too: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn what_the_builder_lacks_is_named_through_the_daemon_too(host: Host) {
    let script = format!(
        "cd $(mktemp -d); printf '%s' '{TINY}' > t.nix; \
         nixoci build --platform linux/amd64 --no-link -f t.nix --argstr n $RANDOM --arg features '[ \"warp\" ]'"
    );
    host.with(LINUX).sh(&script).fails(20, "nixoci::nix::system_features").says("mac_system_features");
}

/// A program that builds in Nix's place, as Determinate's native Linux builder does: Nix tells it in JSON what to run.
const EXTERNAL: &str = r#"#!/usr/bin/python3
import json, os, sys
build = json.load(open(sys.argv[-1]))
sys.stderr.write("\2\n")
sys.stderr.flush()
os.chdir(build["tmpDir"])
os.execve(build["builder"], [build["builder"]] + build["args"], build["env"])
"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_program_that_builds_in_nix_s_place_is_a_builder_too() {
    let script = format!(
        r#"dir=$(mktemp -d); cd $dir; printf '%s' '{TINY}' > t.nix; printf '%s' '{EXTERNAL}' > vm; chmod 755 vm .
           export NIX_CONFIG='extra-experimental-features = external-builders
           external-builders = [{{"systems":["aarch64-linux","x86_64-linux"],"program":"'$dir/vm'","args":[]}}]'
           nixoci backends --format json | jq -c '.backends[].offers[] | select(.builder == "external-builders") | [.system, .how, .readiness.state]'
           nixoci doctor --build --format json | jq -c '.backends["darwin-builder"][] | select((.title | endswith("-linux")) or (.detail | contains("/vm"))) | [.title, .verdict]'
           nixoci plan --platform linux/amd64 {}/examples/hello#container --format json | jq -r '.platforms[].provision.steps[].state.state' 
           nixoci build --platform linux/amd64 --no-link -f t.nix --argstr n $RANDOM"#,
        concat!(env!("CARGO_MANIFEST_DIR"), "/../..")
    );
    NIX_2_34
        .with(&["--as", "mac"])
        .sh(&script)
        .fails(42, "nixoci::image::not_an_image")
        .out("[\"x86_64-linux\",\"translated\",\"ready\"]")
        .out("[\"external builder\",\"good\"]\n")
        .out("[\"x86_64-linux\",\"good\"]\n")
        .out("\nsatisfied\n");
}

/// Bytes that the kernel takes for a program of a CPU that no machine here has: a header, and no more.
const RISCV: &str =
    r"\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\002\000\363\000\001\000\000\000";

each!(a_mac_that_is_made_to_run_linux_programs_is_told_so: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_mac_that_is_made_to_run_linux_programs_is_told_so(host: Host) {
    // With `--option system`, Nix believes that the Mac is a Linux machine, and runs the builder itself.
    let script = format!(
        r#"cd $(mktemp -d); printf '{RISCV}' > program; head -c 200 /dev/zero >> program; chmod +x program
           printf '%s' '{{ system, n }}: derivation {{ name = "t-${{n}}"; system = "riscv64-linux"; builder = ./program; }}' > t.nix
           nixoci build --backend darwin-builder --platform linux/amd64 --no-link -f t.nix --argstr n $RANDOM --option system riscv64-linux"#
    );
    let script = format!("{script} --option builders ''");
    host.with(&["--as", "mac", "--with", "linux-builder"])
        .sh(&script.replace(
            "nixoci build",
            "printf '[backend.darwin-builder]\ntransport = \"daemon\"' > nixoci.toml; nixoci build",
        ))
        .fails(40, "nixoci::nix::linux_on_mac")
        .says("mac_runs_linux_programs");
}

each!(a_certificate_that_is_not_believed_is_no_network_that_is_down: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_certificate_that_is_not_believed_is_no_network_that_is_down(host: Host) {
    // The builder downloads it, as its own certificates are those that get lost.
    let script = r#"cd $(mktemp -d); printf '%s' '{ system }: derivation { name = "f-'$RANDOM'"; inherit system; builder = "builtin:fetchurl";
          url = "https://127.0.0.1:32317/"; outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "0000000000000000000000000000000000000000000000000000"; }' > f.nix
        nixoci build --backend darwin-builder --platform linux/amd64 --no-link -f f.nix"#;
    host.with(LINUX).sh(script).fails(41, "nixoci::nix::certificate").says("mac_certificate");
}
