//! A model of the world that `plan` decides about: hosts, containers, a proxy each, and an API.
//!
//! Time is driven, every effect takes hold at once or is cut where a test says so, and every step
//! is held against the promises before and after. Nothing here does I/O.

#![expect(
    clippy::unwrap_used,
    reason = "a model that is wrong about itself shall fail at once"
)]

mod accidents;
mod act;
mod app;
mod check;
mod crashes;
mod engine;
mod observe;
mod properties;
mod stories;
mod verbs;
mod world;
