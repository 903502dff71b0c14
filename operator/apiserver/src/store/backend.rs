//! Owns the database file: opening it, its format number, and the one durable commit per batch.
//!
//! It must not know about watches or who asked for a write. Invariants: the format number is read before anything
//! else and a newer one is refused; one process at a time has a data directory; a batch is on disk whole or not at all,
//! together with the resourceVersion that it ends with.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::crypt::{self, KEY_BYTES, KeyError, Sealer};
use super::disk::MemoryDisk;
use super::key::Key;
use super::{StoreError, Stored};

/// The format of keys and values that this build writes; the newest that it reads.
pub const FORMAT: u64 = 1;

/// Pages that the database keeps in memory. Objects are served from the store's own map, so this only has to hold the
/// inner pages that each commit touches.
const CACHE_BYTES: usize = 4 << 20;

/// A file of at least this size is compacted when it is opened and mostly holes.
const COMPACT_FROM_BYTES: u64 = 64 << 20;

/// The resource whose objects are encrypted.
pub(super) const SEALED_RESOURCE: &str = "/secrets";

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");
const META_FORMAT: &str = "format";
const META_VERSION: &str = "resourceVersion";
const META_KEY_CHECK: &str = "keyCheck";

/// First byte of a value: how the rest is to be read.
const PLAIN: u8 = 0;
const SEALED: u8 = 1;
/// The kind byte and the resourceVersion in front of each value.
const VALUE_HEAD: usize = 9;

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or locked.
    #[error("data directory {path}: {source}")]
    Directory {
        /// The directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process uses it.
    #[error(
        "data directory {path} is in use by another process; stop that one or name another --data-dir"
    )]
    InUse {
        /// The directory.
        path: String,
    },
    /// A later build wrote it.
    #[error(
        "the data has format {found} and this build reads up to {FORMAT}: it was written by a newer version, use that one or restore a backup made before the upgrade"
    )]
    NewerFormat {
        /// The format number found.
        found: u64,
    },
    /// The bytes are not what this program writes.
    #[error("the data is damaged: {0}")]
    Damaged(String),
    /// The database cannot be opened.
    #[error("database: {0}")]
    Database(String),
    /// The key for Secrets is not to be had.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Where a store keeps its data.
#[derive(Clone, Debug)]
pub enum Place {
    /// A directory of the host's file system, made with mode 0700 when it is missing.
    Directory(PathBuf),
    /// A disk in memory.
    Memory(MemoryDisk),
}

/// An object as it was found: key, resourceVersion, JSON.
pub(super) type Loaded = (Key, u64, Vec<u8>);

/// What was found on opening.
pub(super) struct Opened {
    pub backend: Backend,
    pub version: u64,
    pub objects: Vec<Loaded>,
}

/// The open database. `None` after a failed commit, until it has been opened again.
pub(super) struct Backend {
    place: Place,
    database: Option<Database>,
    sealer: Sealer,
    /// Held for as long as the backend lives; the kernel lets go of it when the process ends, however it ends.
    _lock: Option<File>,
}

impl Backend {
    /// Opens or makes the data at `place`.
    pub(super) fn open(place: Place, key_file: Option<&Path>) -> Result<Opened, OpenError> {
        let lock = match &place {
            Place::Directory(directory) => Some(lock_directory(directory)?),
            Place::Memory(_) => None,
        };
        let mut database = open_database(&place)?;
        let checked = read_format(&database)?;
        let key = match (&place, key_file) {
            (_, Some(file)) => crypt::read_key(file)?,
            (Place::Directory(directory), None) => {
                let keys = directory.join("keys");
                make_private_directory(&keys)?;
                crypt::read_or_make_key(&keys.join("at-rest"), checked.is_some())?
            }
            (Place::Memory(disk), None) => {
                let fresh = crypt::random_key()?;
                disk.at_rest_key(|| fresh)
            }
        };
        let sealer = Sealer::new(&key);
        match checked {
            Some(check) => {
                sealer.open(&check_key(), FORMAT, &check)?;
            }
            None => initialise(&database, &sealer)?,
        }
        compact_if_sparse(&place, &mut database)?;
        let mut backend = Self {
            place,
            database: Some(database),
            sealer,
            _lock: lock,
        };
        let (version, objects) = backend.load()?;
        Ok(Opened {
            backend,
            version,
            objects,
        })
    }

