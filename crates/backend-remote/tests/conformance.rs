//! The contract of `Backend`, kept by the remote backend with real machines: in one's own store, and by Nix's scheduler over
//! several.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use nixoci_backend_remote::{Builder, Factory, Settings};
use nixoci_core::factory::TypedFactory;
use nixoci_testkit::lab;

const FLEET: &[&str] = &["--as", "mac", "--with", "fleet"];

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn one_machine_keeps_the_contract_on_every_nix_for_every_user() {
    if lab::is_inside() {
        return inside(&["bee"]);
    }
    let name = "one_machine_keeps_the_contract_on_every_nix_for_every_user";
    assert_eq!(lab::on_every_host(FLEET, name), Ok(()));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_fleet_keeps_the_contract_on_every_nix_for_every_user() {
    if lab::is_inside() {
        return inside(&["ant", "bee"]);
    }
    let name = "a_fleet_keeps_the_contract_on_every_nix_for_every_user";
    assert_eq!(lab::on_every_host(FLEET, name), Ok(()));
}

#[tokio::main]
async fn inside(hosts: &[&str]) {
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
    let settings = Settings { builders: hosts.iter().map(builder).collect(), ..Settings::default() };
    let backend = Factory.create(settings).unwrap();
    let outcome = lab::conform(&backend, "aarch64-darwin", &"x86_64-linux".parse().unwrap()).await.unwrap();
    assert_eq!(outcome.failed, Vec::<String>::new());
    assert_eq!(outcome.skipped, Vec::<&str>::new());
    assert!(!outcome.passed.is_empty());
}
