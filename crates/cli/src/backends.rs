//! THE list of built-in backends: a new one is a line here and a line in Cargo.toml.

use std::borrow::Cow;

use nixoci_core::backend::Descriptor;
use nixoci_core::factory::Factory;
use nixoci_core::registry::Registry;

/// Every backend this nixoci has, and those from elsewhere.
pub(crate) fn registry(from_elsewhere: Vec<Box<dyn Factory>>) -> Registry {
    Registry::new(built_in().into_iter().chain(from_elsewhere).collect())
}

/// The names that nobody else may have.
pub(crate) fn reserved() -> Vec<String> {
    let names =
        |descriptor: Descriptor| std::iter::once(descriptor.name).chain(descriptor.aliases.into_owned());
    let names = built_in().into_iter().flat_map(|factory| names(factory.descriptor()));
    names.map(Cow::into_owned).collect()
}

/// Every backend that is a part of nixoci.
pub(crate) fn built_in() -> Vec<Box<dyn Factory>> {
    vec![
        Box::new(nixoci_backend_local::Factory),
        Box::new(nixoci_backend_darwin_builder::Factory::kept_by(std::env::current_exe().ok())),
        Box::new(nixoci_backend_rosetta::Factory),
        Box::new(nixoci_backend_multipass::Factory),
        Box::new(nixoci_backend_remote::Factory),
        Box::new(nixoci_backend_cross::Factory),
    ]
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
        nixoci_plugin::host::codes::CODES,
        crate::codes::CODES,
    ]
    .into_iter()
    .flatten()
    .copied()
}
