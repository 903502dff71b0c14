//! One install at a time on this machine's Engine, over threads and processes.
//!
//! Owns the lock and, in its file, who stands under it: the install's id and its process. Invariant: whoever gets the
//! lock finds no install of an end-to-end test on the Engine, even if the last test was killed.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::process::Command;
use std::time::Duration;

use crate::{deployed, program};

/// The longest time that a process may take to be gone after SIGKILL.
const KILLED: Duration = Duration::from_secs(5);

/// The lock; dropping it lets the next one in.
#[derive(Debug)]
pub struct Alone(File);

impl Alone {
    /// Waits until no other test has an install here, and takes away what a killed one left.
    ///
    /// # Panics
    /// The lock cannot be made or waited for.
    pub fn wait() -> Alone {
        let path = std::env::temp_dir().join("mooring-e2e.lock");
        let file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path);
        let mut file = file.expect("the lock can be made");
        file.lock().expect("the lock can be waited for");
        let mut text = String::new();
        file.read_to_string(&mut text)
            .expect("the lock can be read");
        let mut alone = Alone(file);
        if let Some((install, pid)) = text.trim().split_once(' ') {
            end(pid);
            for left in deployed::sweep(install) {
                eprintln!("removed what a killed test had left: {left}");
            }
            alone.gone();
        }
        alone
    }

    /// From now on this install stands, run by this process.
    ///
    /// # Panics
    /// It cannot be written down.
    pub fn stands(&mut self, install: &str, pid: u32) {
        self.gone();
        write!(self.0, "{install} {pid}").expect("the lock can be written");
    }

    /// Nothing stands any more.
    ///
    /// # Panics
    /// It cannot be written down.
    pub fn gone(&mut self) {
        self.0.rewind().expect("a file has a beginning");
        self.0.set_len(0).expect("the lock can be written");
    }
}

/// Ends a `mooring` that outlived the test that had started it.
fn end(pid: &str) {
    let comm = format!("/proc/{pid}/comm");
    let runs = || std::fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "mooring");
    if !runs() {
        return;
    }
    program::output(Command::new("kill").args(["-KILL", pid]), KILLED);
    program::until("a killed process ends", KILLED, || {
        if runs() {
            Err("it runs".to_owned())
        } else {
            Ok(())
        }
    });
}
