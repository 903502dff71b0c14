//! Owns what the server makes up: the ends of generated names, and uids.
//!
//! It must not know objects. Invariant: a uid is never given twice.

use crate::error::ApiError;

/// Letters of generated names: no vowels, so that no words come out; Kubernetes' own.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Letters added to `generateName`.
const NAME_SUFFIX: usize = 5;

/// Of a `generateName`, so much is kept that the name stays within 63 characters.
const NAME_PREFIX_MAX: usize = 63 - NAME_SUFFIX;

fn random_bytes<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| ApiError::internal("no random bytes"))?;
    Ok(bytes)
}

/// A name that begins with `prefix` and that nobody can have guessed.
pub(super) fn generate_name(prefix: &str) -> Result<String, ApiError> {
    let mut name: String = prefix.chars().take(NAME_PREFIX_MAX).collect();
    for byte in random_bytes::<NAME_SUFFIX>()? {
        name.push(char::from(
            NAME_LETTERS[usize::from(byte) % NAME_LETTERS.len()],
        ));
    }
    Ok(name)
}

/// A random UUID, version 4.
pub(super) fn new_uid() -> Result<String, ApiError> {
    let mut bytes: [u8; 16] = random_bytes()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_a_label_and_uids_are_of_version_4() {
        let name = generate_name(&"n".repeat(100)).expect("randomness");
        assert_eq!(name.len(), 63);
        let uid = new_uid().expect("randomness");
        assert_eq!(uid.len(), 36);
        assert_eq!(uid.as_bytes()[14], b'4');
        assert_ne!(uid, new_uid().expect("randomness"));
    }
}
