//! Receipts: how often each POST was executed, as reported by the application itself.
//!
//! Owns a UDP port. The application sends the id of a POST there when it executes it, before it answers, so a
//! request that reached two instances shows as two receipts, whichever of them answered. That the channel lost
//! nothing is checked too: each answered POST must have one.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::book::Receipts;

/// The longest id that is read: what the ledger sends is shorter.
const ID_LIMIT: usize = 128;
/// POSTs that are remembered: at 1,000 a second, more than half an hour. Later ones are neither counted nor checked.
const POSTS_LIMIT: usize = 2_000_000;
/// How long the last receipts may be on their way when the load has ended.
const LAST_RECEIPTS: Duration = Duration::from_millis(500);

/// What is known of one POST.
#[derive(Debug, Clone, Copy, Default)]
struct Post {
    answered: bool,
    receipts: u32,
}

/// Collects receipts until it is dropped.
#[derive(Debug)]
pub struct Desk {
    port: u16,
    posts: Arc<Mutex<BTreeMap<String, Post>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Desk {
    /// Opens a port on every address of this machine, since the application reaches it by its own gateway.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn open() -> io::Result<Self> {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).await?;
        let port = socket.local_addr()?.port();
        let posts = Arc::new(Mutex::new(BTreeMap::new()));
        let task = tokio::spawn(collect(socket, Arc::clone(&posts)));
        Ok(Self { port, posts, task })
    }

    /// The port that a POST names.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Books that a POST got a good answer.
    pub fn answered(&self, id: &str) {
        let mut posts = self.posts.lock().expect("no panic while held");
        if posts.len() < POSTS_LIMIT {
            posts.entry(id.to_owned()).or_default().answered = true;
        }
    }

    /// Waits until every answered POST has its receipt, or the last may no longer be on its way, and counts.
    pub async fn close(self) -> Receipts {
        let until = tokio::time::Instant::now() + LAST_RECEIPTS;
        let mut poll = tokio::time::interval(Duration::from_millis(10));
        loop {
            poll.tick().await;
            let complete = {
                let posts = self.posts.lock().expect("no panic while held");
                posts
                    .values()
                    .all(|post| !post.answered || post.receipts > 0)
            };
            if complete || tokio::time::Instant::now() >= until {
                break;
            }
        }
        self.task.abort();
        let posts = self.posts.lock().expect("no panic while held");
        let count = |matches: fn(&Post) -> bool| {
            u64::try_from(posts.values().filter(|post| matches(post)).count()).unwrap_or(u64::MAX)
        };
        Receipts {
            answered: count(|post| post.answered && post.receipts > 0),
            twice: count(|post| post.receipts > 1),
        }
    }
}

async fn collect(socket: UdpSocket, posts: Arc<Mutex<BTreeMap<String, Post>>>) {
    let mut buffer = [0; ID_LIMIT];
    // An error on a UDP socket is about one datagram; the next one may be fine.
    loop {
        let Ok(length) = socket.recv(&mut buffer).await else {
            continue;
        };
        let Ok(id) = std::str::from_utf8(&buffer[..length]) else {
            continue;
        };
        let mut posts = posts.lock().expect("no panic while held");
        if posts.len() < POSTS_LIMIT || posts.contains_key(id) {
            posts.entry(id.to_owned()).or_default().receipts += 1;
        }
    }
}
