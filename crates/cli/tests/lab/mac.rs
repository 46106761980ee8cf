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

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_s_builder_builds_what_the_mac_cannot() {
    for host in [OLD, NEW] {
        let script = format!(
            "nixoci build --backend darwin-builder --platform linux/amd64 ./examples/cowsay#container --no-link \
             -t mac-cow{0}:1 --load && docker run --rm mac-cow{0}:1",
            host.docker.replace('.', "")
        );
        host.with(LINUX)
            .sh(&script)
            .code(0)
            .out("< hello world >")
            .err("is built by the backend darwin-builder");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn both_cpus_are_built_on_a_builder_that_has_both() {
    for host in [OLD, NEW] {
        let script = "dir=$(mktemp -d); nixoci build --platform linux/amd64,linux/arm64 ./examples/hello#container --no-link \
                      -t mac-both:1 -o archive:$dir/both.tar && nixoci load $dir/both.tar && docker run --rm mac-both:1 && \
                      nixoci inspect $dir/both.tar";
        host.with(ROSETTA).sh(script).code(0).out("Hello, world!").out("linux/amd64").out("linux/arm64");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_without_a_builder_is_told_the_steps() {
    let build = "nixoci build ./examples/cowsay#container --no-link";
    let run = NEW.with(NONE).sh(build).fails(75, "nixoci::backend::pending");
    run.err("nixoci provision --backend darwin-builder --platform linux/arm64 --yes")
        .err("nix build 'nixpkgs#darwin.linux-builder.nixosConfig.system.build.vm'")
        .err("nix run nixpkgs#darwin.linux-builder")
        .err("| sudo tee -a /etc/nix/machines")
        .err("nixoci explain nixoci::darwin_builder::none");
    // nix-darwin's builder has one CPU.
    let build = format!("{build} --backend darwin-builder");
    NEW.with(LINUX).sh(&build).fails(20, "nixoci::mac::system").err("linux-builder builds for x86_64-linux");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_that_is_down_is_found_out_and_named() {
    let refused = "127.0.0.1:9: Connection refused";
    let host = NEW.with(DOWN);
    host.sh(
        "nixoci build --backend darwin-builder --platform linux/amd64 ./examples/cowsay#container --no-link",
    )
    .fails(20, "nixoci::ssh::refused")
    .err(refused);
    host.sh("nixoci doctor").out(refused);
    NEW.with(LINUX).sh("nixoci doctor").code(0).out("nix-darwin's linux-builder: x86_64-linux, 2 jobs");
}
