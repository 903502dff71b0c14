//! The proxy as a black box: clients, instances and operators of our own around one proxy, in one runtime with driven
//! time.

mod checks;
mod drain;
mod failures;
mod hostile;
mod process;
mod routing;
mod sessions;
mod streams;
mod table;
mod world;
