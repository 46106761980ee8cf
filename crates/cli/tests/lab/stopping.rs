//! Nothing keeps running and nothing half written stays, however nixoci ends.

use super::*;
use crate::mac::ROSETTA;

/// A build that says when it has begun, and then takes longer than any test. `$mark` names it among processes.
/// `left` says what is still there; what has ended and only waits to be reaped by the lab's init has ended.
pub(crate) const SLOW: &str = "cd $(mktemp -d); mark=$RANDOM$RANDOM; cat > default.nix <<END
{ system }: (import <nixpkgs> { inherit system; }).runCommand \"slow-$mark\" { } \"echo begun; while true; do sleep 0.$mark; done\"
END
nixoci build -L -f default.nix -o archive:$PWD/out.tar >/dev/null 2>log & pid=$!
for n in $(seq 100); do grep -q begun log && break; sleep 0.1; done; grep -q begun log || { cat log; exit 99; }
dog=$(pgrep -P $(pgrep -nf \"^nixoci build .*$PWD/out.tar\") -f __watchdog); test -n \"$dog\" || exit 98
left() { ps -eo pid,args | grep -E \"slow-$mark|sleep 0.$mark|$PWD/out.tar|^ *$dog \" | grep -v -e grep -e defunct; ls -A | grep -vE '^(default.nix|log)$'; }
";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kill_9_in_the_middle_of_a_build_leaves_nothing() {
    // On the Mac it is the builder's processes that must not stay.
    let local =
        [NIX_2_26, NIX_2_34, NIX_2_26.with(&["--user", "alice"]), NIX_2_34.with(&["--user", "alice"])];
    for host in local.into_iter().chain([NIX_2_26.with(ROSETTA), NIX_2_34.with(ROSETTA)]) {
        let run = host.sh(&format!("{SLOW} kill -9 $pid; gone left"));
        run.code(0).out("left:\nend\n");
    }
}

/// An image of 400 MB, which takes a moment to read and to write, in a directory of its own.
pub(crate) const BIG: &str = r#"cd $(mktemp -d); trap 'rm -rf $PWD $XDG_CACHE_HOME' EXIT; cat > default.nix <<'END'
{ system }: (import <nixpkgs> { inherit system; }).runCommand "big.tar" { } ''
  mkdir -p layer/data; head -c 400000000 /dev/zero > layer/data/big
  tar -C layer -cf layer.tar .; rm -r layer
  id=$(sha256sum layer.tar | cut -d' ' -f1)
  printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $id > config
  config=$(sha256sum config | cut -d' ' -f1).json; mv config $config
  printf '[{"Config":"%s","RepoTags":["big:latest"],"Layers":["layer.tar"]}]' $config > manifest.json
  tar -cf $out layer.tar $config manifest.json
''
END
"#;

/// `hit PATTERN` builds it, with nothing cached, and stops and kills nixoci as soon as there is a file of that pattern; `left`
/// names what of nixoci's is still there.
pub(crate) const HIT: &str = r#"hit() {
  rm -rf out.tar $XDG_CACHE_HOME/nixoci/images
  nixoci build -f default.nix -o archive:$PWD/out.tar >/dev/null 2>log & pid=$!
  until compgen -G "$1" >/dev/null; do kill -0 $pid 2>/dev/null || return 1; done
  kill -STOP $pid; dog=$(pgrep -P $pid -f __watchdog); kill -9 $pid; wait $pid 2>/dev/null; test $? = 137 && test -n "$dog"
}
left() { compgen -G "$PWD/.*part"; compgen -G "$XDG_CACHE_HOME/nixoci/images/*part"; ls -A $XDG_CACHE_HOME/nixoci/roots; ls out.tar 2>/dev/null; ps -eo pid,args | grep -E "$PWD/out.tar|^ *$dog " | grep -v -e grep -e defunct; }
"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kill_9_in_the_middle_of_writing_leaves_nothing_half() {
    for host in [NIX_2_26, NIX_2_34.with(&["--user", "alice"])] {
        // A copy may be quicker than we are: there are several attempts, and one has to come in its middle.
        let script = r#"
            for place in '$XDG_CACHE_HOME/nixoci/images/*.part' '$PWD/.out.tar.*.nixoci-part'; do
                eval "place=\"$place\""
                for n in 1 2 3 4 5 6; do hit "$place" && break; done || { cat log; exit 99; }
                gone left; ls -A | grep -v -e default.nix -e log
            done
            # What was killed is done by the next one.
            { nixoci build -q -f default.nix -o archive:$PWD/out.tar && nixoci validate -q out.tar; } >/dev/null && echo whole"#;
        host.sh(&format!("{BIG}{HIT}{script}")).code(0).out("left:\nend\nleft:\nend\nwhole\n");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn who_waited_for_one_that_was_killed_makes_the_image() {
    // Both want the same file in the cache; the watchdog of the killed one must not take it from the other.
    let script = r#"
        nixoci build -q -f default.nix -o archive:$PWD/a.tar >/dev/null 2>&1 & first=$!
        until compgen -G "$XDG_CACHE_HOME/nixoci/images/*.part" >/dev/null; do
            kill -0 $first 2>/dev/null || { echo "too quick"; exit 99; }
        done
        kill -STOP $first
        nixoci build -q -f default.nix -o archive:$PWD/b.tar >/dev/null & second=$!
        sleep 3; kill -0 $second && ! test -e b.tar && echo waits
        kill -9 $first; wait $second; echo code $?
        nixoci validate -q b.tar >/dev/null && echo whole; compgen -G "$XDG_CACHE_HOME/nixoci/images/*part"; echo end"#;
    for host in [NIX_2_26, NIX_2_34.with(&["--user", "alice"])] {
        host.sh(&format!("{BIG}{script}")).code(0).out("waits\ncode 0\nwhole\nend\n");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn signals_stop_gracefully_with_their_exit_codes() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 143)] {
        for host in [NIX_2_26, NIX_2_34] {
            // A background job of a script ignores SIGINT from its birth; `kill` from outside is what a terminal does.
            let slow = SLOW
                .replace("\nnixoci build", "\nsetsid -w env --default-signal=INT nixoci build")
                .replace("pid=$!", "sleep 1; pid=$(pgrep -nf \"^nixoci build .*$PWD/out.tar\")");
            let run = host.sh(&format!(
                "{slow} kill -{signal} $pid; wait %1; echo code $?; echo left:; left; echo end"
            ));
            run.code(0).out(&format!("code {code}\n")).out("left:\nend\n");
        }
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_time_limit_stops_the_build() {
    let slow = SLOW.replace("-L -f", "--timeout 3s -L -f");
    NIX_2_34
        .sh(&format!("{slow} wait $pid; echo code $?; echo left:; left; echo end"))
        .code(0)
        .out("code 124\n")
        .out("left:\nend\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_reader_that_goes_away_is_no_error() {
    NIX_2_34.sh("nixoci explain | head -1; echo ${PIPESTATUS[0]}").code(0).out("0\n");
}
