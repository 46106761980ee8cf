//! A virtual machine of Multipass's, on a Mac without Nix: from nothing to a container, and what goes wrong on the way.

mod credentials;
mod disturbed;
mod failures;
mod idle;
mod life;
mod memory;
mod ownership;
mod set_up;
mod sources;
mod ssh;
mod stalled;

use super::*;
use crate::harness::unique;

/// Macs with nothing but Multipass.
const RELEASE: &[&str] = &["--as", "mac", "--without", "nix", "--user", "alice", "--with", "multipass"];
const NEXT: &[&str] = &["--as", "mac", "--without", "nix", "--user", "alice", "--with", "multipass-1.17"];
/// The same for root.
const ROOTS: &[&str] = &["--as", "mac", "--without", "nix", "--with", "multipass"];
const ROOTS_NEXT: &[&str] = &["--as", "mac", "--without", "nix", "--with", "multipass-1.17"];
/// Macs that have Nix, too, to compare with.
const BOTH: &[&str] = &["--as", "mac", "--user", "alice", "--with", "multipass"];
const BOTH_NEXT: &[&str] = &["--as", "mac", "--user", "alice", "--with", "multipass-1.17"];
const ROOTS_BOTH: &[&str] = &["--as", "mac", "--with", "multipass"];

const NOT_AN_IMAGE: &str = "nixoci::image::not_an_image";

/// The image from which a virtual machine is launched.
#[derive(Clone, Copy, Debug)]
enum Image {
    /// A custom image in which Nix is installed: for tests that are not about installing it.
    WithNix,
    /// A release of Ubuntu.
    Plain,
}

/// `lab fault multipass`.
fn fault(words: &[&str]) {
    let lab = std::env::var_os("NIXOCI_LAB").expect("NIXOCI_LAB names the lab's program");
    let done = Command::new(lab).args(["lab", "fault", "multipass"]).args(words).output().unwrap();
    assert!(done.status.success(), "{words:?}: {done:?}");
}

/// Runs a script that calls `strike` once: then this fault befalls its virtual machine.
fn struck(host: Host, settings: &str, script: &str, knob: &str) -> Run {
    struck_on(Image::WithNix, host, settings, script, knob)
}

fn struck_on(image: Image, host: Host, settings: &str, script: &str, knob: &str) -> Run {
    let vm = unique("t");
    let script = script_for(&vm, image, settings, script);
    crate::harness::struck(host, &script, || fault(&[knob, &vm]))
}

/// A script in an empty directory, with a virtual machine `$vm` of its own, which is deleted at the end. `build` builds in it.
fn alone(settings: &str, script: &str) -> String {
    script_for(&unique("t"), Image::WithNix, settings, script)
}

/// The same from an image without Nix.
fn on_plain_image(settings: &str, script: &str) -> String {
    script_for(&unique("t"), Image::Plain, settings, script)
}

fn script_for(vm: &str, image: Image, settings: &str, script: &str) -> String {
    let image = match image {
        Image::WithNix => "image = 'nix'\n",
        Image::Plain => "",
    };
    format!(
        r#"here=$PWD log=$(mktemp); cd $(mktemp -d); export XDG_STATE_HOME=$(mktemp -d) vm={vm}
trap 'multipass delete -p $vm >/dev/null 2>&1; rm -f $events/$vm*; rm -rf $XDG_STATE_HOME; chmod -R u+w $XDG_CACHE_HOME; rm -rf $XDG_CACHE_HOME' EXIT
printf '%s' "[backend.multipass]
instance = '$vm'
memory = '2G'
disk = '10G'
{image}{settings}" > nixoci.toml
{FUNCTIONS}
printf '%s' '{EXPRESSION}' > t.nix
{script}"#
    )
}

/// - `held NAME` prints the command of a build that says that it has begun, and waits to be told to go on: `gate NAME` is for it.
/// - `in_guest NAME` puts a program there, in front of the one of that name; it is on standard input.
/// - `left` prints what runs in the guest beyond what always does.
/// - `signaled SIGNAL N COMMAND…` sends the signal after the N-th event that the command reports, and prints its exit code; 1 if there are
///   fewer events.
/// - `shim SCRIPT [PROGRAM]` puts a program in front of Multipass, or of another one: it runs SCRIPT, and then the program itself. PATH is for
///   `$shimmed` to be.
const FUNCTIONS: &str = r#"build() { nixoci build --backend multipass -y "$@"; }
provision() { nixoci provision --backend multipass -y "$@"; }
guest() { multipass exec -n $vm -- sh -c "$1"; }
in_guest() { multipass exec -n $vm -- sudo sh -c "cat >/usr/local/bin/$1; chmod 755 /usr/local/bin/$1"; }
left() {
    local all; all=$(guest "ps -eo user,args --no-headers") || { echo the guest cannot be looked into; return; }
    grep -vE 'ps -eo|sshd|multipass-guest|nix-daemon --daemon|nixoci/idle|sleep [0-9]|\[' <<<"$all"
}
state() { multipass info --no-runtime-information --format json $vm | jq -r '.info[].state'; }
tiny() { build --no-link -f t.nix --argstr n "$RANDOM$RANDOM" "$@"; }
held() { echo "echo >$events/$1.begun; read -r _ <$events/$1.go; echo hi > \$out"; }
signaled() {
    local signal=$1 n=$2 seen=0 pid; shift 2; rm -f $log.pipe; mkfifo $log.pipe
    "$@" --progress-fd 3 3>$log.pipe >$log 2>&1 & pid=$!
    exec 4<$log.pipe
    while [ $seen -lt $n ] && read -r _ <&4; do seen=$((seen+1)); done
    [ $seen -lt $n ] || kill -$signal $pid 2>/dev/null
    cat <&4 >/dev/null & exec 4<&-
    wait $pid 2>/dev/null; echo code $?; [ $seen = $n ]
}
shim() {
    local program=${2-multipass}; dir=$(mktemp -d)
    printf '#!/bin/bash\nPATH=%s\n%s\nexec %s "$@"\n' "$PATH" "$1" $program > $dir/$program; chmod 755 $dir $dir/$program; shimmed=$dir:$PATH
}
"#;

/// A text without the lines that begin so.
fn without(prefix: &str, text: &str) -> String {
    text.lines().filter(|line| !line.starts_with(prefix)).collect::<Vec<_>>().join("\n")
}

/// A derivation of its own for every run, so that nobody has built it before.
const EXPRESSION: &str = r#"{ system, n, cmd ? "echo hi > $out" }: derivation {
  name = "t-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" cmd ];
}"#;

/// A flake whose derivation names everything that a flake knows of its source.
const FLAKE: &str = r#"{ outputs = { self }: { packages.aarch64-linux.x = builtins.derivation {
  name = "x"; system = "aarch64-linux"; builder = "/bin/sh";
  args = [ "${self}" (self.rev or "no") (self.dirtyRev or "no") (toString (self.revCount or 0)) (toString self.lastModified) ]; }; }; }"#;
