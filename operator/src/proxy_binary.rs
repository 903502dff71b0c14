//! The proxy's binary: where it lies, which one it is, and the image made of it.
//!
//! Owns the words by which `mooring-proxy` is called and the paths inside its image. It must not know containers.
//! Invariant: an image is named by the hash of the binary in it, so that equal names are equal programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::hex;

/// The program in the image.
pub const PROGRAM: &str = "/mooring-proxy";
/// Where the state volume is mounted.
pub const STATE_DIR: &str = "/state";
/// The flag before the port.
pub const HTTP_PORT: &str = "--http-port";
/// The largest binary that is loaded: a static build has about 5 MB.
const MAX_BYTES: u64 = 256 << 20;

/// The arguments of the proxy itself.
pub fn serve_arguments(http_port: u16) -> Vec<String> {
    ["serve", "--state-dir", STATE_DIR, HTTP_PORT]
        .into_iter()
        .map(str::to_owned)
        .chain([http_port.to_string()])
        .collect()
}

/// The command that carries the protocol between stdin, stdout and the proxy.
pub fn connect_command() -> Vec<String> {
    [PROGRAM, "connect", "--state-dir", STATE_DIR]
        .map(str::to_owned)
        .to_vec()
}

/// The port among the arguments of a proxy's container.
pub fn http_port(arguments: &[String]) -> Option<u16> {
    let flag = arguments.iter().position(|word| word == HTTP_PORT)?;
    arguments.get(flag + 1)?.parse().ok()
}

/// One binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyBinary {
    /// First twelve hex digits of its SHA-256.
    pub sha12: String,
    /// The program.
    pub bytes: Bytes,
}

impl ProxyBinary {
    /// A binary from its bytes.
    pub fn new(bytes: Bytes) -> ProxyBinary {
        let mut sha12 = hex::encode(&Sha256::digest(&bytes));
        sha12.truncate(12);
        ProxyBinary { sha12, bytes }
    }

    /// An archive of the image's one layer: the program and the directory for its state.
    pub fn layer(&self) -> std::io::Result<Bytes> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut directory = header(tar::EntryType::Directory, 0o755, 0);
        archive.append_data(&mut directory, relative(STATE_DIR), std::io::empty())?;
        let mut program = header(tar::EntryType::Regular, 0o555, self.bytes.len() as u64);
        archive.append_data(&mut program, relative(PROGRAM), &*self.bytes)?;
        Ok(archive.into_inner()?.into())
    }
}

/// A header for root, with no time in it: the same files give the same archive.
pub(crate) fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// Where binaries come from. Cloning shares what was read.
#[derive(Clone)]
pub struct ProxyBinaries {
    source: Source,
    read: Arc<Mutex<BTreeMap<PathBuf, Read>>>,
}

/// A file as it was read.
type Read = (Stamp, Arc<ProxyBinary>);

/// Tells whether a file is still the one that was read.
type Stamp = (u64, Option<SystemTime>);

#[derive(Clone)]
enum Source {
    Directories(Vec<PathBuf>),
    Fixed(Arc<ProxyBinary>),
}

impl ProxyBinaries {
    /// Looks for `mooring-proxy-<arch>` in each directory in turn.
    pub fn in_directories(directories: Vec<PathBuf>) -> ProxyBinaries {
        ProxyBinaries {
            source: Source::Directories(directories),
            read: Arc::default(),
        }
    }

    /// One binary for every architecture: for tests.
    pub fn fixed(bytes: Bytes) -> ProxyBinaries {
        ProxyBinaries {
            source: Source::Fixed(Arc::new(ProxyBinary::new(bytes))),
            read: Arc::default(),
        }
    }

    /// The binary for an architecture as the Engine names it. An error names every path that was tried.
    pub fn find(&self, architecture: &str) -> Result<Arc<ProxyBinary>, String> {
        let directories = match &self.source {
            Source::Fixed(binary) => return Ok(Arc::clone(binary)),
            Source::Directories(directories) => directories,
        };
        let names = names(architecture);
        let mut tried = Vec::new();
        for directory in directories {
            for name in &names {
                let path = directory.join(name);
                match self.load(&path) {
                    Ok(Some(binary)) => return Ok(binary),
                    Ok(None) => tried.push(path.display().to_string()),
                    Err(error) => tried.push(format!("{} ({error})", path.display())),
                }
            }
        }
        Err(format!(
            "there is no proxy for {architecture}: no file {}. Put it there, or name its directory with --proxy-dir",
            tried.join(", ")
        ))
    }

    /// Reads a file, unless it is the one that was read before; `None` when there is none.
    fn load(&self, path: &Path) -> Result<Option<Arc<ProxyBinary>>, String> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if metadata.len() > MAX_BYTES {
            return Err(format!("larger than {MAX_BYTES} bytes"));
        }
        let stamp = (metadata.len(), metadata.modified().ok());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, binary)) = read.get(path)
            && *known == stamp
        {
            return Ok(Some(Arc::clone(binary)));
        }
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let binary = Arc::new(ProxyBinary::new(bytes.into()));
        read.insert(path.to_owned(), (stamp, Arc::clone(&binary)));
        Ok(Some(binary))
    }
}

/// File names for an architecture: as Go names it, which the Engine does, and as the kernel does.
fn names(architecture: &str) -> Vec<String> {
    let kernel = match architecture {
        "amd64" => Some("x86_64"),
        "arm64" => Some("aarch64"),
        _ => None,
    };
    std::iter::once(architecture)
        .chain(kernel)
        .map(|word| format!("mooring-proxy-{word}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_back_from_the_arguments() {
        assert_eq!(http_port(&serve_arguments(8080)), Some(8080));
        assert_eq!(http_port(&["serve".to_owned()]), None);
        assert_eq!(http_port(&[HTTP_PORT.to_owned()]), None);
    }

    #[test]
    fn a_missing_binary_names_every_path() {
        let binaries =
            ProxyBinaries::in_directories(vec!["/nowhere/a".into(), "/nowhere/b".into()]);
        let why = binaries.find("amd64").expect_err("there is none");
        for path in [
            "/nowhere/a/mooring-proxy-amd64",
            "/nowhere/b/mooring-proxy-x86_64",
            "--proxy-dir",
        ] {
            assert!(why.contains(path), "{why}");
        }
    }

    #[test]
    fn the_layer_holds_the_program_and_is_the_same_every_time() {
        let binary = ProxyBinary::new(Bytes::from_static(b"program"));
        assert_eq!(binary.sha12.len(), 12);
        let layer = binary.layer().expect("an archive");
        assert_eq!(layer, binary.layer().expect("an archive"));
        let mut archive = tar::Archive::new(&*layer);
        let names: Vec<String> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .path()
                    .expect("a path")
                    .display()
                    .to_string()
            })
            .collect();
        assert_eq!(names, ["state", "mooring-proxy"]);
    }
}
