//! THE list of built-in backends: a new one is a line here and a line in Cargo.toml.

use nixoci_core::registry::Registry;

/// Every backend this nixoci has.
pub(crate) fn registry() -> Registry {
    Registry::new(vec![
        Box::new(nixoci_backend_local::Factory),
        Box::new(nixoci_backend_darwin_builder::Factory::kept_by(std::env::current_exe().ok())),
        Box::new(nixoci_backend_rosetta::Factory),
        Box::new(nixoci_backend_multipass::Factory),
        Box::new(nixoci_backend_remote::Factory),
        Box::new(nixoci_backend_cross::Factory),
    ])
}

/// The error codes of every crate, for `explain` and the reference.
pub(crate) fn codes() -> impl Iterator<Item = &'static nixoci_core::Code> {
    [
        nixoci_core::codes::CODES,
        nixoci_nix::codes::CODES,
        nixoci_nix::ssh::codes::CODES,
        nixoci_nix::guest::codes::CODES,
        nixoci_nix::mac::codes::CODES,
        nixoci_nix::sudo::CODES,
        nixoci_image::codes::CODES,
        nixoci_engine::CODES,
        nixoci_backend_local::CODES,
        nixoci_backend_darwin_builder::CODES,
        nixoci_backend_rosetta::CODES,
        nixoci_backend_multipass::CODES,
        nixoci_backend_remote::CODES,
        nixoci_backend_cross::CODES,
        crate::codes::CODES,
    ]
    .into_iter()
    .flatten()
    .copied()
}
