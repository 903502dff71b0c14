//! The routes of the machine that a local Engine runs on, so that no bridge takes a range that is in use.
//!
//! Owns the reading of `/proc/net/route`. It must not know bridges. Invariant: the default route is none of these.

use std::net::Ipv4Addr;
use std::sync::Arc;

/// One route: where to, and through which interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoute {
    /// `network/prefix`.
    pub subnet: String,
    /// The interface.
    pub interface: String,
}

/// Gives the routes of the host behind an endpoint, or why they cannot be told; tests put their own here.
pub type Routes = Arc<dyn Fn() -> Result<Vec<HostRoute>, String> + Send + Sync>;

/// The routes of this machine.
pub fn of_this_machine() -> Routes {
    Arc::new(|| match std::fs::read_to_string("/proc/net/route") {
        Ok(text) => Ok(parse(&text)),
        Err(error) => Err(format!("/proc/net/route: {error}")),
    })
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
}
