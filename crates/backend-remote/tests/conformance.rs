//! The contract of `Backend`, kept by the remote backend with real machines: in one's own store, and by Nix's scheduler over
//! several.

use nixoci_backend_remote::{Builder, Factory, Settings};
use nixoci_testkit::lab::{Host, Machines, keeps_the_contract};

nixoci_testkit::on_every_host!(the_contract_is_kept: by_one_machine(&["bee"]), by_several(&["ant", "bee"]));
fn the_contract_is_kept(host: &Host, machines: &[&str]) -> Result<(), String> {
    keeps_the_contract(host, &Factory, builders(machines), Machines::MacWith("fleet"))
}

fn builders(hosts: &[&str]) -> Settings {
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
