wrapped::wrap!("as-cross", nixoci_backend_cross::Factory);
