//! Every call of the Docker API that the operator can make, with its deadline.
//!
//! Owns the list: the client takes a [`Call`] from it and nothing else, so a call that is not here cannot be made.
//! There is no `prune` in it, by the first invariant of the design. It must not know how a call is sent.

use std::fmt::Write as _;
use std::time::Duration;

use http::Method;

/// A ping answers at once or the Engine is stuck.
const PING: Duration = Duration::from_secs(2);
/// Reading state: a listing of a thousand containers takes about a second on a loaded host.
const READ: Duration = Duration::from_secs(10);
/// Changing metadata, or making a container, network or volume: the Engine writes to disk.
const CHANGE: Duration = Duration::from_secs(30);
/// Starting runs the container runtime and the network set-up; removing deletes a layer.
const RUN: Duration = Duration::from_secs(60);
/// What a stop may take beyond the grace period given to the process.
const STOP_MARGIN: Duration = Duration::from_secs(15);
/// Taking in an image: bounded by the Engine's disk, which may be slow.
const LOAD: Duration = Duration::from_secs(300);

/// A question that the Engine asks a registry for us: a token and a manifest.
const REGISTRY: Duration = Duration::from_secs(30);
/// A pull takes as long as it takes, but the Engine tells of it: after a minute without a byte it is stuck.
const SILENCE: Duration = Duration::from_secs(60);

/// One form of call: path template, deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Verb and noun for people, for example `start container`.
    pub name: &'static str,
    /// Method and path with its parameters in braces, for example `POST /containers/{id}/start`.
    pub template: &'static str,
    /// The longest time to a complete answer; for a stream, to its head.
    pub deadline: Duration,
    /// Whether it changes something. Execs do not count: they are means of asking, made anew with every connection.
    pub effect: bool,
}

const fn read(name: &'static str, template: &'static str) -> Call {
    Call {
        name,
        template,
        deadline: READ,
        effect: false,
    }
}

const fn change(name: &'static str, template: &'static str, deadline: Duration) -> Call {
    Call {
        name,
        template,
        deadline,
        effect: true,
    }
}

const fn ask(name: &'static str, template: &'static str) -> Call {
    Call {
        name,
        template,
        deadline: READ,
        effect: false,
    }
}

/// Whether the daemon answers at all.
pub const PING_ENGINE: Call = Call {
    deadline: PING,
    ..read("ping", "GET /_ping")
};
/// Versions of the Engine and its API.
pub const VERSION: Call = Call {
    deadline: PING,
    ..read("read version", "GET /version")
};
/// What the Engine says of itself.
pub const INFO: Call = read("read info", "GET /info");
/// The stream of events.
pub const EVENTS: Call = read("watch events", "GET /events");

/// All containers that carry given labels.
pub const CONTAINER_LIST: Call = read("list containers", "GET /containers/json");
/// One container whole.
pub const CONTAINER_INSPECT: Call = read("inspect container", "GET /containers/{id}/json");
/// A new container under an exclusive name.
pub const CONTAINER_CREATE: Call = change("create container", "POST /containers/create", CHANGE);
/// Starts a container.
pub const CONTAINER_START: Call = change("start container", "POST /containers/{id}/start", RUN);
/// Stops a container; the grace period is added to the deadline.
pub const CONTAINER_STOP: Call =
    change("stop container", "POST /containers/{id}/stop", STOP_MARGIN);
/// Sends a signal.
pub const CONTAINER_KILL: Call = change("kill container", "POST /containers/{id}/kill", CHANGE);
/// Lets a frozen container go on.
pub const CONTAINER_UNPAUSE: Call =
    change("unpause container", "POST /containers/{id}/unpause", CHANGE);
/// Gives a container another name.
pub const CONTAINER_RENAME: Call =
    change("rename container", "POST /containers/{id}/rename", CHANGE);
/// Changes the restart policy.
pub const CONTAINER_UPDATE: Call =
    change("update container", "POST /containers/{id}/update", CHANGE);
/// Removes a container, never its volumes.
pub const CONTAINER_REMOVE: Call = change("remove container", "DELETE /containers/{id}", RUN);
/// Its log.
pub const CONTAINER_LOGS: Call = read("read logs of container", "GET /containers/{id}/logs");
/// Writes files into a container.
pub const ARCHIVE_PUT: Call = change("write into container", "PUT /containers/{id}/archive", RUN);
/// Reads files out of a container.
pub const ARCHIVE_GET: Call = read("read from container", "GET /containers/{id}/archive");

/// Prepares a command in a container.
pub const EXEC_CREATE: Call = ask("prepare command in container", "POST /containers/{id}/exec");
/// Runs the command; its answer becomes the stream of stdin, stdout and stderr.
pub const EXEC_START: Call = ask("run command", "POST /exec/{id}/start");
/// Whether a command has ended and how.
pub const EXEC_INSPECT: Call = read("inspect command", "GET /exec/{id}/json");

