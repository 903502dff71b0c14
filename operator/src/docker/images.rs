//! Calls about images on the Engine itself; what reaches a registry is in [`super::pull`]. An image is removed only by
//! one tag at a time.

use bollard::models::{ImageInspect, ImageSummary};
use bytes::Bytes;
use serde::Deserialize;

use super::client::Ask;
use super::containers::gone_is_success;
use super::outcome::cut;
use super::{Engine, Outcome, calls};

/// All images that carry every one of `labels` (`key` or `key=value`). No labels: all there are.
pub async fn list(engine: &Engine, labels: &[String]) -> Result<Vec<ImageSummary>, Outcome> {
    engine
        .client
        .read(Ask::new(&calls::IMAGE_LIST, "").labels(labels))
        .await
}

/// The image under a tag or id.
pub async fn inspect(engine: &Engine, name: &str) -> Result<ImageInspect, Outcome> {
    engine
        .client
        .read(Ask::new(&calls::IMAGE_INSPECT, name))
        .await
}

/// Gives the image `name` the tag `repository:tag` as well; the tag moves if another image had it.
pub async fn tag(engine: &Engine, name: &str, repository: &str, tag: &str) -> Result<(), Outcome> {
    let ask = Ask::new(&calls::IMAGE_TAG, name)
        .query("repo", repository)
        .query("tag", tag);
    engine.client.send(ask).await.map(drop)
}

/// Takes the tag `repository:tag` away, and the image with it when that was its last and no container uses it. A
/// missing tag is success. It is never forced.
pub async fn untag(engine: &Engine, repository: &str, tag: &str) -> Result<(), Outcome> {
    let ask = Ask::new(&calls::IMAGE_REMOVE, format!("{repository}:{tag}"));
    gone_is_success(engine.client.send(ask).await.map(drop))
}

/// Takes the name `repository@digest` away that a pull has left; the image stays, if a tag of it is there.
pub async fn forget_digest(engine: &Engine, name: &str) -> Result<(), Outcome> {
    let ask = Ask::new(&calls::IMAGE_REMOVE, name);
    gone_is_success(engine.client.send(ask).await.map(drop))
}

/// Takes in an archive as `docker save` makes it.
pub async fn load(engine: &Engine, archive: Bytes) -> Result<(), Outcome> {
    let ask = Ask::new(&calls::IMAGE_LOAD, "")
        .query("quiet", "1")
        .tar(archive);
    let progress = engine.client.send(ask).await?;
    check_progress("load image", &progress)
}

/// Makes an image of one layer out of an archive of files, under `repository:tag`, with `changes` in Dockerfile words
/// such as `ENTRYPOINT ["/app"]`.
pub async fn import(
    engine: &Engine,
    repository: &str,
    tag: &str,
    changes: &[String],
    files: Bytes,
) -> Result<(), Outcome> {
    let name = format!("{repository}:{tag}");
    let mut ask = Ask::new(&calls::IMAGE_IMPORT, name.as_str())
        .query("fromSrc", "-")
        .query("repo", repository)
        .query("tag", tag)
        .tar(files);
    for change in changes {
        ask = ask.query("changes", change.as_str());
    }
    let progress = engine.client.send(ask).await?;
    check_progress(&format!("import image {name}"), &progress)
}

/// Looks for a failure in a stream that began with 200 (F9).
fn check_progress(call: &str, progress: &Bytes) -> Result<(), Outcome> {
    #[derive(Deserialize)]
    struct Line {
        error: Option<String>,
    }
    for line in serde_json::Deserializer::from_slice(progress).into_iter::<Line>() {
        // Plain text instead of JSON is an older Engine's progress and says nothing of failure.
        let Ok(line) = line else { break };
        if let Some(error) = line.error {
            return Err(Outcome::Failed {
                call: call.to_owned(),
                status: 200,
                message: cut(&error),
            });
        }
    }
    Ok(())
}
