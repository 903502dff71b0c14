//! A socket in front of the Engine's that can be pulled and plugged in again.
//!
//! Owns bytes on their way and nothing of what they mean. Invariant: while it is pulled, every connection through it
//! is gone and none can be made.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The socket. Dropping it pulls it.
#[derive(Debug)]
pub struct Cable {
    socket: PathBuf,
    engine: PathBuf,
    current: Option<Arc<Plugged>>,
}

#[derive(Debug, Default)]
struct Plugged {
    pulled: AtomicBool,
    streams: Mutex<Vec<UnixStream>>,
}

impl Cable {
    /// Plugged in: `socket` leads to `engine`.
    ///
    /// # Panics
    /// The socket cannot be made.
    pub fn new(socket: &Path, engine: &Path) -> Cable {
        let mut cable = Cable {
            socket: socket.to_owned(),
            engine: engine.to_owned(),
            current: None,
        };
        cable.plug();
        cable
    }

    /// Plugs it in again.
    ///
    /// # Panics
    /// The socket cannot be made.
    pub fn plug(&mut self) {
        let listener = UnixListener::bind(&self.socket).expect("the socket can be made");
        let plugged = Arc::new(Plugged::default());
        self.current = Some(Arc::clone(&plugged));
        let engine = self.engine.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if plugged.pulled.load(Ordering::SeqCst) {
                    return;
                }
                // The Engine may be away; then this connection ends.
                let _ = plugged.carry(stream, &engine);
            }
        });
    }

    /// Pulls it: connections end, new ones are refused.
    pub fn pull(&mut self) {
        let Some(plugged) = self.current.take() else {
            return;
        };
        plugged.pulled.store(true, Ordering::SeqCst);
        // Wakes the listening thread, which then ends.
        let _ = UnixStream::connect(&self.socket);
        let _ = std::fs::remove_file(&self.socket);
        let streams = plugged
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for stream in streams.iter() {
            // One that has ended already is what is wanted.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.pull();
    }
}

impl Plugged {
    fn carry(&self, client: UnixStream, engine: &Path) -> io::Result<()> {
        let engine = UnixStream::connect(engine)?;
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for (from, to) in [(&client, &engine), (&engine, &client)] {
            streams.push(from.try_clone()?);
            let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
            thread::spawn(move || {
                // Half an end is passed on as half an end: the Engine's hijacked streams know both.
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
        Ok(())
    }
}
