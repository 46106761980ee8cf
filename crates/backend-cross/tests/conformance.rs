//! The contract of `Backend`, kept by the cross backend on Macs that nobody builds for.

use nixoci_backend_cross::{Factory, Settings};
use nixoci_testkit::lab::{Host, Machines, keeps_the_contract};

nixoci_testkit::on_every_host!(the_contract_is_kept);
fn the_contract_is_kept(host: &Host) -> Result<(), String> {
    // Apple's container runtime is no builder.
    keeps_the_contract(host, &Factory, Settings::default(), Machines::OwnCpuWith("apple"))
}
