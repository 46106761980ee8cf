//! A Linux builder of one's own on a Mac.

use super::{Host, NIX_2_26, NIX_2_34, NONE};
use crate::harness::{shows, struck};

/// A state directory of its own, of which nothing is left, and nothing that runs.
const OWN: &str = "export XDG_STATE_HOME=$(mktemp -d); own=$XDG_STATE_HOME/nixoci/linux-builder
    trap 'nixoci provision --backend linux-builder --remove --yes >/dev/null 2>&1; rm -rf $XDG_STATE_HOME $XDG_CACHE_HOME' EXIT
    provision() { nixoci provision --backend linux-builder \"$@\"; }
    keeper() { jq -r .$1 $own/keeper; }
    of_ours() { ps -eo pid=,pgid=,stat= | awk -v ids=\" $* \" '(index(ids, \" \" $1 \" \") || index(ids, \" \" $2 \" \")) && $3 !~ /^Z/'; }
    runs() { kill -0 $pid 2>/dev/null && echo runs; }
    build() { nixoci build ./examples/hello#container --no-link -o archive:$XDG_CACHE_HOME/hello.tar \"$@\"; }
    readiness() { nixoci backends --format json | jq -r '.backends[].offers[] | select(.builder == \"linux-builder\" and .system == \"aarch64-linux\").readiness.state'; }
    ";

fn own(script: &str) -> String {
    format!("{OWN}{script}")
}

each!(a_mac_without_a_builder_gets_one_of_its_own_without_root: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_mac_without_a_builder_gets_one_of_its_own_without_root(host: Host) {
    let script = own("build -y --format json >report || exit 1; jq -c '[.images[].platforms[] | .platform, .backend]' report; rm report
        echo shared: $(ls $own/keys/) mode $(stat -c %a $own $own/builder_ed25519 | tr '\\n' ' ')
        grep -rqs PRIVATE $own/keys/ && echo a private key is in the store
        readiness; nixoci shell -- uname -s
        nixoci doctor --build --format json | jq -r '.backends[][] | select(.title | endswith(\"aarch64-linux\")).verdict'
        pid=$(keeper pid); build 2>&1 | grep -c provision; test $(keeper pid) = $pid && echo the same")
    .replace(">report", ">$XDG_CACHE_HOME/report")
    .replace(" report", " $XDG_CACHE_HOME/report");
    let run = host.with(NONE).sh(&script).code(0);
    assert_eq!(
        run.out,
        "[\"linux/arm64\",\"darwin-builder\"]\nshared: builder_ed25519.pub mode 700 600\nready\nLinux\ngood\n0\nthe same\n",
        "{run:#?}"
    );
}

each!(a_builder_of_one_s_own_is_stopped_and_removed: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_builder_of_one_s_own_is_stopped_and_removed(host: Host) {
    let script = own("provision -y >&2 || exit 1
        pid=$(keeper pid) vm=$(keeper vm)
        nixoci provision --stop >&2; echo stopped $?
        there() { of_ours $pid $vm; }; gone there
        test -e $own/vm/nixos.qcow2 && echo the disk is there
        tail -1 $own/log >&2
        nixoci provision --remove; echo not agreed $?
        nixoci provision --remove --yes >$XDG_CACHE_HOME/said 2>&1; echo removed $?; grep -c \"$own/vm/nixos.qcow2 (\" $XDG_CACHE_HOME/said
        find $XDG_STATE_HOME -name linux-builder | wc -l
        nixoci provision --remove >&2; echo nothing $?");
    let run = host.with(NONE).sh(&script).code(0);
    let ends = "stopped 0\nleft:\nend\nthe disk is there\nnot agreed 75\nremoved 0\n1\n0\nnothing 0\n";
    assert_eq!(run.out, ends, "{run:#?}");
    shows(
        "provision_builder_stopped",
        run.err.lines().find(|line| line.starts_with("nixoci: ")).unwrap_or_default(),
    );
    let announced: Vec<&str> = run.err.lines().take_while(|line| !line.starts_with("making ")).collect();
    shows("provision_builder_announced", &announced.join("\n"));
}

each!(a_builder_of_one_s_own_outlives_the_nixoci_that_uses_it: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_builder_of_one_s_own_outlives_the_nixoci_that_uses_it(host: Host) {
    // Killed while it builds: the lock that says so is free at once, and the virtual machine runs on.
    let script = own("provision -y >&2 || exit 1
        pid=$(keeper pid); gate $tag
        nixoci shell -- sh -c \"echo begun >$events/$tag.begun; read -r _ <$events/$tag.go\" < /dev/null > /dev/null 2>&1 & builds=$!
        begun $tag $builds || exit 99
        flock -nx $own/use true || echo it is used
        kill -9 $builds; wait $builds 2>/dev/null
        used() { flock -nx $own/use true || echo used; }; gone used; runs; build >&2");
    let run = host.with(NONE).sh(&script).code(0);
    assert_eq!(run.out, "it is used\nleft:\nend\nruns\n", "{run:#?}");
}

/// With two seconds of patience for a builder that is not used.
const IDLE: &str = "cat > $XDG_CACHE_HOME/nixoci.toml <<'END'
[backend.darwin-builder]
idle = \"2s\"
[backend.darwin-builder.vm]
cpus = 3
memory = 4096
END
    export NIXOCI_CONFIG_FILE=$XDG_CACHE_HOME/nixoci.toml; provision -y >&2 || exit 1; pid=$(keeper pid)\n";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_is_made_as_the_settings_say_and_made_again_when_it_is_wanted() {
    let script = own(&format!(
        "{IDLE} grep -o 'qemu.*' $own/log; gone runs; tail -1 $own/log >&2; readiness; build -y --format json | jq -r '.images[].platforms[].backend'"
    ));
    let run = NIX_2_34.with(NONE).sh(&script).code(0);
    let said = "qemu-system-aarch64 -smp 3 -m 4096\nleft:\nend\nstartable\ndarwin-builder\n";
    assert_eq!(run.out, said, "{run:#?}");
    let why = run.err.lines().find(|line| line.starts_with("nixoci: ")).unwrap_or_default();
    shows("provision_builder_stopped_unused", why);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_in_use_runs_on_when_another_stops_by_itself() {
    // The other one is begun later, on a Mac of its own, and has the same patience.
    let script =
        own(&format!("{IDLE} exec 5<>$own/use; flock -s 5; strike; runs; flock -u 5; exec 5>&-; gone runs"));
    let other = || {
        let run = NIX_2_34.with(NONE).sh(&own(&format!("{IDLE} gone runs"))).code(0);
        assert_eq!(run.out, "left:\nend\n", "{run:#?}");
    };
    let run = struck(NIX_2_34.with(NONE), &script, other).code(0);
    assert_eq!(run.out, "runs\nleft:\nend\n", "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn several_at_once_start_one_builder() {
    let script = own("for i in 1 2 3; do provision -y > $XDG_CACHE_HOME/$i 2>&1 & done
        for job in $(jobs -p); do wait $job || { cat $XDG_CACHE_HOME/?; exit 1; }; done
        pgrep -fc \"__builder keep .*$own\"; grep -c qemu $own/log");
    NIX_2_34.with(NONE).sh(&script).code(0).out("1\n1\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_builder_whose_keeper_was_killed_is_found_by_its_key() {
    let script = own("provision -y >&2 || exit 1
        vm=$(keeper vm); kill -9 $(keeper pid)
        provision -y; echo taken $?
        provision --stop >&2; echo stopped $?
        there() { of_ours $vm; }; gone there
        provision -y >&2");
    let run = NIX_2_34.with(NONE).sh(&script).code(0);
    run.out("taken 75\nstopped 0\nleft:\nend\n").err("nixoci explain nixoci::darwin_builder::port");
}

/// The lab's own linux-builder is at the port.
const TAKEN: &[&str] = &["--as", "mac", "--user", "alice"];
const NEVER: &[&str] = &["--as", "mac", "--user", "alice", "--own-network", "--env", "LAB_BOOT=never"];

each!(
    what_keeps_a_builder_of_one_s_own_from_starting_is_told:
    a_port_that_is_taken(TAKEN, "", 75, "port"),
    a_machine_that_does_not_boot(NEVER, "", 30, "start"),
    a_program_that_is_not_there(NONE, "export NIX_CONFIG='flake-registry = /nowhere'", 30, "program"),
);
fn what_keeps_a_builder_of_one_s_own_from_starting_is_told(
    mac: &'static [&'static str],
    before: &str,
    exit: i32,
    code: &str,
) {
    let run = NIX_2_34.with(mac).sh(&own(&format!("{before}\nprovision -y")));
    // The virtual machine says why.
    assert_eq!(run.err.contains("Property 'max-arm-cpu.sme' not found"), code == "start", "{run:#?}");
    run.fails(exit, &format!("nixoci::darwin_builder::{code}")).says(&format!("provision_{code}"));
}
