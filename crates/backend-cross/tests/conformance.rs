//! The contract of `Backend`, kept by the cross backend on Macs that nobody builds for.

use nixoci_backend_cross::{Factory, Settings};
use nixoci_testkit::lab::{Hosts, keeps_the_contract};

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_contract_is_kept_on_every_nix_for_every_user() {
    let test = "the_contract_is_kept_on_every_nix_for_every_user";
    // Apple's container runtime is no builder.
    assert_eq!(keeps_the_contract(&Factory, Settings::default(), Hosts::OwnCpuWith("apple"), test), Ok(()));
}
