//! The author's side: a [`Backend`](nixoci_core::backend::Backend) becomes a library.
//!
//! Everything that Rust cannot let out of a library stays in: a runtime of its own carries the calls, panics are caught
//! and reported, and what is logged goes to nixoci.

mod call;
mod export;
mod instance;
mod link;
mod log;

pub use export::{Export, Exported};

/// Makes a library of a backend: stands once, in a crate of `crate-type = ["cdylib"]` that is nothing else.
///
/// Takes the factory, which must be a [`TypedFactory`](nixoci_core::factory::TypedFactory) and [`Default`], and the crate's
/// error codes, if it has any.
///
/// ```text
/// nixoci_plugin::export_backend!(mine::Factory, codes = mine::CODES);
/// ```
///
/// It must not stand in a crate that other crates link: two of them in one program would silently be one. A library with
/// `panic = "abort"` does not compile: a panic in it would be the end of the process.
#[macro_export]
macro_rules! export_backend {
    ($factory:ty) => {
        $crate::export_backend!($factory, codes = &[]);
    };
    ($factory:ty, codes = $codes:expr) => {
        #[cfg(panic = "abort")]
        compile_error!("a backend catches its panics: build it without `panic = \"abort\"`");

        const _: () = {
            struct Backend;
            impl $crate::guest::Exported for Backend {
                type Factory = $factory;
                const VERSION: &'static str = env!("CARGO_PKG_VERSION");
                fn codes() -> &'static [&'static $crate::core::Code] {
                    $codes
                }
            }
            static TABLE: $crate::abi::PluginV1 = $crate::guest::Export::<Backend>::TABLE;

            #[allow(unsafe_code, reason = "a library is found by the name of its function")]
            #[unsafe(no_mangle)]
            extern "C" fn nixoci_backend_v1() -> *const $crate::abi::PluginV1 {
                &TABLE
            }
        };
    };
}
