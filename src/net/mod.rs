//! (being built)
pub use crate::resp::output;
