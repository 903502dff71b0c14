//! Owns encryption at rest: AES-256-GCM under one key, bound to the place and version of each object.
//!
//! It must not know what it encrypts. Invariant: bytes that were moved to another name, put back from an older version
//! or changed on disk do not decrypt. The key is never printed.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;

use super::key::Key;

/// Length of the key in bytes.
pub(super) const KEY_BYTES: usize = 32;

/// The key file of a data directory, below `keys`.
const KEY_FILE_MODE: u32 = 0o600;

/// Why the key is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Reading or writing the file failed.
    #[error("at-rest key file {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The data is encrypted and its key is gone.
    #[error(
        "at-rest key file {path} is missing but the data directory has encrypted Secrets; put the file back, or name it with --at-rest-key-file"
    )]
    Missing {
        /// The file.
        path: String,
    },
    /// The file does not hold a key.
    #[error("at-rest key file {path} must hold 32 bytes as 64 hexadecimal digits")]
    Malformed {
        /// The file.
        path: String,
    },
    /// The file can be read by others.
    #[error("at-rest key file {path} can be read by other users (mode {mode:o}); chmod 600 it")]
    Exposed {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The system has no randomness to give.
    #[error("no random bytes for a new key")]
    Random,
    /// Another key encrypted this data.
    #[error("the at-rest key is not the one that this data was encrypted with")]
    Wrong,
}

/// Makes 32 random bytes.
pub(super) fn random_key() -> Result<[u8; KEY_BYTES], KeyError> {
    let mut key = [0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| KeyError::Random)?;
    Ok(key)
}

/// Reads a key file.
pub(super) fn read_key(path: &Path) -> Result<[u8; KEY_BYTES], KeyError> {
    let name = path.display().to_string();
    let io_error = |source| KeyError::Io {
        path: name.clone(),
        source,
    };
    let metadata = fs::metadata(path).map_err(io_error)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(KeyError::Exposed { path: name, mode });
    }
    let text = fs::read(path).map_err(io_error)?;
    decode_hex(&text).ok_or(KeyError::Malformed {
        path: path.display().to_string(),
    })
}

/// Reads the key file, or makes it when there is none and nothing has been encrypted yet.
pub(super) fn read_or_make_key(path: &Path, must_exist: bool) -> Result<[u8; KEY_BYTES], KeyError> {
    if path.exists() {
        return read_key(path);
    }
    if must_exist {
        return Err(KeyError::Missing {
            path: path.display().to_string(),
        });
    }
    let key = random_key()?;
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(path, format!("{text}\n").as_bytes()).map_err(|source| KeyError::Io {
        path: path.display().to_string(),
        source,
    })?;
    Ok(key)
}

/// Writes a file of mode 0600 so that after a power cut it is there whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path
        .parent()
        .ok_or_else(|| io::Error::other("a file needs a directory"))?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = std::path::PathBuf::from(name);
    if beside.exists() {
        fs::remove_file(&beside)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(KEY_FILE_MODE)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    fs::File::open(parent)?.sync_all()
}

fn decode_hex(text: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if text.len() != KEY_BYTES * 2 || !text.is_ascii() {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(key)
}

/// Seals and opens the bytes of objects.
pub(super) struct Sealer {
    key: RandomizedNonceKey,
}

impl Sealer {
    /// A sealer under `key`.
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self {
            key: RandomizedNonceKey::new(&AES_256_GCM, key)
                .expect("invariant: AES-256-GCM takes a key of 32 bytes"),
        }
    }

    /// Encrypts `plain` for this place and version: nonce, then ciphertext and tag.
    pub(super) fn seal(&self, key: &Key, version: u64, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(place(key, version)), &mut sealed)
            .map_err(|_| KeyError::Random)?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut sealed);
        Ok(bytes)
    }

    /// Decrypts what [`Sealer::seal`] made for the same place and version.
    pub(super) fn open(&self, key: &Key, version: u64, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError::Wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::Wrong)?;
        let mut body = body.to_vec();
        let length = self
            .key
            .open_in_place(nonce, Aad::from(place(key, version)), &mut body)
            .map_err(|_| KeyError::Wrong)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

fn place(key: &Key, version: u64) -> Vec<u8> {
    let mut bytes = key.encode();
    bytes.push(0);
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_sealed_object_opens_only_in_its_place_and_version() {
        let sealer = Sealer::new(&[7; KEY_BYTES]);
        let resource = Arc::from("/secrets");
        let key = Key::new(&resource, "default", "a");
        let sealed = sealer.seal(&key, 5, b"password").expect("randomness");
        assert!(!sealed.windows(8).any(|part| part == b"password"));
        assert_eq!(
            sealer.open(&key, 5, &sealed).expect("same place"),
            b"password"
        );
        assert!(
            sealer.open(&key, 6, &sealed).is_err(),
            "an older version put back"
        );
        let other = Key::new(&resource, "default", "b");
        assert!(
            sealer.open(&other, 5, &sealed).is_err(),
            "moved to another name"
        );
        let mut changed = sealed.clone();
        changed[20] ^= 1;
        assert!(sealer.open(&key, 5, &changed).is_err(), "changed on disk");
        assert!(Sealer::new(&[8; KEY_BYTES]).open(&key, 5, &sealed).is_err());
        assert!(sealer.open(&key, 5, &sealed[..4]).is_err());
    }

    #[test]
    fn key_files_are_private_and_checked() {
        let directory = std::env::temp_dir().join(format!("mooring-key-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("temporary directory");
        let path = directory.join("at-rest");
        let key = read_or_make_key(&path, false).expect("made");
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(read_or_make_key(&path, true).expect("read back"), key);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(read_key(&path), Err(KeyError::Exposed { .. })));
        fs::remove_file(&path).expect("remove");
        assert!(matches!(
            read_or_make_key(&path, true),
            Err(KeyError::Missing { .. })
        ));
        fs::remove_dir_all(&directory).expect("clean");
    }
}
