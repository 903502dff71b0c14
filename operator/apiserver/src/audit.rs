//! Owns the record of every write that a client or a loop of the server asked for.
//!
//! It must not know what objects contain: an entry says who did what to which name and how it ended, never a value.
//! Invariant: the log is bounded, whatever clients do.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// Size at which the log file is set aside.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Files kept, the current one included.
const FILES_MAX: u32 = 4;

/// One write, as it ended.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When it was answered.
    pub time: Timestamp,
    /// create, update, patch, apply, delete or deletecollection.
    pub verb: String,
    /// `group/version` or `v1`.
    pub api_version: String,
    /// Plural resource name, with `/status` and the like for a subresource.
    pub resource: String,
    /// Empty for cluster-scoped resources.
    pub namespace: String,
    /// The object's name; empty for a collection or where none was given.
    pub name: String,
    /// Who asked.
    pub user: String,
    /// The HTTP code of the answer.
    pub code: u16,
    /// Whether something was committed.
    pub changed: bool,
    /// Whether it was a dry run.
    pub dry_run: bool,
}

/// Receives every entry, for tests that count writes.
pub type Sink = Arc<dyn Fn(&Entry) + Send + Sync>;

/// Where entries go.
pub struct AuditLog {
    file: Option<Mutex<Rotating>>,
    sink: Option<Sink>,
}

struct Rotating {
    directory: PathBuf,
    file: File,
    bytes: u64,
}

impl AuditLog {
    /// Opens the log in `directory`, if there is one; the sink gets the same entries.
    pub fn open(directory: Option<&Path>, sink: Option<Sink>) -> io::Result<Self> {
        let file = directory.map(Rotating::open).transpose()?.map(Mutex::new);
        Ok(Self { file, sink })
    }

    /// Records one entry. A log that cannot be written is said once per entry and holds nobody up.
    pub fn record(&self, entry: &Entry) {
        if let Some(sink) = &self.sink {
            sink(entry);
        }
        let Some(file) = &self.file else {
            return;
        };
        let result = serde_json::to_vec(entry)
            .map_err(io::Error::from)
            .and_then(|line| {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.append(line)
            });
        if let Err(error) = result {
            tracing::warn!(%error, "the audit log cannot be written");
        }
    }
}

impl Rotating {
    fn open(directory: &Path) -> io::Result<Self> {
        let file = open_log(&directory.join("audit.log"))?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            directory: directory.to_owned(),
            file,
            bytes,
        })
    }

    fn append(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        if self.bytes + line.len() as u64 > FILE_BYTES_MAX {
            self.rotate()?;
        }
        self.file.write_all(&line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let name = |nth: u32| match nth {
            0 => self.directory.join("audit.log"),
            older => self.directory.join(format!("audit.log.{older}")),
        };
        for nth in (0..FILES_MAX - 1).rev() {
            if name(nth).exists() {
                fs::rename(name(nth), name(nth + 1))?;
            }
        }
        self.file = open_log(&name(0))?;
        self.bytes = 0;
        Ok(())
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            time: Timestamp::UNIX_EPOCH,
            verb: "create".to_owned(),
            api_version: "v1".to_owned(),
            resource: "configmaps".to_owned(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            user: "admin".to_owned(),
            code: 201,
            changed: true,
            dry_run: false,
        }
    }

    #[test]
    fn the_log_is_bounded() {
        let directory = std::env::temp_dir().join(format!("mooring-audit-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("temporary directory");
        let log = AuditLog::open(Some(&directory), None).expect("opens");
        let long = "n".repeat(1 << 20);
        for _ in 0..(FILES_MAX as u64 + 2) * FILE_BYTES_MAX / (1 << 20) {
            log.record(&entry(&long));
        }
        let files: Vec<u64> = fs::read_dir(&directory)
            .expect("listed")
            .map(|file| file.and_then(|file| file.metadata()).expect("there").len())
            .collect();
        assert_eq!(files.len(), FILES_MAX as usize);
        assert!(files.iter().all(|bytes| *bytes <= FILE_BYTES_MAX));
        fs::remove_dir_all(&directory).expect("clean");
    }

    #[test]
    fn the_sink_sees_every_entry() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink: Sink = {
            let seen = Arc::clone(&seen);
            Arc::new(move |entry: &Entry| {
                seen.lock().expect("no panic").push(entry.name.clone());
            })
        };
        let log = AuditLog::open(None, Some(sink)).expect("opens");
        log.record(&entry("a"));
        log.record(&entry("b"));
        assert_eq!(*seen.lock().expect("no panic"), ["a", "b"]);
    }
}