/// All images.
pub const IMAGE_LIST: Call = read("list images", "GET /images/json");
/// One image whole.
pub const IMAGE_INSPECT: Call = read("inspect image", "GET /images/{name}/json");
/// One more tag for an image.
pub const IMAGE_TAG: Call = change("tag image", "POST /images/{name}/tag", CHANGE);
/// Takes a tag away; the image goes with its last one.
pub const IMAGE_REMOVE: Call = change("untag image", "DELETE /images/{name}", RUN);
/// Takes in an archive as `docker save` makes it.
pub const IMAGE_LOAD: Call = change("load image", "POST /images/load", LOAD);
/// Makes an image of one layer out of an archive of files.
pub const IMAGE_IMPORT: Call = change("import image", "POST /images/create", LOAD);

/// Asks an image's registry, through the Engine, which digest a tag has.
pub const IMAGE_DIGEST: Call = Call {
    deadline: REGISTRY,
    ..read("ask the registry for", "GET /distribution/{name}/json")
};
/// Pulls an image from its registry; the deadline is for each silence in between.
pub const IMAGE_PULL: Call = change("pull", "POST /images/create", SILENCE);

/// All networks that carry given labels.
pub const NETWORK_LIST: Call = read("list networks", "GET /networks");
/// One network whole.
pub const NETWORK_INSPECT: Call = read("inspect network", "GET /networks/{id}");
/// A new network.
pub const NETWORK_CREATE: Call = change("create network", "POST /networks/create", CHANGE);
/// Puts a container on a network.
pub const NETWORK_CONNECT: Call =
    change("connect to network", "POST /networks/{id}/connect", CHANGE);
/// Takes a container off a network.
pub const NETWORK_DISCONNECT: Call = change(
    "disconnect from network",
    "POST /networks/{id}/disconnect",
    CHANGE,
);
/// Removes a network without endpoints.
pub const NETWORK_REMOVE: Call = change("remove network", "DELETE /networks/{id}", CHANGE);

/// All volumes that carry given labels.
pub const VOLUME_LIST: Call = read("list volumes", "GET /volumes");
/// One volume.
pub const VOLUME_INSPECT: Call = read("inspect volume", "GET /volumes/{name}");
/// A new volume, or the old one under that name with its old labels (F3).
pub const VOLUME_CREATE: Call = change("create volume", "POST /volumes/create", CHANGE);
/// Removes a volume that no container uses.
pub const VOLUME_REMOVE: Call = change("remove volume", "DELETE /volumes/{name}", CHANGE);

/// The whole list, in the order of the design's map.
pub const ALL: [&Call; 38] = [
    &PING_ENGINE,
    &VERSION,
    &INFO,
    &EVENTS,
    &CONTAINER_LIST,
    &CONTAINER_INSPECT,
    &CONTAINER_CREATE,
    &CONTAINER_START,
    &CONTAINER_STOP,
    &CONTAINER_KILL,
    &CONTAINER_UNPAUSE,
    &CONTAINER_RENAME,
    &CONTAINER_UPDATE,
    &CONTAINER_REMOVE,
    &CONTAINER_LOGS,
    &ARCHIVE_PUT,
    &ARCHIVE_GET,
    &EXEC_CREATE,
    &EXEC_START,
    &EXEC_INSPECT,
    &IMAGE_LIST,
    &IMAGE_INSPECT,
    &IMAGE_TAG,
    &IMAGE_REMOVE,
    &IMAGE_LOAD,
    &IMAGE_IMPORT,
    &IMAGE_DIGEST,
    &IMAGE_PULL,
    &NETWORK_LIST,
    &NETWORK_INSPECT,
    &NETWORK_CREATE,
    &NETWORK_CONNECT,
    &NETWORK_DISCONNECT,
    &NETWORK_REMOVE,
    &VOLUME_LIST,
    &VOLUME_INSPECT,
    &VOLUME_CREATE,
    &VOLUME_REMOVE,
];

impl Call {
    /// The HTTP method: the first word of the template.
    pub fn method(&self) -> Method {
        let word = self.template.split(' ').next().unwrap_or_default();
        Method::from_bytes(word.as_bytes()).expect("every template starts with a method")
    }

    /// The path with `target` in the place of the parameter, percent-encoded; image names keep their slashes.
    ///
    /// `None` when the target would lead to another path: empty, or with an empty or dotted part.
    pub(crate) fn path(&self, target: &str) -> Option<String> {
        let path = self
            .template
            .split_once(' ')
            .map_or(self.template, |(_, path)| path);
        let Some((before, rest)) = path.split_once('{') else {
            return Some(path.to_owned());
        };
        if target
            .split('/')
            .any(|part| matches!(part, "" | "." | ".."))
        {
            return None;
        }
        let after = rest.split_once('}').map_or("", |(_, after)| after);
        Some(format!("{before}{}{after}", encode(target, b"/:@")))
    }
}

/// `?a=b&c=d`, percent-encoded, or nothing for an empty list.
pub(crate) fn query(pairs: &[(&'static str, String)]) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        text.push_str(&encode(value, b""));
    }
    text
}

/// Percent-encodes every byte that is neither unreserved (RFC 3986) nor in `kept`.
fn encode(text: &str, kept: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    encoded
}
