wrapped::wrap!("as-darwin-builder", nixoci_backend_darwin_builder::Factory);
