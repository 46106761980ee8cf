//! Machines that build for a Mac or for others, and what is wrong with them.

use super::*;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_says_that_it_is_one() {
    assert_eq!(out(&["--as", "mac"], "uname -sm"), "Darwin arm64\n");
}

/// Builds something on a Mac with these builders that was never built before.
fn build_on_a_mac(nix: &str, builder: &[&str], system: &str) -> Output {
    let mut flags = vec!["--as", "mac", "--nix", nix, "--user", "alice"];
    flags.extend(builder.iter().flat_map(|builder| ["--with", builder]));
    let script = format!(
        "cd $(mktemp -d); cat > x.nix <<'END'\n\
         {{ system, salt }}: (import <nixpkgs> {{ inherit system; }}).runCommand \"x\" {{ inherit salt; }} \"uname -m > $out\"\n\
         END\n\
         out=$({BUILD} --no-link --print-out-paths -f x.nix --argstr system {system} --argstr salt $$-$(date +%s%N)); cat $out"
    );
    sh(&flags, &script)
}

each!(a_mac_builds_nothing_for_linux_itself: nix_2_26("2.26"), nix_2_34("2.34"));
fn a_mac_builds_nothing_for_linux_itself(nix: &str) {
    let refused = build_on_a_mac(nix, &[], "x86_64-linux");
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("x86_64-linux") && said.contains("aarch64-darwin"), "{said}");
}

each!(
    a_mac_s_builder_builds_for_a_user_who_is_not_trusted:
    linux_builder_from_nix_2_26("2.26", "linux-builder", "x86_64"),
    linux_builder_from_nix_2_34("2.34", "linux-builder", "x86_64"),
    rosetta_builder_from_nix_2_26("2.26", "rosetta-builder", "x86_64"),
    rosetta_builder_from_nix_2_34("2.34", "rosetta-builder", "x86_64"),
    rosetta_builder_for_arm64_from_nix_2_26("2.26", "rosetta-builder", "aarch64"),
    rosetta_builder_for_arm64_from_nix_2_34("2.34", "rosetta-builder", "aarch64"),
);
fn a_mac_s_builder_builds_for_a_user_who_is_not_trusted(nix: &str, builder: &str, cpu: &str) {
    // The key is root's: the daemon uses it for her.
    let built = build_on_a_mac(nix, &[builder], &format!("{cpu}-linux"));
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&built.stdout), format!("{cpu}\n"), "{said}");
}

each!(a_builder_s_key_is_root_s: nix_2_26("2.26"), nix_2_34("2.34"));
fn a_builder_s_key_is_root_s(nix: &str) {
    let flags = ["--as", "mac", "--nix", nix, "--with", "linux-builder", "--user", "alice"];
    assert!(refusal(&flags, "cat /etc/nix/builder_ed25519").contains("Permission denied"));
}

/// A command that builds on a machine something that was never built before, with this as its script, and prints its path.
/// `store` may have parameters.
fn build_there(store: &str, script: &str) -> String {
    format!(
        "cd $(mktemp -d); cat > x.nix <<'END'\n\
         {{ salt, system ? \"x86_64-linux\" }}: derivation {{ name = \"x\"; inherit salt system; builder = \"/bin/sh\"; \
         args = [ \"-c\" ''{script}'' ]; }}\n\
         END\n\
         nix --extra-experimental-features nix-command build --no-link --print-out-paths --store 'ssh-ng://{store}' \
         --eval-store auto -f x.nix --argstr salt $(date +%s%N)"
    )
}

/// Where cat has its Nix.
const CATS_NIX: &str = "cat?remote-program=/nix/var/nix/profiles/default/bin/nix-daemon";

