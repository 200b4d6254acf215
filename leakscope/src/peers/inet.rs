//! TCP and UDP sockets, as `/proc/PID/net` lists them.
//!
//! An address is the number as it lies in memory, a word of 32 bits at a time, so on x86-64 the bytes of each word are
//! turned around (get_tcp4_sock of net/ipv4/tcp_ipv4.c, get_tcp6_sock of net/ipv6/tcp_ipv6.c, Linux 6.18).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// States (include/net/tcp_states.h).
pub(super) const ESTABLISHED: u8 = 1;
pub(super) const SYN_SENT: u8 = 2;
pub(super) const LISTEN: u8 = 10;

/// A line of `tcp`, `tcp6`, `udp` or `udp6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InetSocket {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) state: u8,
    /// 0: no process has it.
    pub(super) inode: u64,
}

impl InetSocket {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split_whitespace().skip(1);
        let local = address(parts.next()?)?;
        let remote = address(parts.next()?)?;
        let state = u8::from_str_radix(parts.next()?, 16).ok()?;
        // Queues, timer, retransmissions, user, timeout.
        let inode = parts.nth(5)?.parse().ok()?;
        Some(Self { local, remote, state, inode })
    }

    /// Whether a connection to this address arrives there.
    pub(super) fn listens_at(&self, address: SocketAddr) -> bool {
        let any = self.local.ip().is_unspecified();
        self.state == LISTEN
            && self.local.port() == address.port()
            && (any || self.local.ip() == address.ip())
    }
}

/// `0100007F:1F90`
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if !ip.is_ascii() {
        return None;
    }
    let mut bytes = [0u8; 16];
    let words = match ip.len() {
        8 => 1,
        32 => 4,
        _ => return None,
    };
    for word in 0..words {
        let number = u32::from_str_radix(&ip[word * 8..word * 8 + 8], 16).ok()?;
        bytes[word * 4..word * 4 + 4].copy_from_slice(&number.to_le_bytes());
    }
    let ip = match words {
        1 => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
        // An IPv4 address in an IPv6 socket is that one.
        _ => Ipv6Addr::from(bytes).to_canonical(),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets() {
        let line = "   0: 0100007F:1F90 0200000A:1538 01 00000000:00000000 00:00000000 00000000     0        0 6543 2 0";
        let socket = InetSocket::parse(line).expect("a socket");
        assert_eq!(
            (socket.local.to_string(), socket.remote.to_string()),
            ("127.0.0.1:8080".into(), "10.0.0.2:5432".into())
        );
        assert_eq!((socket.state, socket.inode), (ESTABLISHED, 6543));
        assert_eq!(
            InetSocket::parse("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when"),
            None
        );
    }

    #[test]
    fn addresses() {
        let told = |text: &str| address(text).map(|address| address.to_string());
        assert_eq!(told("00000000000000000000000001000000:0050"), Some("[::1]:80".into()));
        assert_eq!(told("0000000000000000FFFF00000100007F:0050"), Some("127.0.0.1:80".into()));
        for odd in ["", ":", "0:0", "0100007F", "0100007F:10000", "010000é:0050", "+100007F:0050é"] {
            assert_eq!(told(odd), None, "{odd}");
        }
    }

    #[test]
    fn listeners() {
        let at = |local: &str| InetSocket {
            local: local.parse().expect("an address"),
            remote: "0.0.0.0:0".parse().expect("an address"),
            state: LISTEN,
            inode: 1,
        };
        let address = "127.0.0.1:80".parse().expect("an address");
        assert!(at("0.0.0.0:80").listens_at(address) && at("[::]:80").listens_at(address));
        assert!(at("127.0.0.1:80").listens_at(address) && !at("127.0.0.2:80").listens_at(address));
        assert!(!at("0.0.0.0:81").listens_at(address));
    }

    proptest::proptest! {
        #[test]
        fn any_line(line in "[0-9A-F: ]{0,120}.{0,8}") {
            let _ = InetSocket::parse(&line);
        }
    }
}
