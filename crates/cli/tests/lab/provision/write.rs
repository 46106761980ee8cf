//! The line that a configuration of nix-darwin needs.

use super::{Host, NIX_2_26, NIX_2_34, conforms};

const NIX_DARWIN: &[&str] = &["--as", "mac", "--user", "alice", "--own-network", "--with", "nix-darwin"];
const DETERMINATE: &[&str] =
    &["--as", "mac", "--user", "alice", "--own-network", "--with", "nix-darwin", "--with", "determinate"];

/// A flake with a module in a directory of its own, which a link names.
const MODULE: &str = "cd $(mktemp -d); git init -q . ; mkdir hosts
    printf '{ outputs = _: { }; }\\n' > flake.nix; git add flake.nix
    printf '{ pkgs, ... }:\\n{\\n  system.stateVersion = 6;\\n}\\n' > hosts/mac.nix; chmod 640 hosts/mac.nix
    ln -s hosts/mac.nix link.nix\n";

each!(a_configuration_does_not_get_the_line_without_agreement: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_configuration_does_not_get_the_line_without_agreement(host: Host) {
    let script = format!(
        "{MODULE} nixoci provision --write link.nix; code=$?; grep -c linux-builder hosts/mac.nix; exit $code"
    );
    let run = host.with(NIX_DARWIN).sh(&script).fails(75, "nixoci::provision::not_written");
    assert_eq!(run.out, "0\n");
}

each!(a_configuration_gets_the_line_when_that_is_agreed_to: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_configuration_gets_the_line_when_that_is_agreed_to(host: Host) {
    let script = format!(
        "{MODULE} nixoci provision --write link.nix --yes >said || exit; grep -c \"add -- mac.nix$\" said; grep -c '^  sudo darwin-rebuild switch --flake /tmp/' said
         rm said; cat hosts/mac.nix; stat -c %a hosts/mac.nix; ls; ls -A hosts; nix-instantiate --parse hosts/mac.nix > /dev/null || echo it is no Nix any more
         git add hosts; nixoci provision --write hosts/mac.nix --format json | jq .changed"
    );
    let run = host.with(NIX_DARWIN).sh(&script).code(0);
    let module =
        "{ pkgs, ... }:\n{\n  system.stateVersion = 6;\n  nix.linux-builder.enable = true;\n}\n640\n";
    let run = run.err("+  nix.linux-builder.enable = true;");
    assert_eq!(run.out, format!("1\n1\n{module}flake.nix\nhosts\nlink.nix\nmac.nix\nfalse\n"), "{run:#?}");
}

each!(a_flake_is_no_module: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_flake_is_no_module(host: Host) {
    host.with(NIX_DARWIN)
        .sh(&format!("{MODULE} nixoci provision --write flake.nix --yes"))
        .fails(10, "nixoci::provision::not_placed");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn determinate_s_option_is_written_where_its_nix_is() {
    let script = "cd $(mktemp -d); echo '{ }' > x.nix; nixoci provision --write x.nix -y >&2; cat x.nix";
    let run = NIX_2_34.with(DETERMINATE).sh(script).code(0);
    assert_eq!(run.out, "{\n  determinateNix.nixosVmBasedLinuxBuilder.enable = true;\n}\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_article_s_configuration_is_corrected() {
    let script = "cd $(mktemp -d); cat > darwin-configuration.nix <<'END'
{
    nix.linux_builder.enable = true;
    nix.settings.trusted-users = [\"@admin\"];
}
END
        nixoci provision --backend rosetta --write darwin-configuration.nix --yes --format json; cat darwin-configuration.nix >&2
        nixoci provision --backend rosetta --write darwin-configuration.nix >&2";
    let run = NIX_2_34.with(NIX_DARWIN).sh(script).code(0);
    conforms("provision-write", &serde_json::from_str(&run.out).unwrap());
    let run = run
        .err("{\n    nix.linux-builder.enable = true;\n    nix.settings.trusted-users = [\"@admin\"];\n}\n");
    let (_, said) = run.err.split_once("\n}\n").unwrap();
    crate::harness::shows("provision_option_is_set_already", said);
}

each!(
    what_is_no_module_is_not_written:
    a_text("/etc/hostname", 10),
    an_absent_file("nowhere.nix", 22),
);
fn what_is_no_module_is_not_written(file: &str, exit: i32) {
    NIX_2_34
        .with(NIX_DARWIN)
        .sh(&format!("cd $(mktemp -d); nixoci provision --write {file} --yes"))
        .code(exit);
}
