//! The table on disk.
//!
//! Owns how it is written and read back. Must not know what is in it. Invariant: at any moment, also after a cut of
//! power, the directory holds a whole table that was in force, unless it never held one: written aside, synced,
//! the one before kept by a link, renamed, directory synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use routes::limit::{CLAIM_FILE, TABLE_FILE, TABLE_FORMAT};
use routes::{HostClaim, Table};
use serde::Deserialize;

const PREVIOUS_FILE: &str = "table.previous.json";
const WRITING_FILE: &str = "table.writing.json";
const SEAL: &str = "fnv1a64:";
/// Largest table read back: a full one is about 10 MiB.
const MAX_TABLE_BYTES: u64 = 64 * 1024 * 1024;

/// Where the table is kept.
#[derive(Clone, Debug)]
pub enum Storage {
    /// Nowhere: for tests that embed a proxy.
    Memory,
    /// In a directory that only the proxy and its operator write.
    Directory(PathBuf),
}

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The content is torn or changed.
    #[error("{0} is damaged")]
    Damaged(PathBuf),
    /// A later version wrote it.
    #[error(
        "{path} has format {found}, this build reads up to {TABLE_FORMAT}: the proxy starts empty until the operator pushes"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

impl Storage {
    /// Writes a table so that it survives.
    ///
    /// # Errors
    /// The file system's; the table before is still there.
    pub fn save(&self, table: &Table) -> Result<(), StorageError> {
        let Storage::Directory(directory) = self else {
            return Ok(());
        };
        let mut content = serde_json::to_vec(table)
            .map_err(|_| StorageError::Damaged(directory.join(TABLE_FILE)))?;
        let seal = format!("\n{SEAL}{:016x}\n", checksum(&content));
        content.extend_from_slice(seal.as_bytes());
        let [writing, current, previous] =
            [WRITING_FILE, TABLE_FILE, PREVIOUS_FILE].map(|name| directory.join(name));
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StorageError::Io { path, source }
        };
        let mut file = File::create(&writing).map_err(at(&writing))?;
        file.write_all(&content)
            .and_then(|()| file.sync_all())
            .map_err(at(&writing))?;
        match fs::remove_file(&previous).and_then(|()| fs::hard_link(&current, &previous)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The first or second write: there is nothing to replace, or nothing to keep yet.
                if current.exists() {
                    fs::hard_link(&current, &previous).map_err(at(&previous))?;
                }
            }
            outcome => outcome.map_err(at(&previous))?,
        }
        fs::rename(&writing, &current).map_err(at(&current))?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(at(directory))
    }

    /// The last table, and what was wrong with it. A damaged one falls back to the one before it, a second damaged or
    /// a newer one to an empty table.
    pub fn load(&self) -> (Table, Option<StorageError>) {
        let Storage::Directory(directory) = self else {
            return (Table::default(), None);
        };
        let (table, error) = match read(&directory.join(TABLE_FILE)) {
            Ok(Some(table)) => (table, None),
            Ok(None) => (Table::default(), None),
            Err(error @ StorageError::Newer { .. }) => (Table::default(), Some(error)),
            Err(error @ (StorageError::Damaged(_) | StorageError::Io { .. })) => (
                read(&directory.join(PREVIOUS_FILE))
                    .ok()
                    .flatten()
                    .unwrap_or_default(),
                Some(error),
            ),
        };
        (
            Table {
                install: table.install.or_else(|| claimed(directory)),
                ..table
            },
            error,
        )
    }
}

/// The install that the operator wrote beside the table.
fn claimed(directory: &Path) -> Option<String> {
    let content = fs::read(directory.join(CLAIM_FILE)).ok()?;
    match serde_json::from_slice::<HostClaim>(&content) {
        Ok(claim) => Some(claim.install),
        Err(error) => {
            tracing::warn!(%error, "the claim file is damaged; the first operator claims");
            None
        }
    }
}

fn read(path: &Path) -> Result<Option<Table>, StorageError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = || StorageError::Damaged(path.to_owned());
    let content = match fs::metadata(path).and_then(|metadata| {
        if metadata.len() > MAX_TABLE_BYTES {
            Err(io::ErrorKind::FileTooLarge.into())
        } else {
            fs::read(path)
        }
    }) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(StorageError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let (body, seal) = split_seal(&content).ok_or_else(damaged)?;
    let Format { format: found } = serde_json::from_slice(body).map_err(|_| damaged())?;
    if found > TABLE_FORMAT {
        return Err(StorageError::Newer {
            path: path.to_owned(),
            found,
        });
    }
    if seal != format!("{:016x}", checksum(body)).as_bytes() {
        return Err(damaged());
    }
    serde_json::from_slice(body)
        .map(Some)
        .map_err(|_| damaged())
}

fn split_seal(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let content = content.strip_suffix(b"\n")?;
    let line = content.iter().rposition(|byte| *byte == b'\n')?;
    Some((
        &content[..line],
        content[line + 1..].strip_prefix(SEAL.as_bytes())?,
    ))
}

/// FNV-1a: notices torn and rotten files. Whoever can write the file can also seal it, so more would be no better.
fn checksum(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
