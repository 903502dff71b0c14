//! The names that Mooring gives to things on a host and in the API, made and read in one place.
//!
//! They are persisted: a container is found again by its name, and a name is the only exclusive
//! create that the Engine offers.

use std::fmt;

/// The name of a revision: ten lower-case hex digits of an HMAC over what the release runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(String);

impl Revision {
    /// The number of hex digits.
    pub const LENGTH: usize = 10;

    /// Takes ten lower-case hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == Self::LENGTH
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        valid.then(|| Self(text.to_owned()))
    }

    /// The ten digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which instance a container is: everything its name says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceName {
    /// Namespace of the pipeline.
    pub namespace: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Stage.
    pub stage: String,
    /// Process.
    pub process: String,
    /// Revision that the instance runs.
    pub revision: Revision,
    /// Slot, counted from 0 within the revision.
    pub slot: u32,
    /// Attempt, counted from 1 within the slot.
    pub attempt: u32,
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            pipeline,
            stage,
            process,
            revision,
            slot,
            attempt,
        } = self;
        write!(
            f,
            "{namespace}.{pipeline}.{stage}.{process}.{revision}.{slot}-{attempt}"
        )
    }
}

impl InstanceName {
    /// Reads a container's name; `None` when it is not one of ours. A namespace, pipeline, stage
    /// and process are DNS labels, so that a dot only separates.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let mut next = || {
            parts
                .next()
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
        };
        let (namespace, pipeline, stage, process) = (next()?, next()?, next()?, next()?);
        let revision = Revision::parse(&next()?)?;
        let last = next()?;
        if parts.next().is_some() {
            return None;
        }
        let (slot, attempt) = last.split_once('-')?;
        let (slot, attempt) = (slot.parse().ok()?, attempt.parse().ok()?);
        Some(Self {
            namespace,
            pipeline,
            stage,
            process,
            revision,
            slot,
            attempt,
        })
    }
}

/// The bridge of a namespace.
pub fn bridge(namespace: &str) -> String {
    format!("mooring.{namespace}")
}

/// The namespace of a bridge by its name; `None` for a name that no bridge of ours has.
pub fn bridged(name: &str) -> Option<&str> {
    name.strip_prefix("mooring.")
}

/// The namespace and pipeline of a tag that [`retained_image`] made; `None` for any other.
pub fn retained_by(tag: &str) -> Option<(&str, &str)> {
    let (place, revision) = tag.strip_prefix("mooring/")?.rsplit_once(':')?;
    Revision::parse(revision)?;
    let (namespace, pipeline) = place.split_once('/')?;
    (is_label(namespace) && is_label(pipeline)).then_some((namespace, pipeline))
}

/// True for a DNS label, which namespaces and pipelines are named with.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A volume of a pipeline's stage.
pub fn volume(namespace: &str, pipeline: &str, stage: &str, volume: &str) -> String {
    format!("{namespace}.{pipeline}.{stage}.{volume}")
}

/// The proxy container that runs the binary with this hash (its first twelve hex digits).
pub fn proxy_container(sha12: &str) -> String {
    format!("mooring-proxy-{sha12}")
}

/// The volume with the proxy's state and the install key.
pub const PROXY_VOLUME: &str = "mooring-proxy";

/// The reference of the proxy's image.
pub fn proxy_image(sha12: &str) -> String {
    format!("mooring-proxy:{sha12}")
}

/// The tag that keeps a release's image on a host from being pruned: `repository:tag`.
pub fn retained_image(namespace: &str, pipeline: &str, revision: &Revision) -> String {
    format!("mooring/{namespace}/{pipeline}:{revision}")
}

/// The Release that is attempt `number` of a pipeline.
pub fn release(pipeline: &str, number: u64) -> String {
    format!("{pipeline}-{number}")
}

/// The Secret that keeps the bytes of one referenced ConfigMap or Secret.
pub fn config_secret(hmac16: &str) -> String {
    format!("mooring.{hmac16}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_of_a_retained_tag_reads_back() {
        let revision = Revision::parse("3fa9c2b041").expect("ten hex digits");
        let tag = retained_image("default", "shop", &revision);
        assert_eq!(retained_by(&tag), Some(("default", "shop")));
        for other in [
            "mooring/default/shop:latest",
            "mooring/default/shop:3FA9C2B041",
            "mooring/default/shop",
            "mooring/shop:3fa9c2b041",
            "mooring/default/team/shop:3fa9c2b041",
            "mooring/default/shop_1:3fa9c2b041",
            "registry.example.com/mooring/default/shop:3fa9c2b041",
            "mooring-proxy:3fa9c2b041",
        ] {
            assert_eq!(retained_by(other), None, "{other}");
        }
    }

    #[test]
    fn a_container_name_says_everything_and_reads_back() {
        let text = "default.shop.default.main.3fa9c2b041.0-1";
        let name = InstanceName::parse(text).expect("one of ours");
        assert_eq!(name.to_string(), text);
        assert_eq!((name.slot, name.attempt), (0, 1));
        for other in [
            "shop",
            "a.b.c.d.3fa9c2b041.0",
            "a.b.c.d.3FA9c2b041.0-1",
            "a.b.c.d.3fa9c2b041.0-1.x",
            "a..c.d.3fa9c2b041.0-1",
        ] {
            assert_eq!(InstanceName::parse(other), None, "{other}");
        }
    }
}
