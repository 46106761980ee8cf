//! Multipass's virtual machines, as far as nixoci drives them today: the program `multipass`, typed, with its quirks, and the way
//! into a guest for [`nixoci_nix::guest::GuestRunner`].
//!
//! The backend itself, which provisions a virtual machine, brings the sources in and builds there, is not here yet, and so
//! nixoci does not offer it.

pub mod driver;
pub mod error;
