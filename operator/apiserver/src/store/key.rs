//! Owns the name under which an object is stored, and its byte form.
//!
//! It must not know what objects contain. Invariant: the byte form sorts by resource, namespace and name, and decodes
//! to the key it was made from; none of the three parts contains a NUL, which names in Kubernetes cannot.

use std::fmt;
use std::sync::Arc;

/// Where an object lives: the storage's resource, the namespace and the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// `group/plural`, with an empty group for the core group: `/secrets`, `apps.example.com/widgets`.
    pub resource: Arc<str>,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl Key {
    /// Makes a key of its three parts.
    pub fn new(resource: &Arc<str>, namespace: &str, name: &str) -> Self {
        Self {
            resource: Arc::clone(resource),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The key's bytes on disk.
    pub fn encode(&self) -> Vec<u8> {
        format!("{}\0{}\0{}", self.resource, self.namespace, self.name).into_bytes()
    }

    /// The key of bytes on disk; `None` when the file holds something that this program never wrote.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut parts = text.splitn(3, '\0');
        let (resource, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            resource: Arc::from(resource),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.resource, self.name)
        } else {
            write!(f, "{} {}/{}", self.resource, self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_byte_form() {
        let key = Key::new(&Arc::from("/secrets"), "default", "a.b");
        assert_eq!(Key::decode(&key.encode()), Some(key));
        assert_eq!(Key::decode(b"no separator"), None);
        assert_eq!(Key::decode(&[0xff, 0, 0]), None);
    }
}
