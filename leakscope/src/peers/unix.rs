//! UNIX sockets: which ones there are (`/proc/PID/net/unix`), and who is connected to whom (sock_diag(7)).

use std::io;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// A line of `/proc/PID/net/unix` (unix_seq_show, net/unix/af_unix.c of Linux 6.18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnixSocket {
    pub(super) inode: u64,
    pub(super) listens: bool,
    /// Whether it is a stream, or keeps messages apart in one.
    pub(super) connects: bool,
    /// Its name; one that is in no file system begins with `@`.
    pub(super) path: Option<String>,
}

impl UnixSocket {
    pub(super) fn parse(line: &str) -> Option<Self> {
        /// __SO_ACCEPTCON (include/uapi/linux/net.h)
        const LISTENS: u32 = 1 << 16;
        const STREAM: u32 = 1;
        const SEQPACKET: u32 = 5;
        let mut parts = line.splitn(8, ' ');
        let mut hex = |at| u32::from_str_radix(parts.nth(at)?, 16).ok();
        // Address, references, protocol.
        let (flags, kind) = (hex(3)?, hex(0)?);
        // The state; the inode number is filled up with spaces.
        let rest = parts.nth(1)?.to_owned() + " " + parts.next().unwrap_or_default();
        let rest = rest.trim_start();
        let (inode, path) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Self {
            inode: inode.parse().ok()?,
            listens: flags & LISTENS != 0,
            connects: kind == STREAM || kind == SEQPACKET,
            path: (!path.trim().is_empty()).then(|| path.trim().to_owned()),
        })
    }
}

/// Whom a socket is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connected {
    /// The socket of this inode number; 0: one that no process has.
    To(u64),
    Nobody,
}

/// How long the kernel may take to answer. It does so at once.
const PATIENCE: Duration = Duration::from_millis(100);

/// Numbers of include/uapi/linux/{netlink,sock_diag,unix_diag}.h.
const HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_UNIX: u8 = 1;
const UDIAG_SHOW_PEER: u32 = 4;
const UNIX_DIAG_PEER: u16 = 2;
/// Of `struct unix_diag_msg`.
const MESSAGE: usize = 16;

/// Asks the kernel whom a socket of our network namespace is connected to.
pub(super) fn connected(inode: u32) -> io::Result<Connected> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    send(&socket, &request(inode), SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (_, length) = recv(&socket, &mut answer, RecvFlags::empty())?;
    parse(answer.get(..length).unwrap_or_default())
}

/// A `struct nlmsghdr` and a `struct unix_diag_req`.
fn request(inode: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 24);
    bytes.extend(40u32.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence, port.
    bytes.extend([0; 8]);
    bytes.extend([AF_UNIX, 0, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(inode.to_ne_bytes());
    bytes.extend(UDIAG_SHOW_PEER.to_ne_bytes());
    // No cookie.
    bytes.extend([0xff; 8]);
    bytes
}

/// The answer: a message with attributes, or an error.
fn parse(answer: &[u8]) -> io::Result<Connected> {
    const NLMSG_ERROR: u16 = 2;
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = short(answer, 4).ok_or_else(odd)?;
    if kind == NLMSG_ERROR {
        let code = word(answer, HEADER).ok_or_else(odd)?.cast_signed();
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    if kind != SOCK_DIAG_BY_FAMILY {
        return Err(odd());
    }
    let mut at = HEADER + MESSAGE;
    while let (Some(length), Some(kind)) = (short(answer, at), short(answer, at + 2)) {
        if kind == UNIX_DIAG_PEER {
            return word(answer, at + 4).map(|inode| Connected::To(inode.into())).ok_or_else(odd);
        }
        at += usize::from(length).max(4).next_multiple_of(4);
    }
    Ok(Connected::Nobody)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;
    use crate::peers::proc;

    #[test]
    fn lists() {
        let parse = UnixSocket::parse;
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 16163 /run/a b.sock";
        let socket = parse(line).expect("a socket");
        assert_eq!((socket.inode, socket.listens, socket.connects), (16163, true, true));
        assert_eq!(socket.path.as_deref(), Some("/run/a b.sock"));
        let socket = parse("0000000000000000: 00000003 00000000 00000000 0002 03   177").expect("a socket");
        assert_eq!((socket.inode, socket.listens, socket.connects, socket.path), (177, false, false, None));
        for odd in
            ["", "Num       RefCount Protocol Flags    Type St Inode Path", "a: b c d e f g h", "       "]
        {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn both_ends_of_a_pair() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let inode = |fd: i32| {
            let link = proc::link(&format!("self/fd/{fd}")).expect("a link");
            link.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().expect("a number")
        };
        let to = Connected::To(inode(other.as_raw_fd()).into());
        match connected(inode(one.as_raw_fd())) {
            Ok(found) => assert_eq!(found, to),
            Err(error) => println!("skipped: this kernel has no unix_diag: {error}"),
        }
        let alone = UnixDatagram::unbound().expect("a socket");
        assert!(connected(inode(alone.as_raw_fd())).is_ok_and(|found| found == Connected::Nobody));
    }

    proptest::proptest! {
        #[test]
        fn any_answer(mut bytes in proptest::collection::vec(0u8.., 0..200), kind in 0u8..24) {
            if let Some(byte) = bytes.get_mut(4) {
                *byte = kind;
            }
            let _ = parse(&bytes);
        }

        #[test]
        fn any_line(line in "[0-9A-F: ]{0,80}.{0,20}") {
            let _ = UnixSocket::parse(&line);
        }
    }
}
