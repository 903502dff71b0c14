//! What black-box tests stand on: a Docker Engine in process, and the images that are put on Engines.
//!
//! Never shipped. It knows the crates under test only by what they show to everyone.

pub mod alone;
pub mod cable;
pub mod deployed;
pub mod docker_cli;
pub mod fake_engine;
pub mod hearing;
pub mod images;
pub mod installation;
pub mod kubectl;
pub mod load;
pub mod picture;
pub mod private_engine;
pub mod program;
pub mod proxies;
pub mod registry;
pub mod report;
pub mod request;
pub mod states;
pub mod stop_gate;
pub mod world;
