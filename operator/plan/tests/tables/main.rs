//! Tables: a short text world in, the plan as text out.

#![expect(
    clippy::unwrap_used,
    reason = "a table that does not read shall fail at once"
)]

mod plans;
mod reasons;
mod text;
mod upgrade;
