nixoci_plugin::export_backend!(echo_backend::Factory, codes = echo_backend::CODES);
