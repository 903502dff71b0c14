//! Running other programs: bounded in time, with everything they wrote in the message when they fail.
//!
//! Owns patience. It must not know what the programs are. Invariants: nothing waits without a limit, and no program
//! outlives the wait for it.

use std::io::{Read, Write as _};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at a condition that nothing announces.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `look` finds what is wanted and gives it, or panics after `limit` with what it said last.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + limit;
    loop {
        let why = match look() {
            Ok(found) => return found,
            Err(why) => why,
        };
        assert!(
            Instant::now() < end,
            "{what}: not within {} s: {why}",
            limit.as_secs_f32()
        );
        thread::park_timeout(PAUSE);
    }
}

/// Runs a program to its end with `input` on its standard input.
///
/// # Panics
/// It cannot be started, or did not end within `limit`; then it is killed.
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Output {
    let words = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {words}: {error}"));
    // A program may end without reading what it was given.
    let _ = child.stdin.take().expect("it is piped").write_all(input);
    let stdout = drain(child.stdout.take().expect("it is piped"));
    let stderr = drain(child.stderr.take().expect("it is piped"));
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait().expect("a child of ours can be waited for") {
            Some(status) => break Some(status),
            None if Instant::now() >= end => break None,
            None => thread::park_timeout(Duration::from_millis(5)),
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let output = (
        stdout.join().expect("reading does not panic"),
        stderr.join().expect("reading does not panic"),
    );
    let Some(status) = status else {
        panic!(
            "{words} did not end within {} s\n{}{}",
            limit.as_secs(),
            String::from_utf8_lossy(&output.0),
            String::from_utf8_lossy(&output.1)
        );
    };
    Output {
        status,
        stdout: output.0,
        stderr: output.1,
    }
}

fn drain(mut source: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what there is.
        let _ = source.read_to_end(&mut bytes);
        bytes
    })
}

/// The standard output of a program that must succeed.
///
/// # Panics
/// It failed, or did not end in time.
pub fn output(command: &mut Command, limit: Duration) -> String {
    let words = format!("{command:?}");
    let output = run(command, b"", limit);
    assert!(
        output.status.success(),
        "{words} failed ({})\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Bytes as text for people.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
