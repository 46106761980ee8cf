//! The contract of `Backend`, kept by the local backend on real Nix.

use nixoci_backend_local::{Factory, Settings};
use nixoci_testkit::lab::{Hosts, keeps_the_contract};

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_contract_is_kept_on_every_nix_for_every_user() {
    let test = "the_contract_is_kept_on_every_nix_for_every_user";
    assert_eq!(keeps_the_contract(&Factory, Settings::default(), Hosts::Linux, test), Ok(()));
}
