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

/// Which version answers requests on `port`.
///
/// # Errors
/// None does, in words.
pub fn version(port: u16) -> Result<String, String> {
    let answer = request::get(port, HOST, "/")?;
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
