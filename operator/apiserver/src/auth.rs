//! Owns who calls: the admin token, and the identity that a token or an in-process caller stands for.
//!
//! It must not know what a caller may do beyond that. Invariants: only a hash of the token is kept beside the data; it
//! is compared in constant time; a token is never printed.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::store::crypt::write_private;

/// The user that the generated kubeconfig stands for.
pub const ADMIN: &str = "admin";

/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the user, for the audit log, events and limits.
    pub user: Arc<str>,
    /// Whether the caller is a loop of the server itself, which limits on clients do not hold up.
    pub system: bool,
}

impl Identity {
    /// An identity by name.
    pub fn named(user: &str) -> Self {
        Self {
            user: Arc::from(user),
            system: false,
        }
    }

    /// One of the server's own loops.
    pub(crate) fn system(name: &str) -> Self {
        Self {
            user: Arc::from(format!("system:{name}")),
            system: true,
        }
    }
}

/// Checks credentials.
pub struct Authenticator {
    hash: [u8; 32],
}

impl Authenticator {
    /// Checks against the hash in `keys`, if `known` is the token that it was made of; else a new token is made and
    /// every earlier one is worth nothing.
    ///
    /// Only the hash is kept here. The token itself lives in the kubeconfig, which is where `known` comes from.
    pub fn open(keys: &Path, known: Option<String>) -> io::Result<(Self, String)> {
        let path = keys.join("admin-token.sha256");
        let kept = match fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let (Some(kept), Some(token)) = (kept, known) {
            let check = Self::for_token(&token);
            if bool::from(hex(&check.hash).as_bytes().ct_eq(kept.as_bytes())) {
                return Ok((check, token));
            }
        }
        let (check, token) = Self::in_memory()?;
        write_private(&path, format!("{}\n", hex(&check.hash)).as_bytes())?;
        Ok((check, token))
    }

    /// A check for a token that is on no disk.
    pub fn in_memory() -> io::Result<(Self, String)> {
        let token = new_token()?;
        Ok((Self::for_token(&token), token))
    }

    fn for_token(token: &str) -> Self {
        Self {
            hash: Sha256::digest(token.as_bytes()).into(),
        }
    }

    /// Who sent these headers; `None` for nobody known.
    pub fn identify(&self, headers: &HeaderMap) -> Option<Identity> {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
        bool::from(hash.ct_eq(&self.hash)).then(|| Identity::named(ADMIN))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn new_token() -> io::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().expect("a header"));
        headers
    }

    #[test]
    fn only_the_token_is_let_in() {
        let (check, token) = Authenticator::in_memory().expect("randomness");
        let good = check.identify(&headers(&format!("Bearer {token}")));
        assert_eq!(good, Some(Identity::named(ADMIN)));
        assert!(check.identify(&headers("Bearer wrong")).is_none());
        assert!(check.identify(&headers(&token)).is_none());
        assert!(
            check
                .identify(&headers(&format!("Basic {token}")))
                .is_none()
        );
        assert!(check.identify(&HeaderMap::new()).is_none());
    }
}
