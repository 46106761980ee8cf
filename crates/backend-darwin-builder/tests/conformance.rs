//! The contract of `Backend`, kept by the darwin-builder backend on an emulated Mac with real Nix and a real builder.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use nixoci_backend_darwin_builder::{Factory, Settings};
use nixoci_core::factory::TypedFactory;
use nixoci_testkit::lab;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_contract_is_kept_on_every_nix_for_every_user() {
    if lab::is_inside() {
        return inside();
    }
    let kept = lab::on_every_host(
        &["--as", "mac", "--with", "linux-builder"],
        "the_contract_is_kept_on_every_nix_for_every_user",
    );
    assert_eq!(kept, Ok(()));
}

#[tokio::main]
async fn inside() {
    let backend = Factory::default().create(Settings::default()).unwrap();
    let outcome = lab::conform(&backend, "aarch64-darwin", &"x86_64-linux".parse().unwrap()).await.unwrap();
    assert_eq!(outcome.failed, Vec::<String>::new());
    assert_eq!(outcome.skipped, Vec::<&str>::new());
    assert!(!outcome.passed.is_empty());
}
