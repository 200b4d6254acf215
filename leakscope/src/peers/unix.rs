//! UNIX sockets, of which the kernel tells by sock_diag(7).
//!
//! `/proc/net/unix` says less, and a name in it can hold a line break and what looks like another line: only that a
//! socket stands there is taken from it.

use std::io;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// The inode number in a line of `/proc/PID/net/unix` (unix_seq_show, net/unix/af_unix.c of Linux 6.18).
pub(super) fn listed(line: &str) -> Option<u64> {
    line.split_whitespace().nth(6)?.parse().ok()
}

/// What the kernel tells of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnixSocket {
    pub(super) listens: bool,
    /// Whether it is a stream, or keeps messages apart in one.
    pub(super) connects: bool,
    /// Its name; one that is in no file system begins with `@`.
    pub(super) name: Option<String>,
    /// The inode number of the socket that it is connected to; 0: one that no process has.
    pub(super) peer: Option<u64>,
}

/// How long the kernel may take to answer. It does so at once.
const PATIENCE: Duration = Duration::from_millis(100);

/// Numbers of include/uapi/linux/{netlink,sock_diag,unix_diag}.h.
const HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_UNIX: u8 = 1;
const UDIAG_SHOW: u32 = 1 | 4;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_PEER: u16 = 2;
/// Of `struct unix_diag_msg`, in which the type is the second byte and the state the third.
const MESSAGE: usize = 16;

/// Asks the kernel for a socket of our network namespace.
pub(super) fn ask(inode: u32) -> io::Result<UnixSocket> {
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
    bytes.extend(UDIAG_SHOW.to_ne_bytes());
    // No cookie.
    bytes.extend([0xff; 8]);
    bytes
}

/// The answer: a message with attributes, or an error.
fn parse(answer: &[u8]) -> io::Result<UnixSocket> {
    const NLMSG_ERROR: u16 = 2;
    /// TCP_LISTEN (include/net/tcp_states.h), which is a UNIX socket's state, too.
    const LISTENS: u8 = 10;
    const STREAM: u8 = 1;
    const SEQPACKET: u8 = 5;
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = short(answer, 4).ok_or_else(odd)?;
    if kind == NLMSG_ERROR {
        let code = word(answer, HEADER).ok_or_else(odd)?.cast_signed();
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    let (Some(&[_, kind, state]), SOCK_DIAG_BY_FAMILY) =
        (answer[HEADER.min(answer.len())..].first_chunk(), kind)
    else {
        return Err(odd());
    };
    let connects = kind == STREAM || kind == SEQPACKET;
    let mut socket = UnixSocket { listens: state == LISTENS, connects, name: None, peer: None };
    let mut at = HEADER + MESSAGE;
    while let (Some(length), Some(kind)) = (short(answer, at), short(answer, at + 2)) {
        let value = answer.get(at + 4..at + usize::from(length)).unwrap_or_default();
        match kind {
            UNIX_DIAG_NAME => socket.name = name(value),
            UNIX_DIAG_PEER => socket.peer = word(value, 0).map(u64::from),
            _ => {}
        }
        at += usize::from(length).max(4).next_multiple_of(4);
    }
    Ok(socket)
}

/// A path ends with a zero byte; a name that is in no file system begins with one.
fn name(bytes: &[u8]) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match bytes {
        [] => None,
        [0, rest @ ..] => Some(format!("@{}", text(rest))),
        path => path.split(|byte| *byte == 0).next().map(text),
    }
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
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

    use super::*;
    use crate::peers::proc;

    #[test]
    fn lists() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 16163 /run/a b.sock";
        assert_eq!(listed(line), Some(16163));
        assert_eq!(listed("0000000000000000: 00000003 00000000 00000000 0002 03   177"), Some(177));
        for odd in ["", "Num       RefCount Protocol Flags    Type St Inode Path", "       "] {
            assert_eq!(listed(odd), None, "{odd}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(name(b"/run/s\0"), Some("/run/s".to_owned()));
        assert_eq!(name(b"\0dbus"), Some("@dbus".to_owned()));
        assert_eq!(name(b""), None);
    }

    #[test]
    fn both_ends_of_a_pair() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let inode = |fd: i32| {
            let link = proc::link(&format!("self/fd/{fd}")).expect("a link");
            link.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().expect("a number")
        };
        let to = Some(inode(other.as_raw_fd()).into());
        match ask(inode(one.as_raw_fd())) {
            Ok(found) => {
                assert_eq!(found, UnixSocket { listens: false, connects: true, name: None, peer: to })
            }
            Err(error) => return println!("skipped: this kernel has no unix_diag: {error}"),
        }
        let alone = UnixDatagram::unbound().expect("a socket");
        let found = ask(inode(alone.as_raw_fd())).expect("a socket");
        assert_eq!((found.connects, found.peer), (false, None));
        assert_eq!(ask(u32::MAX).map_err(|error| error.raw_os_error()), Err(Some(libc::ENOENT)));
        let name = SocketAddr::from_abstract_name(b"leakscope-test-of-unix-sockets");
        let bound = UnixListener::bind_addr(&name.expect("a name")).expect("a listener");
        let found = ask(inode(bound.as_raw_fd())).expect("a socket");
        assert_eq!((found.listens, found.name.as_deref()), (true, Some("@leakscope-test-of-unix-sockets")));
    }

    proptest::proptest! {
        #[test]
        fn any_answer(mut bytes in proptest::collection::vec(0u8.., 0..200), kind in 0u8..24) {
            if let Some(byte) = bytes.get_mut(4) {
                *byte = kind;
            }
            let _ = parse(&bytes);
        }
    }
}
