wrapped::wrap!("as-local", nixoci_backend_local::Factory);
