wrapped::wrap!("as-multipass", nixoci_backend_multipass::Factory);
