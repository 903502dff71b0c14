//! What the environment tells the application to be.
//!
//! | Variable | Default | Meaning |
//! |---|---|---|
//! | `PORT` | 8080 | where it listens |
//! | `VERSION` | `v0` | what it says it is |
//! | `READY_AFTER_MS` | 0 | `/ready` answers 503 until so long after the start |
//! | `NEVER_READY` | unset | set: `/ready` answers 503 for ever |
//! | `UNREADY_AFTER_MS` | unset | `/ready` answers 503 again after so long |
//! | `ANSWER_AFTER_MS` | 0 | every answer but `/ready` takes so long |
//! | `EXIT_AFTER_MS`, `EXIT_CODE` | unset, 1 | it ends by itself |
//! | `STOP_TAKES_MS` | 0 | so long from SIGTERM to the end |
//! | `IGNORE_TERM` | unset | set: SIGTERM is only logged |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// An end that the application brings about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// How long after the start.
    pub after: Duration,
    /// The exit code.
    pub code: u8,
}

/// The environment, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub port: u16,
    /// What it says it is.
    pub version: String,
    /// When it becomes ready after the start; `None` for never.
    pub ready_after: Option<Duration>,
    /// When it stops being ready.
    pub unready_after: Option<Duration>,
    /// How long an answer takes.
    pub answer_after: Duration,
    /// Whether it ends by itself.
    pub exit: Option<Exit>,
    /// How long it takes to stop.
    pub stop_takes: Duration,
    /// Whether SIGTERM has no effect.
    pub ignores_term: bool,
}

/// A variable that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    name: &'static str,
    value: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?} is not a number in range", self.name, self.value)
    }
}

impl Settings {
    /// Reads the variables through `variable`.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, Unreadable> {
        let millis =
            |name| Ok::<_, Unreadable>(number::<u64>(&variable, name)?.map(Duration::from_millis));
        let never = variable("NEVER_READY").is_some();
        let code = number(&variable, "EXIT_CODE")?.unwrap_or(1);
        Ok(Settings {
            port: number(&variable, "PORT")?.unwrap_or(8080),
            version: variable("VERSION").unwrap_or_else(|| "v0".to_owned()),
            ready_after: (!never).then_some(millis("READY_AFTER_MS")?.unwrap_or_default()),
            unready_after: millis("UNREADY_AFTER_MS")?,
            answer_after: millis("ANSWER_AFTER_MS")?.unwrap_or_default(),
            exit: millis("EXIT_AFTER_MS")?.map(|after| Exit { after, code }),
            stop_takes: millis("STOP_TAKES_MS")?.unwrap_or_default(),
            ignores_term: variable("IGNORE_TERM").is_some(),
        })
    }
}

fn number<T: FromStr>(
    variable: impl Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Option<T>, Unreadable> {
    match variable(name) {
        None => Ok(None),
        Some(value) => value
            .parse()
            .map(Some)
            .map_err(|_| Unreadable { name, value }),
    }
}
