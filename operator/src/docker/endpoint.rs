//! Where an Engine is and how bytes get there.
//!
//! Owns the reading of a DockerHost's `spec.endpoint` and the dialling of one connection. It must not know HTTP:
//! whatever can give a [`ByteStream`] can be an Engine, which is how a TLS or SSH host and the tests' fake fit in.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// A connection to an Engine, in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// A way to open connections to one Engine.
pub trait Dialer: Send + Sync + 'static {
    /// Opens one more connection. An error means that nothing was sent.
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>>;
}

/// Why an endpoint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The text has another scheme than `unix`.
    #[error(
        "endpoint {0:?} is not supported: write unix:// and the absolute path of the Engine's socket, for example unix:///var/run/docker.sock"
    )]
    Scheme(String),
    /// The path after `unix://` is not absolute.
    #[error(
        "endpoint {0:?} has no absolute path: three slashes follow unix:, for example unix:///var/run/docker.sock"
    )]
    RelativePath(String),
}

/// The place of an Engine, as `DockerHost.spec.endpoint` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket on this machine.
    Unix(PathBuf),
}

impl Endpoint {
    /// A dialer for this place.
    pub fn dialer(&self) -> Arc<dyn Dialer> {
        match self {
            Endpoint::Unix(path) => Arc::new(UnixDialer {
                path: Arc::from(path.as_path()),
            }),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let Some(path) = text.strip_prefix("unix://") else {
            return Err(EndpointError::Scheme(text.to_owned()));
        };
        if !path.starts_with('/') {
            return Err(EndpointError::RelativePath(text.to_owned()));
        }
        Ok(Endpoint::Unix(PathBuf::from(path)))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Opens connections to a unix socket.
struct UnixDialer {
    path: Arc<Path>,
}

impl Dialer for UnixDialer {
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        let path = Arc::clone(&self.path);
        async move {
            let stream = UnixStream::connect(&*path).await.map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        }
        .boxed()
    }
}
