//! The story against a real Kubernetes: `.ci/matrix` starts one, installs the chart, runs `mooring operator` with the
//! chart's own ServiceAccount, and then this program.
//!
//! A program of its own that `cargo test` does not run by itself, so that it is either run with a cluster or not at
//! all.

#[allow(dead_code, reason = "the stories of one Engine alone use the rest")]
mod shop;
mod story;

use std::path::PathBuf;

use tests::deployed::Deployed;
use tests::installation;
use tests::kubectl::Kubectl;

/// The kubeconfig of somebody who may do what the story does.
const KUBECONFIG: &str = "MOORING_E2E_KUBECONFIG";
/// The port of the proxy on this host.
const HTTP_PORT: &str = "MOORING_HTTP_PORT";

#[test]
fn the_story_is_the_same_on_a_real_kubernetes() {
    let variable =
        |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run .ci/matrix"));
    let kubeconfig = PathBuf::from(variable(KUBECONFIG));
    let port = variable(HTTP_PORT);
    let port = port.parse().expect("the port is a number");
    let dist = installation::dist();
    let _images = Deployed::images(&dist);
    story::tell(&Kubectl::new(&kubeconfig), port, &dist);
}
