//! The contract of a backend, held against this one.

nixoci_testkit::conformance!(echo_backend::Factory);
