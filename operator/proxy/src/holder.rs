//! Who listens on a port, as far as `/proc` tells.
//!
//! Owns reading the socket tables. Must not know why it is asked. Invariant: never fails; what cannot be seen is left
//! out. From inside a container only the user of a foreign socket is visible, from the host also the process.

use std::fs;

/// State number of a listening socket in the kernel's tables.
const LISTENING: &str = "0A";
/// Processes looked through for the socket; more would take longer than the answer is worth.
const MAX_PROCESSES: usize = 65_536;

/// A name for whoever listens on the port, for example `nginx (pid 812)`.
pub fn of(port: u16) -> Option<String> {
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|table| listening(&table, port))?;
    let process = process_with(&socket.inode);
    Some(process.unwrap_or_else(|| format!("a process of user id {}", socket.user)))
}

struct Socket {
    inode: String,
    user: String,
}

/// The listening socket of a port in a socket table.
fn listening(table: &str, port: u16) -> Option<Socket> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let is_it =
            u16::from_str_radix(local_port, 16) == Ok(port) && fields.get(3) == Some(&LISTENING);
        is_it.then(|| Socket {
            inode: fields.get(9).unwrap_or(&"").to_string(),
            user: fields.get(7).unwrap_or(&"?").to_string(),
        })
    })
}

fn process_with(inode: &str) -> Option<String> {
    let link = format!("socket:[{inode}]");
    fs::read_dir("/proc")
        .ok()?
        .flatten()
        .take(MAX_PROCESSES)
        .find_map(|process| {
            let pid: u32 = process.file_name().to_str()?.parse().ok()?;
            let files = fs::read_dir(process.path().join("fd")).ok()?;
            let has = files.flatten().any(|file| {
                fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == link.as_str())
            });
            let name = || fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            has.then(|| format!("{} (pid {pid})", name().trim()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_ours_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let holder = of(port).expect("a holder");
        assert!(
            holder.ends_with(&format!("(pid {})", std::process::id())),
            "{holder}"
        );
        drop(listener);
        assert_eq!(of(port), None);
    }
}