    fn load(&mut self) -> Result<(u64, Vec<Loaded>), OpenError> {
        let database = self
            .database
            .as_ref()
            .ok_or_else(|| OpenError::Database("not open".to_owned()))?;
        let read = database.begin_read().map_err(database_error)?;
        let version = durable_version(database)?;
        let table = read.open_table(OBJECTS).map_err(database_error)?;
        let mut objects = Vec::new();
        for entry in table.iter().map_err(database_error)? {
            let (key, value) = entry.map_err(database_error)?;
            let key = Key::decode(key.value())
                .ok_or_else(|| OpenError::Damaged("a key is no key".to_owned()))?;
            let (revision, body) = self.decode(&key, value.value())?;
            objects.push((key, revision, body));
        }
        Ok((version, objects))
    }

    fn decode(&self, key: &Key, value: &[u8]) -> Result<(u64, Vec<u8>), OpenError> {
        let damaged = || OpenError::Damaged(format!("the value of {key} is no value"));
        let (head, body) = value.split_at_checked(VALUE_HEAD).ok_or_else(damaged)?;
        let revision = u64::from_be_bytes(head[1..].try_into().map_err(|_| damaged())?);
        match head[0] {
            PLAIN => Ok((revision, body.to_vec())),
            SEALED => Ok((revision, self.sealer.open(key, revision, body)?)),
            _other => Err(damaged()),
        }
    }

    /// Puts a batch on disk: after `Ok` it survives SIGKILL and power loss.
    pub(super) fn commit(&mut self, batch: &[Row]) -> Result<(), StoreError> {
        let last = batch.last().map_or(0, |row| row.version);
        let result = self.reopen().and_then(|()| self.commit_open(batch, last));
        if result.is_err() {
            // The database refuses everything after a failed write or sync. Closing it makes the next commit open it
            // again, and what is then on disk decides whether this batch happened.
            self.database = None;
            if self.reopen().is_ok()
                && let Some(database) = &self.database
                && durable_version(database).is_ok_and(|durable| durable >= last)
            {
                return Ok(());
            }
        }
        result.map_err(|error| StoreError::Failed(error.to_string()))
    }

    fn reopen(&mut self) -> Result<(), OpenError> {
        if self.database.is_none() {
            self.database = Some(open_database(&self.place)?);
        }
        Ok(())
    }

    fn commit_open(&self, batch: &[Row], last: u64) -> Result<(), OpenError> {
        let database = self
            .database
            .as_ref()
            .ok_or_else(|| OpenError::Database("not open".to_owned()))?;
        let write = database.begin_write().map_err(database_error)?;
        {
            let mut objects = write.open_table(OBJECTS).map_err(database_error)?;
            for row in batch {
                let key = row.key.encode();
                match &row.body {
                    Some(stored) => {
                        let value = self.encode(&row.key, stored)?;
                        objects
                            .insert(key.as_slice(), value.as_slice())
                            .map_err(database_error)?;
                    }
                    None => {
                        objects.remove(key.as_slice()).map_err(database_error)?;
                    }
                }
            }
            let mut meta = write.open_table(META).map_err(database_error)?;
            meta.insert(META_VERSION, last.to_be_bytes().as_slice())
                .map_err(database_error)?;
        }
        write.commit().map_err(database_error)
    }

    fn encode(&self, key: &Key, stored: &Stored) -> Result<Vec<u8>, OpenError> {
        let sealed = &*key.resource == SEALED_RESOURCE;
        let mut value = Vec::with_capacity(VALUE_HEAD + stored.bytes.len());
        value.push(if sealed { SEALED } else { PLAIN });
        value.extend_from_slice(&stored.version.to_be_bytes());
        if sealed {
            value.extend(self.sealer.seal(key, stored.version, &stored.bytes)?);
        } else {
            value.extend_from_slice(&stored.bytes);
        }
        Ok(value)
    }
}

/// One change of a batch; no body removes the object.
pub(super) struct Row {
    pub key: Key,
    pub version: u64,
    pub body: Option<std::sync::Arc<Stored>>,
}

/// The place that the key check is sealed for; no object can have it.
fn check_key() -> Key {
    Key {
        resource: std::sync::Arc::from("key-check"),
        namespace: String::new(),
        name: String::new(),
    }
}

fn database_error(error: impl std::fmt::Display) -> OpenError {
    OpenError::Database(error.to_string())
}

