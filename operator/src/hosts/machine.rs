//! What only the machine of a local Engine can tell: its routes, and who listens on a port.
//!
//! Owns the reading of `/proc`. It must not know bridges or proxies. Invariants: the default route is no route here;
//! who cannot be named is not guessed.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

/// Asked about the machine that a local Engine runs on; tests put their own here.
pub trait Machine: Send + Sync {
    /// The networks that it has a route to, or why they cannot be told.
    fn routes(&self) -> Result<Vec<HostRoute>, String>;

    /// The process that listens on a TCP port, in words, if it can be told.
    fn listener(&self, port: u16) -> Option<String>;
}

/// One route: where to, and through which interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoute {
    /// `network/prefix`.
    pub subnet: String,
    /// The interface.
    pub interface: String,
}

/// The machine that this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn routes(&self) -> Result<Vec<HostRoute>, String> {
        match fs::read_to_string("/proc/net/route") {
            Ok(text) => Ok(parse(&text)),
            Err(error) => Err(format!("/proc/net/route: {error}")),
        }
    }

    fn listener(&self, port: u16) -> Option<String> {
        let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .into_iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .flat_map(|text| listening(&text, port))
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        if sockets.is_empty() {
            return None;
        }
        let processes = fs::read_dir("/proc").ok()?;
        processes
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|entry| is_process(entry))
            .find(|process| holds(process, &sockets))
            .map(|process| {
                let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
                let pid = process.file_name().unwrap_or_default().to_string_lossy();
                format!("{} (process {pid})", name.trim())
            })
    }
}

/// Whether a directory of the kernel is a process, and not another name for one.
fn is_process(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default();
    name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
}

/// Whether a process has one of the sockets open; what is not a process or not ours to see has none.
fn holds(process: &Path, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    files
        .filter_map(Result::ok)
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| {
            sockets
                .iter()
                .any(|socket| target.as_os_str() == socket.as_str())
        })
}

/// The inodes of the sockets that listen on a port, out of the kernel's table.
fn listening(text: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
                return None;
            };
            (*state == LISTEN && local.ends_with(&suffix)).then(|| (*inode).to_owned())
        })
        .collect()
}

/// Reads the kernel's table: addresses are hexadecimal in the machine's byte order.
fn parse(text: &str) -> Vec<HostRoute> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [interface, destination, _, _, _, _, _, mask, ..] = fields.as_slice() else {
                return None;
            };
            let address = |text: &str| {
                let bits = u32::from_str_radix(text, 16).ok()?;
                Some(Ipv4Addr::from(bits.to_ne_bytes()))
            };
            let (destination, mask) = (address(destination)?, address(mask)?);
            let prefix = u32::from(mask).leading_ones();
            (prefix > 0).then(|| HostRoute {
                subnet: format!("{destination}/{prefix}"),
                interface: (*interface).to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_without_the_default() {
        let word = |a: u8, b: u8, c: u8, d: u8| format!("{:08X}", u32::from_ne_bytes([a, b, c, d]));
        let text = format!(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             tun0\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n",
            word(10, 210, 0, 0),
            word(255, 255, 0, 0)
        );
        let route = HostRoute {
            subnet: "10.210.0.0/16".to_owned(),
            interface: "tun0".to_owned(),
        };
        assert_eq!(parse(&text), [route]);
        assert_eq!(parse(""), []);
    }

    #[test]
    fn listeners_are_found_by_port_and_state() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n   \
             1: 0100007F:1F90 0100007F:9000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 x\n";
        assert_eq!(listening(text, 8080), ["4711"]);
        assert_eq!(listening(text, 80), Vec::<String>::new());
    }

    #[test]
    fn this_process_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let named = ThisMachine.listener(port).expect("somebody listens");
        assert!(
            named.ends_with(&format!("(process {})", std::process::id())),
            "{named}"
        );
    }
}
