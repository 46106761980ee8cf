//! nixoci.toml.
mod table;
pub use table::BackendTable;
mod model;
