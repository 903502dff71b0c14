//! Files into and out of containers, as tar archives. The container need not run; a tmpfs cannot be reached (F21).

use bytes::Bytes;

use super::client::{Ask, collect};
use super::{Engine, Outcome, calls};

/// Unpacks `tar` into the directory `path` of a container. Owners and modes are taken from the archive. Refused for a
/// read-only root, unless `path` lies in a writable volume (F33).
pub async fn put(engine: &Engine, id: &str, path: &str, tar: Bytes) -> Result<(), Outcome> {
    engine
        .client
        .send(
            Ask::new(&calls::ARCHIVE_PUT, id)
                .query("path", path)
                .tar(tar),
        )
        .await
        .map(drop)
}

/// Packs `path` of a container into a tar archive of at most `limit` bytes; larger is [`Outcome::Unknown`].
pub async fn get(engine: &Engine, id: &str, path: &str, limit: usize) -> Result<Bytes, Outcome> {
    let ask = Ask::new(&calls::ARCHIVE_GET, id).query("path", path);
    let deadline = calls::ARCHIVE_GET.deadline;
    let whole = async {
        let body = engine.client.open(ask).await?;
        collect(&format!("{} {id}", calls::ARCHIVE_GET.name), body, limit).await
    };
    super::client::within(deadline, calls::ARCHIVE_GET.name, id, whole).await
}
