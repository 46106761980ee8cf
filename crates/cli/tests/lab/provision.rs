//! Whether builders build, proven by building; and making them ready.

use super::*;
use crate::conforms::conforms;
use crate::mac::{NONE, ROSETTA};

const LINUX_BUILDER: &[&str] = &["--as", "mac", "--user", "alice", "--with", "linux-builder"];

each!(doctor_proves_that_a_linux_host_builds: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn doctor_proves_that_a_linux_host_builds(host: Host) {
    for user in ["root", "alice"] {
        let options: &'static [&'static str] = if user == "root" { &[] } else { &["--user", "alice"] };
        let run = host
            .with(options)
            .sh("nixoci doctor --build && nixoci doctor --build && ls $XDG_CACHE_HOME/nixoci/roots | wc -l");
        // Built twice, because it is never there already, and nothing is kept.
        let run = run.code(0).out("ok    x86_64-linux: built and read back in ");
        assert!(run.out.ends_with("\n0\n"), "{run:#?}");
        assert_eq!(run.out.matches("x86_64-linux: built and read back").count(), 2, "{run:#?}");
        assert!(!run.out.contains("aarch64-linux: built"), "{run:#?}");
    }
}

each!(an_emulated_cpu_is_proven_too: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn an_emulated_cpu_is_proven_too(host: Host) {
    host.with(&["--arm64"])
        .sh("nixoci doctor --build")
        .code(0)
        .out("ok    x86_64-linux: built and read back in ")
        .out("ok    aarch64-linux: built and read back in ");
}

each!(a_mac_s_builders_are_proven_for_each_of_their_cpus: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_mac_s_builders_are_proven_for_each_of_their_cpus(host: Host) {
    let x86 = "ok    x86_64-linux: built and read back in ";
    host.with(LINUX_BUILDER).sh("nixoci doctor --build").code(0).out(x86);
    let both = "ok    aarch64-linux: built and read back in ";
    host.with(ROSETTA).sh("nixoci doctor --build").code(0).out(x86).out(both);
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
    let run = NIX_2_34.with(options).sh("nixoci doctor; nixoci doctor --build");
    let failed = "bad   linux-builder: aarch64-linux: linux-builder: the machine's host key is not known";
    run.code(20)
        .out("nixoci can build here.")
        .out(failed)
        .out("ssh -i /etc/nix/builder_ed25519 builder@linux-builder");
}

each!(what_is_the_administrator_s_is_told_whatever_is_agreed_to: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn what_is_the_administrator_s_is_told_whatever_is_agreed_to(host: Host) {
    // The daemon cannot be told of a builder without root.
    let daemon =
        "dir=$(mktemp -d); printf '[backend.darwin-builder]\ntransport = \"daemon\"\n' > $dir/nixoci.toml;";
    for flags in ["", "--yes --allow-root", "--platform linux/arm64"] {
        let script = format!(
            "{daemon} nixoci --config-file $dir/nixoci.toml provision --backend darwin-builder {flags} && echo it says it did it"
        );
        let run = host.with(NONE).sh(&script).fails(75, "nixoci::darwin_builder::none");
        assert!(run.out.is_empty(), "{run:#?}");
        run.err("nix run nixpkgs#darwin.linux-builder").err("| sudo tee -a /etc/nix/machines");
    }
    let never = "nixoci build --no-provision -y --allow-root ./examples/cowsay#container --no-link";
    host.with(NONE)
        .sh(never)
        .fails(75, "nixoci::backend::pending")
        .err("--no-provision forbids it")
        .err("| sudo tee -a /etc/nix/machines");
}

/// A state directory of its own, of which nothing is left, and nothing that runs.
const OWN: &str = "export XDG_STATE_HOME=$(mktemp -d); own=$XDG_STATE_HOME/nixoci/linux-builder
    trap 'nixoci provision --backend linux-builder --remove --yes >/dev/null 2>&1; rm -rf $XDG_STATE_HOME $XDG_CACHE_HOME' EXIT
    keeper() { jq -r .$1 $own/keeper; }
    build() { nixoci build ./examples/hello#container --no-link -o archive:$XDG_CACHE_HOME/hello.tar \"$@\"; }
    ";

fn own(script: &str) -> String {
    format!("{OWN}{script}")
}

each!(a_mac_without_a_builder_gets_one_of_its_own_without_root: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_mac_without_a_builder_gets_one_of_its_own_without_root(host: Host) {
    let script = own("build -y || exit 1
        nixoci inspect $XDG_CACHE_HOME/hello.tar
        echo shared: $(ls $own/keys/) mode $(stat -c %a $own $own/builder_ed25519 | tr '\\n' ' ')
        ! grep -rqs PRIVATE $own/keys/ || echo a private key is in the store
        echo again >&2; build || exit 1
        nixoci doctor | grep 'Linux builder'; nixoci backends | grep 'linux/arm64 .*linux-builder$'
        nixoci doctor --build | grep 'built and read back'
        nixoci shell -- uname -s
        pid=$(keeper pid) vm=$(keeper vm)
        nixoci provision --stop; echo stopped $?
        ! kill -0 $pid 2>/dev/null && ! kill -0 -- -$vm 2>/dev/null && echo nothing runs
        tail -1 $own/log; test -e $own/vm/nixos.qcow2 && echo the disk is there
        nixoci provision --remove; echo not agreed $?
        nixoci provision --remove --yes; echo removed $?
        find $XDG_STATE_HOME -name linux-builder | wc -l
        nixoci provision --remove; echo nothing $?");
    let run = host.with(NONE).sh(&script).code(0);
    for said in [
        "linux/arm64",
        "shared: builder_ed25519.pub mode 700 600",
        "nixoci's own runs: aarch64-linux, process",
        "ready, native, on linux-builder",
        "aarch64-linux: built and read back",
        "Linux\n",
        "stopped 0\nnothing runs\nnixoci: stopped because somebody said so\nthe disk is there\n",
        "not agreed 75\nremoved 0\n0\nnothing 0\n",
    ] {
        assert!(run.out.contains(said), "no `{said}` in {run:#?}");
    }
    assert!(!run.out.contains("private key is in the store"), "{run:#?}");
    let (first, again) = run.err.split_once("again\n").unwrap();
    assert!(first.contains("the builder comes from nixpkgs' binary cache"), "{run:#?}");
    assert!(!again.split("stopping").next().unwrap().contains("provision start"), "{run:#?}");
    assert!(again.contains("vm/nixos.qcow2 ("), "{run:#?}");
}

each!(a_builder_of_one_s_own_outlives_who_started_it_and_is_kept_from_nobody: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_builder_of_one_s_own_outlives_who_started_it_and_is_kept_from_nobody(host: Host) {
    // Killed while it builds: the lock that says so is free at once, and the virtual machine runs on.
    let script = own("nixoci provision -y --backend linux-builder || exit 1
        pid=$(keeper pid)
        nixoci shell -- sleep 100 < /dev/null > /dev/null 2>&1 & builds=$!
        for i in $(seq 100); do flock -nx $own/use true || break; sleep 0.1; done
        flock -nx $own/use true || echo it is used
        kill -9 $builds; wait $builds 2>/dev/null
        for i in $(seq 20); do flock -nx $own/use true && break; sleep 0.1; done
        flock -nx $own/use true && echo it is free
        kill -0 $pid && echo it runs
        build || exit 1
        nixoci provision --stop");
    host.with(NONE).sh(&script).code(0).out("it is used\nit is free\nit runs\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_that_nobody_uses_stops_and_one_in_use_does_not() {
    let script = own("cat > $XDG_CACHE_HOME/nixoci.toml <<'END'
[backend.darwin-builder]
idle = \"2s\"
[backend.darwin-builder.vm]
cpus = 3
memory = 4096
END
        export NIXOCI_CONFIG_FILE=$XDG_CACHE_HOME/nixoci.toml
        nixoci provision -y --backend linux-builder || exit 1
        grep qemu $own/log
        pid=$(keeper pid)
        flock -s $own/use sleep 5; kill -0 $pid && echo it runs
        for i in $(seq 100); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
        kill -0 $pid 2>/dev/null || tail -1 $own/log
        nixoci backends | grep 'linux/arm64 .*linux-builder$'
        build -y");
    NIX_2_34
        .with(NONE)
        .sh(&script)
        .code(0)
        .out("qemu-system-aarch64 -smp 3 -m 4096\n")
        .out("it runs\nnixoci: stopped because nobody used it for 2 s\n")
        .out("can be made ready, native, on linux-builder");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn two_at_once_start_one_builder() {
    let script =
        own("for i in 1 2 3; do nixoci provision -y --backend linux-builder > $XDG_CACHE_HOME/$i 2>&1 & done
        for job in $(jobs -p); do wait $job || { cat $XDG_CACHE_HOME/?; exit 1; }; done
        pgrep -fc \"__builder keep .*$own\"; grep -c qemu $own/log");
    NIX_2_34.with(NONE).sh(&script).code(0).out("1\n1\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_whose_keeper_was_killed_is_found_by_its_key() {
    let script = own("nixoci provision -y --backend linux-builder || exit 1
        vm=$(keeper vm); kill -9 $(keeper pid)
        nixoci provision -y --backend linux-builder; echo taken $?
        nixoci provision --stop --backend linux-builder; echo stopped $?
        kill -0 -- -$vm 2>/dev/null || echo nothing runs
        nixoci provision -y --backend linux-builder");
    let run = NIX_2_34.with(NONE).sh(&script).code(0);
    run.out("taken 75\nstopped 0\nnothing runs\n").err("nixoci explain nixoci::darwin_builder::port");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_keeps_a_builder_of_one_s_own_from_starting_is_told() {
    // Here the lab's own linux-builder is at the port.
    let taken: &[&str] = &["--as", "mac", "--user", "alice"];
    NIX_2_34
        .with(taken)
        .sh(&own("nixoci provision -y --backend linux-builder"))
        .fails(75, "nixoci::darwin_builder::port")
        .err("127.0.0.1:31022 is in use")
        .err("lsof -nP -iTCP:31022");
    let never: &[&str] = &["--as", "mac", "--user", "alice", "--own-network", "--env", "LAB_BOOT=never"];
    NIX_2_34
        .with(never)
        .sh(&own("nixoci provision -y --backend linux-builder"))
        .fails(30, "nixoci::darwin_builder::start")
        .err("Property 'max-arm-cpu.sme' not found");
    NIX_2_34
        .with(NONE)
        .sh(&own(
            "export NIX_CONFIG='flake-registry = /nowhere'; nixoci provision -y --backend linux-builder",
        ))
        .fails(30, "nixoci::darwin_builder::program")
        .err("nixpkgs gave no Linux builder");
}

const NO_ROSETTA: [&str; 8] =
    ["--as", "mac", "--with", "rosetta-builder", "--without", "rosetta", "--env", "LAB_MAC_LOG=/dev/null"];
const NO_ROSETTA_ALICE: &[&str] =
    &["--as", "mac", "--with", "rosetta-builder", "--without", "rosetta", "--user", "alice"];

each!(rosetta_is_installed_by_root_when_somebody_agrees: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn rosetta_is_installed_by_root_when_somebody_agrees(host: Host) {
    let script = "provision='nixoci provision --backend rosetta --platform linux/amd64'
        $provision; echo nobody agreed $?
        $provision --yes; echo that is something else $?
        $provision --allow-root || exit 1
        ls /Library/Apple/usr/libexec/oah
        $provision";
    let run = host.with(&NO_ROSETTA).sh(script).code(0);
    run.out("nobody agreed 75\nthat is something else 75\nrosetta: made ready\n")
        .out("x86_64-linux: built and read back")
        .out("libRosettaRuntime\nrosetta: nothing to do, it is ready\n")
        .err("sudo softwareupdate --install-rosetta --agree-to-license")
        .err("nixoci provision --backend rosetta --platform linux/amd64 --allow-root");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_password_that_nobody_can_type_is_not_asked_for() {
    NIX_2_34
        .with(NO_ROSETTA_ALICE)
        .sh("nixoci provision --backend rosetta --platform linux/amd64 --allow-root")
        .fails(22, "nixoci::sudo::password")
        .err("a password is required")
        .err("      sudo softwareupdate --install-rosetta --agree-to-license\n");
    // On a terminal sudo itself asks, and nothing is drawn over it.
    let run = NIX_2_34.with(NO_ROSETTA_ALICE).sh(
        "(sleep 2; echo wrong; sleep 3; echo wrong; sleep 3; echo wrong; sleep 3) | \
         script -qec 'nixoci provision --backend rosetta --platform linux/amd64 --allow-root; echo ended $?' /dev/null",
    );
    run.code(0).out("assword").out("ended 30").out("`softwareupdate` failed as root");
}

const NIX_DARWIN: &[&str] = &["--as", "mac", "--user", "alice", "--own-network", "--with", "nix-darwin"];
const DETERMINATE: &[&str] =
    &["--as", "mac", "--user", "alice", "--own-network", "--with", "nix-darwin", "--with", "determinate"];

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_nix_darwin_configuration_gets_the_line_after_somebody_has_seen_it() {
    let script = "cd $(mktemp -d); git init -q . ; mkdir hosts
        printf '{ outputs = _: { }; }\\n' > flake.nix; git add flake.nix
        printf '{ pkgs, ... }:\\n{\\n  system.stateVersion = 6;\\n}\\n' > hosts/mac.nix; chmod 640 hosts/mac.nix
        ln -s hosts/mac.nix link.nix
        nixoci provision --write link.nix; echo not agreed $?; grep -c linux-builder hosts/mac.nix
        nixoci provision --write link.nix --yes; echo agreed $?
        cat hosts/mac.nix; stat -c %a hosts/mac.nix; ls; ls -A hosts
        nix-instantiate --parse hosts/mac.nix > /dev/null || echo it is no Nix any more
        git add hosts; nixoci provision --write hosts/mac.nix --format json
        nixoci provision --write flake.nix --yes; echo a flake $?";
    for host in [NIX_2_26, NIX_2_34] {
        let run = host.with(NIX_DARWIN).sh(script).code(0);
        run.out("not agreed 75\n0\n")
            .out("hosts add mac.nix\n")
            .out("  sudo darwin-rebuild switch --flake /tmp/")
            .out("{\n  system.stateVersion = 6;\n  nix.linux-builder.enable = true;\n}\n640\nflake.nix\nhosts\nlink.nix\nmac.nix\n")
            .out("\"changed\": false")
            .out("a flake 10\n")
            .err("+  nix.linux-builder.enable = true;")
            .err("nixoci explain nixoci::provision::not_placed");
    }
    let determinate = "cd $(mktemp -d); echo '{ }' > x.nix; nixoci provision --write x.nix -y; cat x.nix";
    NIX_2_34
        .with(DETERMINATE)
        .sh(determinate)
        .code(0)
        .out("{\n  determinateNix.nixosVmBasedLinuxBuilder.enable = true;\n}\n");
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
        nixoci provision --backend rosetta --write darwin-configuration.nix --yes --format json; cat darwin-configuration.nix
        nixoci provision --backend rosetta --write darwin-configuration.nix
        nixoci provision --write /etc/hostname --yes; echo no module $?
        nixoci provision --write nowhere.nix --yes; echo nowhere $?";
    let run = NIX_2_34.with(NIX_DARWIN).sh(script).code(0);
    let document = &run.out[..run.out.find("\n}\n").unwrap() + 3];
    conforms("provision-write", &serde_json::from_str(document).unwrap());
    run.out("{\n    nix.linux-builder.enable = true;\n    nix.settings.trusted-users = [\"@admin\"];\n}\n")
        .out("sets nix.linux-builder already: nothing was changed\n  nix.linux-builder.enable = true;\n")
        .out("package = pkgs.darwin.linux-builder-vz;")
        .out("no module 10\nnowhere 22\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn where_a_backend_is_ready_there_is_nothing_to_do() {
    let ready = "nixoci provision; nixoci provision --stop; nixoci provision --remove; nixoci provision --format json";
    for host in [NIX_2_26, NIX_2_34] {
        let run =
            host.sh(ready).code(0).out("local: nothing to do, it is ready\n").err("this machine itself");
        let document = run.out.lines().skip(1).collect::<Vec<_>>().join("\n");
        conforms("provision", &serde_json::from_str(&document).unwrap());
        let run = host.with(ROSETTA).sh(
            "nixoci provision --platform linux/amd64,linux/arm64; nixoci provision --stop --backend linux-builder",
        );
        run.code(0)
            .out("darwin-builder: nothing to do, it is ready\n")
            .err("the builder is the machine's own");
    }
    NIX_2_34.sh("nixoci provision --platform linux/arm64").fails(20, "nixoci::backend::none");
    NIX_2_34.with(&["--without", "nix"]).sh("nixoci provision").fails(20, "nixoci::backend::none");
}
