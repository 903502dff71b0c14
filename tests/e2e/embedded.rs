//! The story on the embedded control plane.

use tests::installation::{self, Installation};

use crate::story;

#[test]
fn the_story_is_told_on_the_embedded_control_plane() {
    let installation = Installation::fresh("story");
    let ready = &installation.control_plane().ready_line;
    let kubeconfig = installation.data_dir().join("kubeconfig");
    assert!(
        ready.contains(&format!("KUBECONFIG={}", kubeconfig.display())),
        "the ready line names the kubeconfig: {ready}"
    );
    assert!(
        ready.contains(&installation.http_port().to_string()) && ready.contains("firewall"),
        "the ready line names the port that a firewall must let in: {ready}"
    );
    story::tell(
        &installation.kubectl(),
        installation.http_port(),
        &installation::dist(),
    );
}
