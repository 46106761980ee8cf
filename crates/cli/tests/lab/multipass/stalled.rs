//! Projects and images that `multipass exec` cannot carry, and transfers in which nothing moves any more.

use super::*;
use crate::harness::image;

/// Makes a flake in `p` with 2,000 files, one of 12 MB and one of 30 MB, whose image is of them.
const LARGE: &str = r#"mkdir p; for n in $(seq 2000); do echo $n >p/f$n; done; head -c 12000000 /dev/urandom >p/12; head -c 30000000 /dev/urandom >p/30
    cat >p/default.nix <<'END'
{ system }: (import <nixpkgs> { inherit system; }).dockerTools.buildLayeredImage { name = "large"; extraCommands = "cp -r ${./.} p"; }
END
"#;

each!(a_project_and_an_image_that_exec_would_lose_or_get_stuck_on: release(RELEASE), next(NEXT));
fn a_project_and_an_image_that_exec_would_lose_or_get_stuck_on(options: &'static [&'static str]) {
    let script = r#"build -f p/default.nix -o archive:$log.tar 2>$log || { cat $log; exit 1; }
        mkdir there; for layer in $(tar xOf $log.tar manifest.json | jq -r '.[].Layers[]'); do tar xOf $log.tar $layer | zcat -f | tar x -C there; done
        for name in f1 f2000 12 30; do cmp p/$name there/p/$name && echo same; done; rm $log.tar"#;
    NIX_2_34
        .with(options)
        .sh(&alone("", &format!("{LARGE}{script}")))
        .code(0)
        .out("same\nsame\nsame\nsame\n");
}

/// Puts a `tar` into the guest that reads nothing, once or always.
fn deaf(when: &str) -> String {
    format!(
        r##"{LARGE} provision >/dev/null 2>&1; in_guest tar <<'END'
#!/bin/sh
{when}
exec /usr/bin/tar "$@"
END
        build --stall-timeout 2s -f p/default.nix --no-link 2>$log; code=$?; grep -c 'it is sent once more' $log; cat $log >&2; exit $code"##
    )
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_project_of_which_the_machine_takes_nothing_is_sent_once_more() {
    let script = deaf("[ -e /tmp/deaf ] || { touch /tmp/deaf; exec sleep infinity; }");
    NIX_2_34.with(RELEASE).sh(&alone("", &script)).code(0).out("1\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_project_of_which_the_machine_takes_nothing_twice_ends_the_build() {
    let run = NIX_2_34.with(NEXT).sh(&alone("", &deaf("exec sleep infinity")));
    run.fails(50, "nixoci::guest::stalled").out("1\n").says("multipass_sending_stalled");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_image_that_stops_on_its_way_twice_ends_the_build() {
    // The machine sends its first 300 kB, and then nothing.
    let script = image(2_000_000, "arm64")
        + r##"provision >/dev/null 2>&1; in_guest nix-store <<'END'
#!/bin/sh
case "$*" in *--dump*) /usr/bin/nix-store "$@" | { head -c 300000; exec sleep infinity; } ;; *) exec /usr/bin/nix-store "$@" ;; esac
END
        build --stall-timeout 2s -f image.nix --no-link 2>$log; code=$?; grep -c 'it is read once more' $log; cat $log >&2; gone left; exit $code"##;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &script)).fails(50, "nixoci::fetch::stalled");
    run.out("1\nleft:\nend\n").says("multipass_reading_stalled");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_machine_that_stands_still_while_its_image_is_read_ends_the_build() {
    // The image is larger than the buffers on its way.
    let script = image(60_000_000, "arm64")
        + r#"provision >/dev/null 2>&1; gate $vm
        shim 'case "$*" in *--dump*) [ -e $HELD ] || { : >$HELD; ssh "$@" | { head -c 300000; echo >/lab/events/$vm.begun; read -r _ </lab/events/$vm.go; cat; }; exit ${PIPESTATUS[0]}; };; esac' ssh
        HELD=$log.held PATH=$shimmed build --stall-timeout 3s -f image.nix --no-link 2>$log & pid=$!
        begun $vm $pid && strike; go_on $vm; wait $pid; code=$?; cat $log >&2; exit $code"#;
    let run = struck(NIX_2_34.with(ROOTS), "", &script, "freeze");
    // Its second read needs another connection, for which Multipass may say first that it does not answer.
    let told = ["nixoci::fetch::stalled", "nixoci::multipass::no_route"];
    assert!(run.code != 0 && told.iter().any(|code| run.err.contains(code)), "{run:#?}");
}
