//! `cat`, whose Nix a command over ssh does not find, and whose disk is small: tests that use it run one after the other.

use super::{FLEET, with};
use crate::harness::NIX_2_34;

/// Where `cat` has its Nix.
const PROGRAM: &str = "remote-program = '/nix/var/nix/profiles/default/bin/nix-daemon'";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_full_disk_is_the_machine_s() {
    let small = format!("{{ host = 'cat', systems = ['x86_64-linux'], {PROGRAM} }}");
    // In the directory of the build, which goes when it fails.
    let fill = "l=x; i=0; while [ $i -lt 14 ]; do l=$l$l; i=$((i+1)); done; while :; do echo $l || exit 1; done > big";
    NIX_2_34
        .with(FLEET)
        .sh(&with(&small, &format!("image && tiny --argstr cmd '{fill}'")))
        .fails(40, "nixoci::nix::disk_full")
        .says("remote_disk_full");
}
