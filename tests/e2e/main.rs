//! End to end on real parts: this machine's Engine, real kubectl, the released `mooring` and `mooring-proxy`.
//!
//! One file per story. Each has an install of its own, one after the other, since a host belongs to one. A missing part
//! fails with what to run; nothing is skipped.

mod bad_host;
mod config;
mod drift;
mod embedded;
mod heal;
mod kill;
mod ledger;
mod registry;
mod restarts;
mod shop;
mod story;
