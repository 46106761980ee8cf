//! The contract of `Backend`, kept by the rosetta backend on an emulated Mac with real Nix and a real builder.

use nixoci_backend_rosetta::{Factory, Settings};
use nixoci_testkit::lab::{Hosts, keeps_the_contract};

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_contract_is_kept_on_every_nix_for_every_user() {
    let test = "the_contract_is_kept_on_every_nix_for_every_user";
    assert_eq!(
        keeps_the_contract(&Factory, Settings::default(), Hosts::MacWith("rosetta-builder"), test),
        Ok(())
    );
}
