//! The contract of `Backend`, kept by the multipass backend with the lab's Multipass, in both versions.

use std::hash::{BuildHasher, RandomState};

use nixoci_backend_multipass::{Factory, Settings, Size};
use nixoci_testkit::lab::{Host, Machines, keeps_the_contract};

/// A virtual machine of its own for each host.
fn settings() -> Settings {
    let random = RandomState::new().hash_one(std::process::id());
    Settings {
        instance: format!("conforms-{random:x}"),
        memory: Some(Size(2 << 30)),
        disk: Size(10 << 30),
        image: "nix".to_owned(),
        ..Settings::default()
    }
}

nixoci_testkit::on_every_host!(the_contract_is_kept: release("multipass"), next("multipass-1.17"));
fn the_contract_is_kept(host: &Host, version: &'static str) -> Result<(), String> {
    keeps_the_contract(host, &Factory, settings(), Machines::OwnCpuWith(version))
}
