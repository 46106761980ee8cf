wrapped::wrap!("as-remote", nixoci_backend_remote::Factory);
