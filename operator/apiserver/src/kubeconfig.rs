//! Owns the kubeconfig: the one file a person needs to reach the server, and the only place the token is kept.
//!
//! It must not know how the server listens. Invariant: the file has mode 0600 and holds everything, no path to another
//! file.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Name of cluster, user and context.
const NAME: &str = "mooring";

/// Largest kubeconfig that is read back.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Renders a kubeconfig. JSON is YAML, so that quoting is no question.
pub fn render(server_url: &str, ca_pem: &str, token: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": {
            "server": server_url,
            "certificate-authority-data": STANDARD.encode(ca_pem),
        }}],
        "users": [{"name": NAME, "user": {"token": token}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
        "current-context": NAME,
        "preferences": {},
    });
    let mut text = serde_json::to_string_pretty(&config).unwrap_or_else(|_| config.to_string());
    text.push('\n');
    text
}

/// The token in a kubeconfig that [`render`] made, if it is there and readable.
pub fn token(path: &Path) -> Option<String> {
    if fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let config: Value = serde_saphyr::from_str(&text).ok()?;
    let users = config.get("users")?.as_array()?;
    users
        .iter()
        .find(|user| user.get("name").is_some_and(|name| name == NAME))?
        .pointer("/user/token")?
        .as_str()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_read_back() {
        let path = std::env::temp_dir().join(format!("mooring-kubeconfig-{}", std::process::id()));
        let text = render("https://127.0.0.1:7443", "PEM", "secret-token");
        fs::write(&path, text).expect("temporary file");
        assert_eq!(token(&path).as_deref(), Some("secret-token"));
        fs::write(&path, "{").expect("temporary file");
        assert_eq!(token(&path), None);
        fs::remove_file(&path).expect("clean");
    }
}