each!(
    a_machine_builds_over_ssh_for_a_user_who_has_its_key:
    ant_for_a_mac_with_nix_2_26("ant", "mac", "2.26", "alice"),
    ant_for_a_mac_with_nix_2_34("ant", "mac", "2.34", "alice"),
    ant_for_a_mac_s_root("ant", "mac", "2.34", "root"),
    ant_for_linux("ant", "linux", "2.34", "alice"),
    bee_for_a_mac_with_nix_2_26("bee", "mac", "2.26", "alice"),
    bee_for_a_mac_with_nix_2_34("bee", "mac", "2.34", "alice"),
    bee_for_a_mac_s_root("bee", "mac", "2.34", "root"),
    bee_for_linux("bee", "linux", "2.34", "alice"),
);
fn a_machine_builds_over_ssh_for_a_user_who_has_its_key(store: &str, machine: &str, nix: &str, user: &str) {
    let flags = ["--as", machine, "--nix", nix, "--user", user, "--with", "fleet"];
    // Nothing comes back: what was built is where it was built.
    let script = format!(
        "out=$({}); test ! -e $out; nix --extra-experimental-features nix-command store cat --store \
         'ssh-ng://{store}' $out",
        build_there(store, "echo built > $out")
    );
    assert_eq!(out(&flags, &script), "built\n");
}

const FLEET: [&str; 6] = ["--as", "mac", "--user", "alice", "--with", "fleet"];

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn bee_builds_for_arm64_and_ant_does_not() {
    let arm64 = build_there("bee", "echo for arm64 > $out").replace("x86_64-linux", "aarch64-linux");
    assert!(out(&FLEET, &arm64).starts_with("/nix/store/"));
    let refused = refusal(&FLEET, &arm64.replace("//bee", "//ant"));
    assert!(refused.contains("aarch64-linux"), "{refused}");
}

