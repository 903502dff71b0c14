//! Figures that are shown when a test passes as well.

use std::fmt::Display;
use std::io::Write;

/// Writes text straight to the standard output, past the capture of the test harness.
///
/// # Panics
/// When the standard output is closed.
pub fn show(text: impl Display) {
    writeln!(std::io::stdout(), "{text}").expect("the standard output is open");
}
