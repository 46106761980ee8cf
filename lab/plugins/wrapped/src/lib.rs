//! A built-in backend under another name: its own is taken.

#[doc(hidden)]
pub use nixoci_plugin;

/// Exports a backend of nixoci's own as a plugin of this name.
#[macro_export]
macro_rules! wrap {
    ($name:literal, $factory:ty) => {
        use std::borrow::Cow;

        use $crate::nixoci_plugin::core::{Result, backend::Descriptor, factory::TypedFactory};

        #[derive(Default)]
        struct Wrapped($factory);

        static OWN: Descriptor = <$factory as TypedFactory>::DESCRIPTOR;

        impl TypedFactory for Wrapped {
            const DESCRIPTOR: Descriptor = Descriptor {
                name: Cow::Borrowed($name),
                aliases: Cow::Borrowed(&[]),
                summary: Cow::Borrowed("a backend of nixoci's own, as a library"),
                concurrent_builds: true,
                automatic: OWN.automatic,
                hosts: Cow::Borrowed(&[]),
                credentials: OWN.credentials,
            };
            type Settings = <$factory as TypedFactory>::Settings;
            type Backend = <$factory as TypedFactory>::Backend;

            fn create(&self, settings: Self::Settings) -> Result<Self::Backend> {
                TypedFactory::create(&self.0, settings)
            }
        }

        $crate::nixoci_plugin::export_backend!(Wrapped);
    };
}
