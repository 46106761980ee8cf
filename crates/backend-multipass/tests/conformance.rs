//! The contract of `Backend`, kept by the multipass backend with the lab's Multipass, in both versions.

use std::hash::{BuildHasher, RandomState};

use nixoci_backend_multipass::{Factory, Settings, Size};
use nixoci_testkit::lab::{Hosts, keeps_the_contract};

/// A virtual machine of its own for each host.
fn settings() -> Settings {
    let random = RandomState::new().hash_one(std::process::id());
    Settings {
        instance: format!("conforms-{random:x}"),
        memory: Some(Size(2 << 30)),
        disk: Size(10 << 30),
        ..Settings::default()
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn it_keeps_the_contract_with_the_release() {
    let test = "it_keeps_the_contract_with_the_release";
    assert_eq!(keeps_the_contract(&Factory, settings(), Hosts::OwnCpuWith("multipass"), test), Ok(()));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn it_keeps_the_contract_with_what_comes_next() {
    let test = "it_keeps_the_contract_with_what_comes_next";
    assert_eq!(keeps_the_contract(&Factory, settings(), Hosts::OwnCpuWith("multipass-1.17"), test), Ok(()));
}
