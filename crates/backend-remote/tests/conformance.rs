//! The contract of `Backend`, kept by the remote backend with real machines: in one's own store, and by Nix's scheduler over
//! several.

use nixoci_backend_remote::{Builder, Factory, Settings};
use nixoci_testkit::lab::{Hosts, keeps_the_contract};

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn one_machine_keeps_the_contract_on_every_nix_for_every_user() {
    let test = "one_machine_keeps_the_contract_on_every_nix_for_every_user";
    assert_eq!(keeps_the_contract(&Factory, machines(&["bee"]), Hosts::MacWith("fleet"), test), Ok(()));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_fleet_keeps_the_contract_on_every_nix_for_every_user() {
    let test = "a_fleet_keeps_the_contract_on_every_nix_for_every_user";
    assert_eq!(
        keeps_the_contract(&Factory, machines(&["ant", "bee"]), Hosts::MacWith("fleet"), test),
        Ok(())
    );
}

fn machines(hosts: &[&str]) -> Settings {
    let builder = |host: &&str| Builder {
        host: (*host).to_owned(),
        systems: vec!["x86_64-linux".to_owned()],
        jobs: 2,
        speed: 1.0,
        features: Vec::new(),
        key: None,
        host_key: None,
        remote_program: None,
    };
    Settings { builders: hosts.iter().map(builder).collect(), ..Settings::default() }
}
