//! Nothing keeps running and nothing half written stays, however nixoci ends.

use super::*;
use crate::harness::image_apart;
use crate::mac::ROSETTA;

const ALICE: &[&str] = &["--user", "alice"];

/// `slow` starts a build that says when it has begun and is never told to go on, with these flags besides; `$pid` is nixoci. `left` names
/// what is still there: processes, files. A process that has ended and waits to be reaped by the lab's init has ended.
pub(crate) const SLOW: &str = r#"cd $(mktemp -d); held=$tag-slow; gate $held; cat > default.nix <<END
{ system }: derivation { name = "slow-$held"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo begun >$events/$held.begun; read -r _ <$events/$held.go" ]; }
END
slow() {
    # With job control, a background job does not ignore SIGINT.
    set -m; nixoci build -L -f default.nix -o archive:$PWD/out.tar "$@" >/dev/null 2>log & pid=$!; set +m
}
in_the_middle() { begun $held $pid || { cat log; exit 99; }; dog=$(pgrep -P $pid -f __watchdog); test -n "$dog" || exit 98; }
left() { ps -eo pid,args | grep -E "$held|$PWD/out.tar|^ *${dog:-none} " | grep -v -e grep -e defunct; ls -A | grep -vE '^(default.nix|log)$'; }
"#;

each!(
    kill_9_in_the_middle_of_a_build_leaves_nothing:
    nix_2_26(NIX_2_26),
    nix_2_34(NIX_2_34),
    nix_2_26_as_a_user(NIX_2_26.with(ALICE)),
    nix_2_34_as_a_user(NIX_2_34.with(ALICE)),
    // The builder's processes must not stay either.
    nix_2_26_on_a_mac(NIX_2_26.with(ROSETTA)),
    nix_2_34_on_a_mac(NIX_2_34.with(ROSETTA)),
);
fn kill_9_in_the_middle_of_a_build_leaves_nothing(host: Host) {
    host.sh(&format!("{SLOW} slow; in_the_middle; kill -9 $pid; gone left")).code(0).out("left:\nend\n");
}

/// `build GATE DESTINATION` builds a script that streams an image, and stops in its middle until the gate is opened.
const STREAM: &str = r#"cat > default.nix <<END
{ system }@args: (import <nixpkgs> args).writeScript "stream-$tag" ''
  #!/bin/sh
  # nixoci recognizes a script of streamLayeredImage by the name of its settings: /x-conf.json
  head -c 2000000 \${import ./image.nix args}
  echo begun >$events/\$GATE.begun; read -r _ <$events/\$GATE.go
  tail -c +2000001 \${import ./image.nix args}
''
END
build() { GATE=$1 exec nixoci build -q -f default.nix -o archive:$PWD/$2; }
in_the_making() { compgen -G "$XDG_CACHE_HOME/nixoci/images/*.part"; }
left() {
    in_the_making; compgen -G "$PWD/.*part"; ls -A $XDG_CACHE_HOME/nixoci/roots; ls out.tar 2>/dev/null
    ps -eo pid,args | grep -E "stream-$tag|$PWD/out.tar|^ *${dog:-none} " | grep -v -e grep -e defunct
}
"#;

each!(
    kill_9_in_the_middle_of_reading_an_image_leaves_nothing_half:
    nix_2_26(NIX_2_26),
    nix_2_34_as_a_user(NIX_2_34.with(ALICE)),
);
fn kill_9_in_the_middle_of_reading_an_image_leaves_nothing_half(host: Host) {
    let script = r#"
        gate $tag-1; build $tag-1 out.tar >/dev/null 2>log & pid=$!; begun $tag-1 $pid || { cat log; exit 99; }
        in_the_making >/dev/null || exit 98; dog=$(pgrep -P $pid -f __watchdog); test -n "$dog" || exit 97
        kill -9 $pid; gone left; ls
        gate $tag-2; (build $tag-2 out.tar) >/dev/null & pid=$!; begun $tag-2 $pid && go_on $tag-2; wait $pid
        nixoci validate -q out.tar >/dev/null && echo whole"#;
    let run = host.sh(&format!("{}{STREAM}{script}", image_apart(4_000_000)));
    run.code(0).out("left:\nend\ndefault.nix\nimage.nix\nlog\nwhole\n");
}

each!(
    an_end_in_the_middle_of_writing_a_file_leaves_nothing_half:
    nix_2_26(NIX_2_26),
    nix_2_34_as_a_user(NIX_2_34.with(ALICE)),
);
fn an_end_in_the_middle_of_writing_a_file_leaves_nothing_half(host: Host) {
    // The kernel kills (SIGXFSZ) a process in the moment in which a file of its becomes longer than this.
    let script = r#"
        nixoci build -q -f image.nix --no-link >/dev/null || exit 99
        (ulimit -c 0; ulimit -f 40000; exec nixoci build -q -f image.nix -o archive:$PWD/out.tar) >/dev/null 2>log; echo code $?
        left() { compgen -G "$PWD/.*part"; ls out.tar 2>/dev/null; pgrep -f "$PWD/out.tar"; }; gone left; ls
        { nixoci build -q -f image.nix -o archive:$PWD/out.tar && nixoci validate -q out.tar; } >/dev/null && echo whole"#;
    let run = host.sh(&format!("{}{script}", image_apart(60_000_000)));
    run.code(0).out("code 153\nleft:\nend\nimage.nix\nlog\nwhole\n");
}

each!(
    another_that_waited_for_one_that_was_killed_makes_the_image:
    nix_2_26(NIX_2_26),
    nix_2_34_as_a_user(NIX_2_34.with(ALICE)),
);
fn another_that_waited_for_one_that_was_killed_makes_the_image(host: Host) {
    // Both want the same file in the cache; the watchdog of the killed one must not take it from the other.
    let script = r#"
        gate $tag-1; gate $tag-2
        build $tag-1 a.tar >/dev/null 2>&1 & first=$!; begun $tag-1 $first || exit 99
        build $tag-2 b.tar >/dev/null & second=$!
        # It has opened the file, which the first one has locked.
        not_yet() { ls -l /proc/$second/fd | grep -q '\.part$' || echo not yet; }; gone not_yet
        kill -9 $first
        begun $tag-2 $second && go_on $tag-2; wait $second; echo code $?
        nixoci validate -q b.tar >/dev/null && echo whole; gone in_the_making"#;
    let run = host.sh(&format!("{}{STREAM}{script}", image_apart(4_000_000)));
    run.code(0).out("left:\nend\ncode 0\nwhole\nleft:\nend\n");
}

each!(
    a_signal_stops_a_build_with_its_exit_code:
    interrupt_on_nix_2_26(NIX_2_26, "INT", 130),
    interrupt_on_nix_2_34(NIX_2_34, "INT", 130),
    terminate_on_nix_2_26(NIX_2_26, "TERM", 143),
    terminate_on_nix_2_34(NIX_2_34, "TERM", 143),
    hangup_on_nix_2_26(NIX_2_26, "HUP", 143),
    hangup_on_nix_2_34(NIX_2_34, "HUP", 143),
);
fn a_signal_stops_a_build_with_its_exit_code(host: Host, signal: &str, code: i32) {
    let run = host
        .sh(&format!("{SLOW} slow; in_the_middle; kill -{signal} $pid; wait $pid; echo code $?; gone left"));
    run.code(0).out(&format!("code {code}\nleft:\nend\n"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_time_limit_stops_a_build_that_does_not_end() {
    // Whether the build has begun by then or not: it cannot end.
    let run = NIX_2_34.sh(&format!("{SLOW} slow --timeout 3s; wait $pid; echo code $?; gone left"));
    run.code(0).out("code 124\nleft:\nend\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_reader_that_goes_away_is_no_error() {
    NIX_2_34.sh("nixoci explain | head -1; echo ${PIPESTATUS[0]}").code(0).out("0\n");
}
