//! The contract of `Backend`, kept by the darwin-builder backend on an emulated Mac with real Nix and a real builder.

use nixoci_backend_darwin_builder::{Factory, Settings};
use nixoci_testkit::lab::{Host, Machines, keeps_the_contract};

nixoci_testkit::on_every_host!(the_contract_is_kept);
fn the_contract_is_kept(host: &Host) -> Result<(), String> {
    keeps_the_contract(host, &Factory::default(), Settings::default(), Machines::MacWith("linux-builder"))
}
