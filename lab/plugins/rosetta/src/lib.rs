wrapped::wrap!("as-rosetta", nixoci_backend_rosetta::Factory);
