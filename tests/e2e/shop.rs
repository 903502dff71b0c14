//! The pipeline that stories declare: brisk, and as good or bad as its version.

use std::time::Duration;

use tests::deployed::SHOP;
use tests::program;
use tests::request;

/// Its name.
pub const NAME: &str = "store";
/// The object as kubectl takes it.
pub const OBJECT: &str = "deploymentpipeline/store";
/// The host name of its requests.
pub const HOST: &str = "store.localhost";
/// Seconds that any rollout of it may take.
pub const PATIENCE: u32 = 90;

/// Its manifest. Three seconds without readiness are a failure, and it is watched for one second.
pub fn manifest(version: &str, replicas: u32) -> String {
    format!(
        "apiVersion: mooring.dev/v1alpha1
kind: DeploymentPipeline
metadata:
  name: {NAME}
spec:
  replicas: {replicas}
  source:
    image: {SHOP}:{version}
  template:
    terminationGracePeriodSeconds: 1
    containers:
    - name: main
      readinessProbe:
        httpGet: {{path: /ready, port: 8080}}
        periodSeconds: 1
  traffic:
    port: 8080
    hosts: [{HOST}]
    drain: {{requestSeconds: 5, streamSeconds: 1}}
  strategy:
    minReadySeconds: 1
    healthyDeadlineSeconds: 4
    progressDeadlineSeconds: 60
    bakeSeconds: 1
    rollingUpdate: {{maxSurge: {replicas}}}
"
    )
}

/// Another pipeline beside it, of another host name, whose answers nobody can take for the shop's.
pub const OTHER: &str = "other";
/// Its host name.
pub const OTHER_HOST: &str = "other.localhost";
/// Its object as kubectl takes it.
pub const OTHER_OBJECT: &str = "deploymentpipeline/other";

/// Its manifest: it answers as `version`, and is watched for `bake` seconds.
pub fn other(version: &str, replicas: u32, bake: u32) -> String {
    manifest("1.0", replicas)
        .replace(&format!("  name: {NAME}\n"), &format!("  name: {OTHER}\n"))
        .replace(HOST, OTHER_HOST)
        .replace(
            "    - name: main\n",
            &format!("    - name: main\n      env: [{{name: VERSION, value: {version}}}]\n"),
        )
        .replace("bakeSeconds: 1\n", &format!("bakeSeconds: {bake}\n"))
}

/// Which version answers requests on `port`.
///
/// # Errors
/// None does, in words.
pub fn version(port: u16) -> Result<String, String> {
    version_at(port, HOST)
}

/// Which version answers requests for `host` on `port`.
///
/// # Errors
/// None does, in words.
pub fn version_at(port: u16, host: &str) -> Result<String, String> {
    let answer = request::get(port, host, "/")?;
    if answer.status == 200 {
        Ok(answer.body.trim().to_owned())
    } else {
        Err(format!("{} {}", answer.status, answer.body))
    }
}

/// Every answer of a few in a row is `expected`'s.
pub fn assert_answers(port: u16, expected: &str) {
    for _ in 0..12 {
        assert_eq!(version(port).as_deref(), Ok(expected));
    }
}

/// Waits until the Engine shows what is wanted.
pub fn until<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    program::until(what, Duration::from_secs(u64::from(PATIENCE)), look)
}
