//! What the process in a fake container does. Scripted per image, and read from the environment of the container as
//! `testapp` reads it, so that one spec means the same on the fake and on a real Engine.

use std::time::Duration;

/// The life of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// What it answers and puts in `X-Version`.
    pub version: String,
    /// The port it listens on.
    pub port: u16,
    /// How long the Engine takes to start it.
    pub start_takes: Duration,
    /// Why it cannot be started at all, in the runtime's words.
    pub start_error: Option<String>,
    /// From its start until it listens; connections before that are refused.
    pub listens_after: Duration,
    /// From its start until `/ready` answers 200; `None` for never.
    pub ready_after: Option<Duration>,
    /// From its start until `/ready` answers 503 again.
    pub unready_after: Option<Duration>,
    /// When it ends by itself, and with which code.
    pub exits_after: Option<(Duration, i64)>,
    /// How long it takes to end after SIGTERM; `None` for a process that ignores it.
    pub stop_takes: Option<Duration>,
    /// How long an answer takes.
    pub answer_after: Duration,
    /// What it writes to stdout when it starts.
    pub log: Vec<String>,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            version: "v0".to_owned(),
            port: 8080,
            start_takes: Duration::ZERO,
            start_error: None,
            listens_after: Duration::ZERO,
            ready_after: Some(Duration::ZERO),
            unready_after: None,
            exits_after: None,
            stop_takes: Some(Duration::ZERO),
            answer_after: Duration::ZERO,
            log: Vec::new(),
        }
    }
}

impl Behaviour {
    /// A good process that says it is `version`.
    pub fn version(version: &str) -> Behaviour {
        Behaviour {
            version: version.to_owned(),
            ..Behaviour::default()
        }
    }

    /// One that never becomes ready.
    pub fn never_ready(version: &str) -> Behaviour {
        Behaviour {
            ready_after: None,
            ..Behaviour::version(version)
        }
    }

    /// One that ends with `code` after `after`.
    pub fn exits(version: &str, after: Duration, code: i64) -> Behaviour {
        Behaviour {
            exits_after: Some((after, code)),
            ..Behaviour::version(version)
        }
    }

    /// This behaviour with what the environment changes of it.
    pub(super) fn with_env<'a>(&self, env: impl Iterator<Item = &'a str>) -> Behaviour {
        let mut behaviour = self.clone();
        let (mut exit_after, mut code) = (None, 1);
        for variable in env {
            let Some((name, value)) = variable.split_once('=') else {
                continue;
            };
            let millis = value.parse().ok().map(Duration::from_millis);
            match (name, millis) {
                ("VERSION", _) => behaviour.version = value.to_owned(),
                ("PORT", _) => behaviour.port = value.parse().unwrap_or(behaviour.port),
                ("READY_AFTER_MS", Some(after)) => {
                    behaviour.ready_after = behaviour.ready_after.map(|_| after)
                }
                ("NEVER_READY", _) => behaviour.ready_after = None,
                ("UNREADY_AFTER_MS", Some(after)) => behaviour.unready_after = Some(after),
                ("ANSWER_AFTER_MS", Some(after)) => behaviour.answer_after = after,
                ("EXIT_CODE", _) => code = value.parse().unwrap_or(code),
                ("EXIT_AFTER_MS", Some(after)) => exit_after = Some(after),
                ("STOP_TAKES_MS", Some(takes)) => behaviour.stop_takes = Some(takes),
                ("IGNORE_TERM", _) => behaviour.stop_takes = None,
                _ => {}
            }
        }
        behaviour.exits_after = exit_after
            .map(|after| (after, code))
            .or(behaviour.exits_after);
        behaviour
    }

    /// Whether it is ready so long after its start.
    pub(super) fn is_ready(&self, up: Duration) -> bool {
        self.ready_after.is_some_and(|after| up >= after)
            && self.unready_after.is_none_or(|after| up < after)
            && up >= self.listens_after
    }
}
