//! Images with derivations for two kinds of systems: they are built wherever plain `nix build` builds them.

use super::*;

const ROOT: &[&str] = &["--as", "mac", "--with", "linux-builder"];
const ALICE: &[&str] = &["--as", "mac", "--user", "alice", "--with", "linux-builder"];
/// A builder of nixoci's own: alice is not trusted by the Mac's Nix.
const OWN: &[&str] = &["--as", "mac", "--user", "alice", "--own-network"];
const FLEET: &[&str] = &["--as", "mac", "--user", "alice", "--with", "fleet"];
const GUEST: &[&str] = &["--as", "mac", "--without", "nix", "--user", "alice", "--with", "multipass"];

/// An image with a text that a derivation for `other` has made of what another one for it has made, never built before.
fn image(system: &str, other: &str, toml: &str, command: &str) -> String {
    format!(
        r#"cd $(mktemp -d); printf '%s' '{toml}' > nixoci.toml; cat > default.nix <<END
let
  make = name: args: derivation {{ inherit name; system = "{other}"; builder = "/bin/sh"; args = [ "-c" args ]; }};
  word = make "word" "echo $tag > \$out";
  text = make "text" "read x < \${{word}}; echo made of \$x > \$out";
  linux = import <nixpkgs> {{ system = "{system}"; }};
in linux.dockerTools.buildLayeredImage {{ name = "$tag"; tag = "1"; contents = [ linux.hello ]; extraCommands = "cat \${{text}} \${{word}} > text"; config.Cmd = [ "/bin/hello" ]; }}
END
{command}"#
    )
}

/// Builds it, and prints the text in it.
const BUILD: &str = r#"nixoci build -f default.nix -o oci:out --no-link 2>log >&2 || { cat log >&2; exit 1; }
for blob in out/blobs/sha256/*; do { zcat $blob 2>/dev/null || cat $blob; } | tar xO ./text text 2>/dev/null; done; grep -c 'copied$' log; true"#;

each!(what_is_for_the_mac_is_built_on_the_mac:
    store_2_26(NIX_2_26, ROOT, "darwin-builder", "store", 1), store_2_34(NIX_2_34, ROOT, "darwin-builder", "store", 1),
    builders_2_26(NIX_2_26, ROOT, "darwin-builder", "builders", 1), builders_2_34(NIX_2_34, ROOT, "darwin-builder", "builders", 1),
    daemon_2_26(NIX_2_26, ALICE, "darwin-builder", "daemon", 0), daemon_2_34(NIX_2_34, ALICE, "darwin-builder", "daemon", 0),
);
fn what_is_for_the_mac_is_built_on_the_mac(
    host: Host,
    options: &'static [&'static str],
    backend: &str,
    transport: &str,
    copied: usize,
) {
    let toml = format!("[backend.{backend}]\ntransport = \"{transport}\"\n");
    let build = BUILD.replace("build -f", &format!("build --backend {backend} --platform linux/amd64 -f"));
    let run = host.with(options).sh(&image("x86_64-linux", "aarch64-darwin", &toml, &build)).code(0);
    let lines: Vec<&str> = run.out.lines().collect();
    assert!(lines.len() == 3 && lines[0] == format!("made of {}", lines[1]), "{run:#?}");
    assert_eq!(lines[2], copied.to_string(), "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_of_nixoci_s_own_gets_what_the_mac_has_built() {
    let build = BUILD.replace("build -f", "build --platform linux/arm64 -y -f");
    let build = format!(
        "export XDG_STATE_HOME=$(mktemp -d); trap 'nixoci provision --backend linux-builder --remove --yes >/dev/null 2>&1
            chmod -R u+w $XDG_CACHE_HOME; rm -rf $XDG_STATE_HOME $XDG_CACHE_HOME' EXIT\n{build}"
    );
    let script = image("aarch64-linux", "aarch64-darwin", "", &build);
    let run = NIX_2_34.with(OWN).sh(&script).code(0).out("made of ");
    run.out("\n1\n");
}

// Bee trusts its user, ant does not.
each!(a_machine_gets_what_the_mac_has_built_if_it_trusts_its_user: bee("bee", 0, ""), ant("ant", 40, "nixoci::nix::mixed"));
fn a_machine_gets_what_the_mac_has_built_if_it_trusts_its_user(machine: &str, code: i32, id: &str) {
    let toml =
        format!("[backend.remote]\nbuilders = [{{ host = \"{machine}\", systems = [\"x86_64-linux\"] }}]\n");
    let build = BUILD.replace("build -f", "build --backend remote --platform linux/amd64 -f");
    let run = NIX_2_34.with(FLEET).sh(&image("x86_64-linux", "aarch64-darwin", &toml, &build));
    if id.is_empty() {
        run.code(0).out("made of ").out("\n1\n");
    } else {
        Run { code, ..run }.fails(code, id).says("mixed_untrusted");
    }
}

/// Two Linux systems in one graph, on two machines.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn two_machines_build_one_image_together() {
    let toml = "[backend.remote]\ntransport = \"auto\"\nbuilders = [{ host = \"dodo\", systems = [\"x86_64-linux\"] }, { host = \"bee\", systems = [\"aarch64-linux\"] }]\n";
    let build = BUILD.replace("build -f", "build --backend remote --platform linux/amd64 -f");
    NIX_2_34.with(FLEET).sh(&image("x86_64-linux", "aarch64-linux", toml, &build)).code(0).out("made of ");
}

/// A Mac without Nix can build nothing itself.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_virtual_machine_says_that_the_mac_s_part_needs_nix_there() {
    let vm = crate::harness::unique("t");
    let toml = format!(
        "[backend.multipass]\ninstance = \"{vm}\"\nimage = \"nix\"\nmemory = \"2G\"\ndisk = \"10G\"\n"
    );
    let build = format!(
        "trap 'multipass delete -p {vm} >/dev/null 2>&1; chmod -R u+w $XDG_CACHE_HOME; rm -rf $XDG_CACHE_HOME' EXIT; export XDG_STATE_HOME=$(mktemp -d)
         nixoci build --backend multipass --platform linux/arm64 -y -f default.nix --no-link"
    );
    let run = NIX_2_34.with(GUEST).sh(&image("aarch64-linux", "aarch64-darwin", &toml, &build));
    run.fails(20, "nixoci::nix::platform").says("mixed_in_a_guest");
}
