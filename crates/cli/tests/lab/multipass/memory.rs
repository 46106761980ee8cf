//! Memory and disk that do not suffice.

use super::*;

/// Takes much memory, and ends if it gets it.
pub(super) const HUNGRY: &str =
    "a=xxxxxxxxxxxxxxxx; i=0; while [ $i -lt 25 ]; do a=$a$a; i=$((i+1)); done; echo hi > $out";
const OOM: &str = "nixoci::guest::out_of_memory";

fn hungry(settings: &str, flags: &str) -> Run {
    let script = format!(
        r#"sed -i 's/^memory.*/memory = "1G"/' nixoci.toml; provision >/dev/null 2>&1
        nixoci build --backend multipass {flags} --no-link -f t.nix --argstr n $RANDOM --argstr cmd '{HUNGRY}'; code=$?
        multipass get local.$vm.memory; exit $code"#
    );
    NIX_2_34.with(RELEASE).sh(&alone(settings, &script))
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_build_that_runs_out_of_memory_is_told_from_others() {
    let run = hungry("on-oom = 'fail'", "-y").fails(40, OOM).out("1.0GiB\n");
    // The kernel chooses the process that it kills.
    run.err("its kernel killed `").err("it has 1 GiB of memory");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn where_nobody_can_be_asked_a_machine_is_not_enlarged() {
    hungry("", "").fails(40, OOM).out("1.0GiB\n").err("multipass set local.");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_build_that_runs_out_of_memory_gets_more_where_that_is_agreed() {
    hungry("on-oom = 'grow'", "").fails(42, NOT_AN_IMAGE).out("2.0GiB\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_in_which_another_build_runs_is_not_enlarged_for_the_settings() {
    let script = r#"provision >/dev/null 2>&1; gate $vm; tiny --argstr cmd "$(held $vm)" 2>$log & pid=$!; begun $vm $pid
        sed -i 's/^memory.*/memory = "4G"/' nixoci.toml; provision; code=$?; go_on $vm; wait $pid; echo other $?; multipass get local.$vm.memory; exit $code"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).fails(30, "nixoci::multipass::busy");
    run.out("other 42\n2.0GiB\n").says("multipass_busy");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_in_which_another_build_runs_is_not_enlarged_for_a_build() {
    let script = format!(
        r#"sed -i 's/^memory.*/memory = "1G"/' nixoci.toml; provision >/dev/null 2>&1; gate $vm; tiny --argstr cmd "$(held $vm)" 2>$log & pid=$!; begun $vm $pid
        tiny --argstr cmd '{HUNGRY}'; code=$?; go_on $vm; wait $pid; echo other $?; multipass get local.$vm.memory; exit $code"#
    );
    let run = NIX_2_34.with(RELEASE).sh(&alone("on-oom = 'grow'", &script)).fails(40, OOM);
    run.out("other 42\n1.0GiB\n").err("another build runs");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn little_free_memory_is_warned_of_before_a_build() {
    // The lab's kernel says it of a guest only when it is made to.
    let script = r#"provision >/dev/null 2>&1
        guest 'sed "s/^MemAvailable.*/MemAvailable: 100000 kB/" /proc/meminfo >/tmp/m; sudo mount --bind /tmp/m /proc/meminfo'; tiny"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).fails(42, NOT_AN_IMAGE);
    run.warns("multipass_little_memory");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_build_that_kills_itself_is_not_out_of_memory() {
    NIX_2_34
        .with(RELEASE)
        .sh(&alone("", "tiny --argstr cmd 'kill -9 $$'"))
        .fails(40, "nixoci::nix::build_killed");
}

/// 150 MB in the builder's own words, where the disk has 100.
fn filling(settings: &str, flags: &str) -> Run {
    let fill = "a=xxxxxxxxxxxxxxxx; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do a=$a$a; done; i=0; while [ $i -lt 2300 ]; do echo $a; i=$((i+1)); done > $out";
    let script = format!(
        r#"provision >/dev/null 2>&1; guest 'sudo fallocate -l $(($(df --output=avail -B1 /var | tail -n 1) - 100000000)) /var/big'
        nixoci build --backend multipass {flags} --no-link -f t.nix --argstr n $RANDOM --argstr cmd '{fill}'; code=$?; multipass get local.$vm.disk; exit $code"#
    );
    NIX_2_34.with(RELEASE).sh(&alone(settings, &script))
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_full_disk_is_emptied_and_has_its_own_code() {
    let run = filling("on-oom = 'fail'", "-y").fails(40, "nixoci::guest::disk_full").out("10.0GiB\n");
    run.err("collecting garbage").err("are free after collecting garbage");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_full_disk_is_enlarged_where_that_is_agreed() {
    filling("on-oom = 'grow'", "").fails(42, NOT_AN_IMAGE).out("20.0GiB\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn bigger_settings_are_carried_out() {
    let script = r#"provision >/dev/null 2>&1; sed -i 's/^memory.*/memory = "3G"/; s/^disk.*/disk = "12G"/' nixoci.toml
        provision >/dev/null 2>&1; provision >/dev/null 2>&1; multipass get local.$vm.memory; multipass get local.$vm.disk"#;
    NIX_2_34.with(RELEASE).sh(&alone("", script)).code(0).out("3.0GiB\n12.0GiB\n");
}
