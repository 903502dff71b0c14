//! placeholder
pub mod docker;
pub mod gate;
