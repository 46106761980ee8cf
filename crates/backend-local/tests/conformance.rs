//! The contract of `Backend`, kept by the local backend on real Nix.

use nixoci_backend_local::{Factory, Settings};
use nixoci_testkit::lab::{Host, Machines, keeps_the_contract};

nixoci_testkit::on_every_host!(the_contract_is_kept);
fn the_contract_is_kept(host: &Host) -> Result<(), String> {
    keeps_the_contract(host, &Factory, Settings::default(), Machines::Linux)
}
