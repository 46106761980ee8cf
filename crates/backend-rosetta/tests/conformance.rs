//! The contract of `Backend`, kept by the rosetta backend on an emulated Mac with real Nix and a real builder.

use nixoci_backend_rosetta::{Factory, Settings};
use nixoci_testkit::lab::{Host, Machines, keeps_the_contract};

nixoci_testkit::on_every_host!(the_contract_is_kept);
fn the_contract_is_kept(host: &Host) -> Result<(), String> {
    keeps_the_contract(host, &Factory, Settings::default(), Machines::MacWith("rosetta-builder"))
}
