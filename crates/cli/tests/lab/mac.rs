//! The emulated Mac and its Linux builders. Its user is not trusted by Nix, and may not read root's key.

use super::*;

/// A Mac whose Nix knows no builder, and with nobody at the port of nixpkgs' Linux builder.
pub(crate) const NONE: &[&str] = &["--as", "mac", "--user", "alice", "--own-network"];
const LINUX: &[&str] = &["--as", "mac", "--user", "alice", "--with", "linux-builder"];
pub(crate) const ROSETTA: &[&str] = &["--as", "mac", "--user", "alice", "--with", "rosetta-builder"];
/// A list of builders with one where nobody listens.
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
    let script = format!(
        "nixoci build --backend darwin-builder --platform linux/amd64 ./examples/cowsay#container --no-link \
         -t mac-cow{0}:1 --load && docker run --rm mac-cow{0}:1",
        host.docker.replace('.', "")
    );
    host.with(LINUX).sh(&script).code(0).out("< hello world >").err("is built by the backend darwin-builder");
}

each!(both_cpus_are_built_on_a_builder_that_has_both: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn both_cpus_are_built_on_a_builder_that_has_both(host: Host) {
    let script = "dir=$(mktemp -d); nixoci build --platform linux/amd64,linux/arm64 ./examples/hello#container --no-link \
                  -t mac-both:1 -o archive:$dir/both.tar && nixoci load $dir/both.tar && docker run --rm mac-both:1 && \
                  nixoci inspect $dir/both.tar";
    host.with(ROSETTA).sh(script).code(0).out("Hello, world!").out("linux/amd64").out("linux/arm64");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_without_a_builder_is_told_the_steps() {
    let build = "nixoci build ./examples/cowsay#container --no-link";
    let run = NIX_2_34.with(NONE).sh(build).fails(75, "nixoci::backend::pending");
    run.err("nixoci provision --backend darwin-builder --platform linux/arm64 --yes")
        .err("nix build 'nixpkgs#darwin.linux-builder.nixosConfig.system.build.vm'")
        .err("nix run nixpkgs#darwin.linux-builder")
        .err("| sudo tee -a /etc/nix/machines")
        .err("nixoci explain nixoci::darwin_builder::none");
    // nix-darwin's builder has one CPU.
    let run = NIX_2_34.with(LINUX).sh(build).fails(75, "nixoci::rosetta::none");
    run.err("linux-builder builds for x86_64-linux").err("nixpkgs#darwin.linux-builder-vz");
    NIX_2_34
        .with(LINUX)
        .sh(&build.replace("build ", "build --backend darwin-builder "))
        .fails(20, "nixoci::mac::system")
        .err("linux-builder builds for x86_64-linux");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_that_is_down_is_found_out_and_named() {
    let refused = "127.0.0.1:9: Connection refused";
    let host = NIX_2_34.with(DOWN);
    let build = "nixoci build --platform linux/amd64 ./examples/cowsay#container --no-link";
    host.sh(build).code(75).err(refused);
    host.sh(&format!("{build} --backend darwin-builder")).fails(20, "nixoci::ssh::refused").err(refused);
    host.sh("nixoci doctor").out(refused);
    NIX_2_34.with(LINUX).sh("nixoci doctor").code(0).out("nix-darwin's linux-builder: x86_64-linux, 2 jobs");
}

/// As root, who may read the builder's key, and whose settings of Nix the daemon takes.
const ROOT: &[&str] = &["--as", "mac", "--with", "linux-builder", "--with", "trouble"];

/// A small image through one transport of darwin-builder.
fn through(transport: &str, more: &str) -> String {
    format!(
        "mkdir -p $XDG_CACHE_HOME; cd $XDG_CACHE_HOME; printf '[backend.darwin-builder]\ntransport = \"{transport}\"' > nixoci.toml; \
         here={root}; nixoci plan --backend darwin-builder --platform linux/amd64 $here/examples/hello#container >&2; \
         nixoci build --backend darwin-builder --platform linux/amd64 $here/examples/hello#container -o archive:a.tar {more}",
        root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..")
    )
}

each!(every_transport_builds_for_who_may_use_it: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn every_transport_builds_for_who_may_use_it(host: Host) {
    let root = host.with(ROOT);
    for transport in ["daemon", "store", "builders"] {
        root.sh(&through(transport, "")).code(0).err(&format!("(transport {transport}, with "));
    }
    // Whoever may read the key needs no daemon to carry things to and fro.
    root.sh(&through("auto", "")).code(0).err("(transport store, with the builder's own binary caches)");
    let alice = host.with(LINUX);
    alice
        .sh(&through("auto", ""))
        .code(0)
        .err("(transport daemon, with the binary caches of this machine's daemon)");
    for transport in ["store", "builders"] {
        let run = alice.sh(&through(transport, "")).fails(22, "nixoci::ssh::key_unreadable");
        run.err("/etc/nix/builder_ed25519 may not be read by your user").err("transport = \"daemon\"");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn this_machine_s_own_binary_caches_are_not_lost() {
    // A cache that the builder does not know: with `store`, nobody would look into it.
    let script =
        "mkdir -p $XDG_CACHE_HOME/cache; export NIX_CONFIG=\"substituters = file://$XDG_CACHE_HOME/cache\"; ";
    NIX_2_34
        .with(ROOT)
        .sh(&format!("{script}{}", through("auto", "")))
        .code(0)
        .err("(transport daemon, with the binary caches of this machine's daemon)");
}

/// A derivation of its own for every run.
const TINY: &str = r#"{ system, n, features ? [ ] }: derivation { name = "t-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo hi > $out" ]; requiredSystemFeatures = features; }"#;

/// Nix says no more than that it could not connect.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn why_the_daemon_cannot_use_a_builder_is_found_out() {
    let builders = |line: &str| {
        format!(
            "key=$(awk '{{ print $8 }}' /etc/nix/machines); export NIX_CONFIG=\"builders = {line}\"; cd $(mktemp -d); printf '%s' '{TINY}' > t.nix; \
             printf '[backend.darwin-builder]\ntransport = \"daemon\"' > nixoci.toml; \
             nixoci build --backend darwin-builder --platform linux/amd64 --no-link -f t.nix --argstr n $RANDOM"
        )
    };
    let other_key = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUpCV2N4Yi9CbGFxdDFhdU90RStGOFFVV3JVb3RpQzVxQkorVXVFV2RWQ2I=";
    for host in [NIX_2_26, NIX_2_34] {
        let root = host.with(ROOT);
        let swapped = format!(
            "ssh-ng://builder@linux-builder x86_64-linux /etc/nix/builder_ed25519 1 1 - - {other_key}"
        );
        root.sh(&builders(&swapped))
            .fails(20, "nixoci::ssh::host_key_changed")
            .err("sudo launchctl kickstart -k system/org.nixos.linux-builder");
        let unknown = "ssh-ng://builder@linux-builder x86_64-linux /etc/nix/builder_ed25519";
        root.sh(&builders(unknown)).fails(20, "nixoci::ssh::host_key_unknown");
    }
    // Without ssh's configuration of linux-builder, which names the right key besides.
    let stranger = "ssh-ng://builder@127.0.0.1:31022 x86_64-linux /root/.ssh/other_ed25519 1 1 - - $key";
    NIX_2_34
        .with(ROOT)
        .sh(&builders(stranger))
        .fails(22, "nixoci::ssh::key_refused")
        .err("it does not know the key");
}

each!(what_the_builder_lacks_is_named_through_the_daemon_too: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn what_the_builder_lacks_is_named_through_the_daemon_too(host: Host) {
    let script = format!(
        "cd $(mktemp -d); printf '%s' '{TINY}' > t.nix; \
         nixoci build --platform linux/amd64 --no-link -f t.nix --argstr n $RANDOM --arg features '[ \"warp\" ]'"
    );
    host.with(LINUX)
        .sh(&script)
        .fails(20, "nixoci::nix::system_features")
        .err("no machine for x86_64-linux offers what building t-")
        .err("one offers ");
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
           nixoci backends; nixoci doctor --build
           nixoci plan --platform linux/amd64 {}/examples/hello#container
           nixoci build --platform linux/amd64 --no-link -f t.nix --argstr n $RANDOM"#,
        concat!(env!("CARGO_MANIFEST_DIR"), "/../..")
    );
    NIX_2_34
        .with(&["--as", "mac"])
        .sh(&script)
        .fails(42, "nixoci::image::not_an_image")
        .out("yes  linux/amd64     ready, emulated, on external-builders")
        .out("ok    external builder: aarch64-linux, x86_64-linux, by /tmp/")
        .out("ok    x86_64-linux: built and read back")
        .out("(external-builders): done");
}

/// Bytes that the kernel takes for a program of a CPU that nobody here has: a header, and no more.
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
        .err("nix config show");
}

each!(a_certificate_that_is_not_believed_is_no_network_that_is_down: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_certificate_that_is_not_believed_is_no_network_that_is_down(host: Host) {
    // The builder downloads it, as its own certificates are those that get lost.
    let script = r#"cd $(mktemp -d); printf '%s' '{ system }: derivation { name = "f-'$RANDOM'"; inherit system; builder = "builtin:fetchurl";
          url = "https://127.0.0.1:32317/"; outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "0000000000000000000000000000000000000000000000000000"; }' > f.nix
        nixoci build --backend darwin-builder --platform linux/amd64 --no-link -f f.nix"#;
    host.with(LINUX)
        .sh(script)
        .fails(41, "nixoci::nix::certificate")
        .err("sudo launchctl kickstart -k system/org.nixos.linux-builder");
}
