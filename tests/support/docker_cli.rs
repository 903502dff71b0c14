//! Real docker against the Engine that a test uses, as a person would type it.
//!
//! Owns which Engine that is: the test's private one, else what `DOCKER_HOST` names, else the usual one. It must not know
//! Mooring beyond its labels.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::program;

/// Names the Engine that the contract suite and end-to-end tests use, as it does for docker itself.
const HOST: &str = "DOCKER_HOST";
/// The one that they use when nobody names one.
const USUAL: &str = "unix:///var/run/docker.sock";
/// The longest time that any call may take.
const PATIENCE: Duration = Duration::from_secs(60);

thread_local! {
    /// The private Engine of the test on this thread.
    static PRIVATE: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// From now on this thread uses the Engine on `socket`, or again the one that everybody uses.
pub(crate) fn use_engine(socket: Option<&Path>) {
    PRIVATE.set(socket.map(Path::to_owned));
}

/// The endpoint of the Engine that tests on this thread use.
pub fn host() -> String {
    let private = PRIVATE.with_borrow(|socket| {
        let socket = socket.as_ref()?;
        Some(format!("unix://{}", socket.display()))
    });
    private.unwrap_or_else(|| std::env::var(HOST).unwrap_or_else(|_| USUAL.to_owned()))
}

/// The socket of the Engine that tests use.
///
/// # Panics
/// It is reached in another way.
pub fn socket() -> PathBuf {
    let host = host();
    let socket = host.strip_prefix("unix://");
    PathBuf::from(socket.unwrap_or_else(|| panic!("{HOST}={host} is no unix socket")))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command
        .args(["--host", &host()])
        .args(arguments)
        .env_remove("DOCKER_CONTEXT")
        .env_remove("DOCKER_TLS_VERIFY");
    command
}

/// What docker answers, whatever that is.
pub fn try_docker(arguments: &[&str]) -> Output {
    program::run(&mut command(arguments), b"", PATIENCE)
}

/// What docker prints.
///
/// # Panics
/// It failed.
pub fn docker(arguments: &[&str]) -> String {
    program::output(&mut command(arguments), PATIENCE)
}

/// The words that docker prints, such as a list of ids.
///
/// # Panics
/// It failed.
pub fn words(arguments: &[&str]) -> Vec<String> {
    let printed = docker(arguments);
    printed.split_whitespace().map(str::to_owned).collect()
}

/// The ids of the running containers of a pipeline in the namespace default, in order.
///
/// # Panics
/// The Engine does not answer.
pub fn running(pipeline: &str) -> Vec<String> {
    instances(pipeline, &[])
}

/// The ids of all containers of a pipeline in the namespace default, in order.
///
/// # Panics
/// The Engine does not answer.
pub fn all(pipeline: &str) -> Vec<String> {
    instances(pipeline, &["--all"])
}

fn instances(pipeline: &str, more: &[&str]) -> Vec<String> {
    let label = format!("label=mooring.dev/pipeline={pipeline}");
    let name = format!("name=^/default\\.{pipeline}\\.");
    let fixed = [
        "ps",
        "--quiet",
        "--no-trunc",
        "--filter",
        &label,
        "--filter",
        &name,
    ];
    let arguments: Vec<&str> = fixed.into_iter().chain(more.iter().copied()).collect();
    let mut ids = words(&arguments);
    ids.sort();
    ids
}

/// The name of a container without its slash.
///
/// # Panics
/// There is no such container.
pub fn name(container: &str) -> String {
    let name = docker(&["inspect", "--format", "{{.Name}}", container]);
    name.trim().trim_start_matches('/').to_owned()
}
