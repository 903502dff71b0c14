//! What goes wrong on the way to the fake Engine, and the ledger of what it has done.

use std::time::Duration;

/// A request as the fault hook sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Method and path template as in the client's list, for example `POST /containers/{id}/start`.
    pub verb: &'static str,
    /// What stands in the place of the parameter, or the name in the query of a create.
    pub target: String,
    /// Whether it changes something.
    pub effect: bool,
    /// The how many-th request to this Engine it is, counted from 1.
    pub nth: u64,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing special.
    #[default]
    None,
    /// The connection ends before the Engine has seen the request.
    DropBefore,
    /// The Engine does it, then the connection ends.
    DropReply,
    /// The Engine does it after so long; a client that goes away in between does not stop it (F1, F6).
    Delay(Duration),
    /// The Engine does it, then answers 500.
    ErrorAfter,
    /// The Engine refuses with this status and message, and does nothing.
    Refuse(u16, String),
    /// No answer ever, and nothing is done.
    Hang,
    /// Engine 29 gives a start up because its client has gone: the connection ends, and the container is as it was but
    /// for an error and an exit code. Any other request is dropped before the Engine has seen it.
    GiveUp,
}

/// A mutating request that reached the Engine, whatever it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Method and path template.
    pub verb: &'static str,
    /// The name of the object: never an id if it has a name.
    pub target: String,
    /// The status it had, also when the answer was lost.
    pub status: u16,
}