fn open_database(place: &Place) -> Result<Database, OpenError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    match place {
        Place::Directory(directory) => {
            let path = directory.join("objects.redb");
            let file = private_file(&path).map_err(|source| OpenError::Directory {
                path: path.display().to_string(),
                source,
            })?;
            let backend = FileBackend::new(file).map_err(database_error)?;
            builder.create_with_backend(backend).map_err(database_error)
        }
        Place::Memory(disk) => {
            let open = disk.open().ok_or_else(|| OpenError::InUse {
                path: "in memory".to_owned(),
            })?;
            builder.create_with_backend(open).map_err(database_error)
        }
    }
}

fn lock_directory(directory: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Directory {
        path: directory.display().to_string(),
        source,
    };
    make_private_directory(directory)?;
    let file = private_file(&directory.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: directory.display().to_string(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Opens a file that only its owner may read, also in a directory that others may list.
fn private_file(path: &Path) -> std::io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Makes a directory of mode 0700 with its parents; one that exists is left as it is.
pub(crate) fn make_private_directory(directory: &Path) -> Result<(), OpenError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| OpenError::Directory {
            path: directory.display().to_string(),
            source,
        })
}

/// Reads the format number and the key check; `None` for a database that was just made.
fn read_format(database: &Database) -> Result<Option<Vec<u8>>, OpenError> {
    let read = database.begin_read().map_err(database_error)?;
    let meta = match read.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(database_error(error)),
    };
    let format = meta
        .get(META_FORMAT)
        .map_err(database_error)?
        .ok_or_else(|| OpenError::Damaged("it has no format number".to_owned()))?;
    let found = number(format.value())?;
    if found > FORMAT {
        return Err(OpenError::NewerFormat { found });
    }
    let check = meta
        .get(META_KEY_CHECK)
        .map_err(database_error)?
        .ok_or_else(|| OpenError::Damaged("it has no key check".to_owned()))?;
    Ok(Some(check.value().to_vec()))
}

fn initialise(database: &Database, sealer: &Sealer) -> Result<(), OpenError> {
    let check = sealer.seal(&check_key(), FORMAT, &[0; KEY_BYTES])?;
    let write = database.begin_write().map_err(database_error)?;
    {
        let mut meta = write.open_table(META).map_err(database_error)?;
        let format = FORMAT.to_be_bytes();
        for (name, value) in [
            (META_FORMAT, format.as_slice()),
            (META_VERSION, 0u64.to_be_bytes().as_slice()),
            (META_KEY_CHECK, check.as_slice()),
        ] {
            meta.insert(name, value).map_err(database_error)?;
        }
        write.open_table(OBJECTS).map_err(database_error)?;
    }
    write.commit().map_err(database_error)
}

fn durable_version(database: &Database) -> Result<u64, OpenError> {
    let read = database.begin_read().map_err(database_error)?;
    let meta = read.open_table(META).map_err(database_error)?;
    let value = meta
        .get(META_VERSION)
        .map_err(database_error)?
        .ok_or_else(|| OpenError::Damaged("it has no resourceVersion".to_owned()))?;
    number(value.value())
}

fn number(bytes: &[u8]) -> Result<u64, OpenError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| OpenError::Damaged("a number has a wrong length".to_owned()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The file only grows; after much was deleted it is made small again, at the one moment when nobody waits for a write.
fn compact_if_sparse(place: &Place, database: &mut Database) -> Result<(), OpenError> {
    let Place::Directory(directory) = place else {
        return Ok(());
    };
    let size = fs::metadata(directory.join("objects.redb")).map_or(0, |file| file.len());
    if size < COMPACT_FROM_BYTES {
        return Ok(());
    }
    let write = database.begin_write().map_err(database_error)?;
    let used = write.stats().map_err(database_error)?.stored_bytes();
    write.abort().map_err(database_error)?;
    if used < size / 4 {
        database.compact().map_err(database_error)?;
    }
    Ok(())
}

/// Writes another format number, as a later build would.
#[cfg(test)]
pub(super) fn set_format(disk: &MemoryDisk, format: u64) {
    let database = open_database(&Place::Memory(disk.clone())).expect("opens");
    let write = database.begin_write().expect("begins");
    {
        let mut meta = write.open_table(META).expect("there");
        let bytes = format.to_be_bytes();
        meta.insert(META_FORMAT, bytes.as_slice()).expect("written");
    }
    write.commit().expect("committed");
}