each!(a_machine_trusts_its_user: ant_does_not("ant", 0), bee_does("bee", 1));
fn a_machine_trusts_its_user(machine: &str, trusted: u32) {
    let script = format!(
        "nix --extra-experimental-features nix-command store info --store ssh-ng://{machine} 2>&1 | grep Trusted"
    );
    assert_eq!(out(&FLEET, &script), format!("Trusted: {trusted}\n"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn nix_s_settings_name_no_machine_of_the_fleet() {
    let home = out(&FLEET, "stat -c '%a %U' ~/.ssh ~/.ssh/id_ed25519; ls -A /etc/nix");
    assert_eq!(home, "700 alice\n600 alice\nnix.conf\n");
}

each!(
    a_user_without_the_key_reaches_no_machine:
    mallory(&["--with", "fleet", "--user", "mallory"]),
    alice_without_the_fleet(&["--user", "alice"]),
);
fn a_user_without_the_key_reaches_no_machine(flags: &[&str]) {
    assert!(!sh(flags, "ssh -o BatchMode=yes ant").status.success());
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn cat_hides_its_nix_and_its_disk_is_small() {
    let hidden = refusal(&FLEET, &build_there("cat", "echo > $out"));
    assert!(hidden.contains("nix-daemon: not found"), "{hidden}");
    assert!(out(&FLEET, "ssh cat \"sh -lc 'nix --version'\"").contains(" 2.34"), "a login finds it");
    // Not into its output: Nix keeps what a failed build put there until garbage is collected.
    let flood = "x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do x=$x$x; done; while echo $x; do :; done > big";
    let full = refusal(&FLEET, &build_there(CATS_NIX, &format!("{flood}; exit 1")));
    assert!(full.contains("No space left on device"), "{full}");
    // No failed output is left: no other test of this program uses cat.
    assert!(out(&FLEET, &build_there(CATS_NIX, "echo > $out")).starts_with("/nix/store/"));
}

const TROUBLE: [&str; 6] = ["--as", "mac", "--user", "alice", "--with", "trouble"];

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_slow_line_lets_a_build_through() {
    let slow = format!(
        "out=$({}); nix --extra-experimental-features nix-command store cat --store ssh-ng://slow $out",
        build_there("slow", "echo from afar > $out")
    );
    assert_eq!(out(&TROUBLE, &slow), "from afar\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_megabyte_comes_whole_over_a_slow_line_and_not_over_one_that_is_cut() {
    let much = "x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do x=$x$x; done; \
                for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do echo $x; done > $out";
    let script = format!(
        "out=$({}); cat='nix --extra-experimental-features nix-command store cat'; $cat --store ssh-ng://slow $out | wc -c; \
         $cat --store ssh-ng://cut $out",
        build_there("cut", much)
    );
    let cut = sh(&TROUBLE, &script);
    let said = String::from_utf8_lossy(&cut.stderr);
    assert!(!cut.status.success() && cut.stdout.starts_with(b"1048592\n"), "{said}");
}

each!(
    ssh_says_what_is_wrong_with_a_machine:
    closed("closed", "Connection "),
    web("-v web", "HTTP/1.0 400 Bad Request"),
    impostor("impostor", "REMOTE HOST IDENTIFICATION HAS CHANGED"),
    refused("refused", "Permission denied (publickey)"),
    nobody_home("nobody-home", "Connection refused"),
    // ssh's own limit; it is not told how much of it has passed.
    silent("-o ConnectTimeout=1 silent", "timed out"),
);
fn ssh_says_what_is_wrong_with_a_machine(machine: &str, why: &str) {
    let said = refusal(&TROUBLE, &format!("timeout 60 ssh -o BatchMode=yes {machine} true"));
    assert!(said.contains(why), "{said}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn behind_the_other_host_key_is_bee() {
    let careless =
        "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null impostor whoami";
    assert_eq!(out(&TROUBLE, careless), "builder\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_on_demand_boots_when_somebody_connects() {
    let flags = ["--as", "mac", "--with", "rosetta-on-demand"];
    let log = "cat /lab/mac/rosetta-on-demand/log";
    let asleep = || {
        out(
            &flags,
            &format!("{GONE} touch /lab/events/rosetta-sleeps; gone ls /lab/mac/rosetta-on-demand/awake"),
        )
    };
    asleep();
    let before = out(&flags, log).lines().count();
    let ssh = "ssh -o BatchMode=yes rosetta-builder true";
    let first = refusal(&flags, ssh);
    assert!(first.contains("Connection "), "{first}");
    out(&flags, &format!("{GONE} boots() {{ {ssh} || echo boots; }}; gone boots"));
    // Awake, it builds: the first build found it asleep.
    let built = format!(
        "cd $(mktemp -d); {BUILD} --impure --no-link --print-out-paths --expr \
         'derivation {{ name = \"x\"; system = \"aarch64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo > $out\" ]; \
         salt = toString builtins.currentTime; }}'"
    );
    let alice = ["--as", "mac", "--with", "rosetta-on-demand", "--user", "alice"];
    assert!(out(&alice, &built).starts_with("/nix/store/"));
    assert_eq!(out(&flags, log).lines().count(), before + 1, "one boot");
    asleep();
    assert!(out(&["--as", "mac"], log).starts_with("boot 1\n"), "every Mac sees the log");
}

each!(faults_end_what_runs_on_a_machine_and_not_the_machine: sessions("sessions"), daemon("daemon"));
fn faults_end_what_runs_on_a_machine_and_not_the_machine(what: &str) {
    let fault = |what: &str| {
        let program = std::env::var_os("NIXOCI_LAB").expect("NIXOCI_LAB is set by `cargo xtask test`");
        Command::new(program).args(["lab", "fault", "dodo", what]).output().expect("the lab's program runs")
    };
    // It says when it runs, and then waits for a pipe that has no writer.
    let pipe = format!("/lab/events/dodo-{}", std::process::id());
    let endless = build_there("dodo", &format!("echo here I am; read -r line < {pipe}"));
    out(&[], &format!("mkfifo -m 666 {pipe}"));
    let mut build = lab(&FLEET, &["sh", "-euc", &format!("{endless} -L")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the lab's program runs");
    let mut said = String::new();
    let mut lines = BufReader::new(build.stderr.take().expect("a pipe"));
    while !said.contains("here I am\n") {
        assert_ne!(lines.read_line(&mut said).expect("it can be read"), 0, "{said}");
    }
    let killed = fault(what);
    assert!(killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
    assert!(!build.wait().expect("it can be waited for").success());
    lines.read_to_string(&mut said).expect("it can be read");
    assert!(said.contains("error: "), "{said}");
    assert!(out(&FLEET, &build_there("dodo", "echo > $out")).starts_with("/nix/store/"));
    out(&[], &format!("rm {pipe}"));
    // A session ends after its connection. When the last one has ended there is nothing to kill, which is an error.
    while fault("sessions").status.success() {}
}

const LINUX_BUILDER: &str = "launchctl print system/org.nixos.linux-builder";
const ROSETTA_BUILDER: &str = "launchctl print system/org.nixos.rosetta-builderd";

each!(
    launchctl_knows_a_builder_that_is_installed:
    linux_builder("linux-builder", LINUX_BUILDER),
    rosetta_builder("rosetta-builder", ROSETTA_BUILDER),
);
fn launchctl_knows_a_builder_that_is_installed(builder: &str, print: &str) {
    let mac = ["--as", "mac", "--user", "alice"];
    let missing = sh(&mac, print);
    assert_eq!(missing.status.code(), Some(113));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("Could not find service \"org.nixos."));
    let running = out(&[&mac[..], &["--with", builder]].concat(), print);
    assert!(running.contains("\n\tstate = running\n") && running.contains("\n\tpid = "), "{running}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn launchctl_knows_the_socket_of_a_builder_on_demand() {
    let asleep = out(&["--as", "mac", "--user", "alice", "--with", "rosetta-on-demand"], ROSETTA_BUILDER);
    assert!(asleep.contains("\n\tsockets = {\n") && asleep.contains("= 32316\n"), "{asleep}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn launchctl_restarts_a_service_for_root_alone_and_writes_down_every_call() {
    let log = format!("/tmp/launchctl-{}", std::process::id());
    let kick = "launchctl kickstart -k system/org.nixos.linux-builder";
    let knob = format!("LAB_MAC_LOG={log}");
    let with = ["--as", "mac", "--with", "linux-builder", "--env", &knob, "--user"];
    let flags = |user| with.into_iter().chain([user]).collect::<Vec<&str>>();
    assert!(
        out(&flags("root"), &format!("{kick}; chmod 666 {log}; cat {log}")).contains("root: launchctl kick")
    );
    let refused = refusal(&flags("alice"), kick);
    assert!(refused.contains("Operation not permitted"), "{refused}");
    assert_eq!(
        out(&flags("alice"), &format!("tail -n1 {log}; rm -f {log} || true")),
        format!("alice: {kick}\n")
    );
}

const HAS_ROSETTA: &str = "test -e /Library/Apple/usr/libexec/oah/libRosettaRuntime";
const WITHOUT_ROSETTA: [&str; 4] = ["--as", "mac", "--without", "rosetta"];
const INSTALL_ROSETTA: &str = "softwareupdate --install-rosetta --agree-to-license";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_has_rosetta_unless_it_is_said_otherwise() {
    out(&["--as", "mac"], HAS_ROSETTA);
    assert!(!sh(&WITHOUT_ROSETTA, HAS_ROSETTA).status.success());
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn rosetta_is_installed_by_root_for_one_command() {
    // Through sudo, as people type it.
    let script = format!("! {HAS_ROSETTA}; sudo {INSTALL_ROSETTA} 2>&1; {HAS_ROSETTA}");
    assert!(out(&WITHOUT_ROSETTA, &script).contains("successfully"));
    assert!(!sh(&WITHOUT_ROSETTA, HAS_ROSETTA).status.success());
    let alice = [&WITHOUT_ROSETTA[..], &["--user", "alice"]].concat();
    assert!(!sh(&alice, INSTALL_ROSETTA).status.success());
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn nix_darwin_and_determinate_are_there_when_they_are_asked_for() {
    let mac = ["--as", "mac"];
    assert!(!sh(&mac, "command -v darwin-rebuild || command -v determinate-nixd").status.success());
    let both = ["--as", "mac", "--with", "nix-darwin", "--with", "determinate"];
    out(
        &both,
        "darwin-rebuild switch; determinate-nixd version; grep -q 'root: darwin-rebuild switch' /lab/mac/log",
    );
    assert!(!sh(&[&both[..], &["--user", "alice"]].concat(), "darwin-rebuild switch").status.success());
}

each!(an_intel_mac_builds_on_its_builder: nix_2_26("2.26"), nix_2_34("2.34"));
fn an_intel_mac_builds_on_its_builder(nix: &str) {
    let intel = ["--as", "mac", "--nix", nix, "--intel", "--user", "alice", "--with", "linux-builder"];
    let script = format!(
        "uname -m; nix eval --extra-experimental-features nix-command --impure --raw --expr builtins.currentSystem; echo; \
         cd $(mktemp -d); {BUILD} --impure --no-link --print-out-paths --expr 'derivation {{ name = \"x\"; \
         system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo > $out\" ]; \
         salt = toString builtins.currentTime; }}'"
    );
    assert!(out(&intel, &script).starts_with("x86_64\nx86_64-darwin\n/nix/store/"));
}
