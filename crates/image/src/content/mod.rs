//! What is inside the layers: enough of it, kept small, to find the program that a container would start and
//! to tell which machine it is for.

mod capture;
mod dynamic;
mod follow;
mod index;
mod path;
mod tree;

pub(crate) use capture::Capture;
pub(crate) use follow::{Launch, judge};
pub(crate) use index::{Budget, LayerIndex};
pub(crate) use path::{clean, leads_out};
pub(crate) use tree::Tree;
