//! What black-box tests stand on: a Docker Engine in process, and the images that are put on Engines.
//!
//! Never shipped. It knows the crates under test only by what they show to everyone.

pub mod fake_engine;
pub mod picture;
pub mod proxies;
pub mod stop_gate;
pub mod world;
