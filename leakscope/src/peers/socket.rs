//! What a socket is connected to.

use std::collections::HashMap;

use super::Target;
use super::budget::{Budget, SPENT};
use super::holders::Seek;
use super::inet::{ESTABLISHED, InetSocket, LISTEN, SYN_SENT};
use super::model::{Peer, PeerState, What};
use super::proc;
use super::unix::{self, Connected, UnixSocket};

/// Sockets of one kind that are kept.
const MOST_SOCKETS: usize = 1 << 18;

/// The sockets of the target's network namespace, each list read when it is needed.
#[derive(Debug)]
pub(super) struct Sockets {
    target: Target,
    tcp: Option<Vec<InetSocket>>,
    unix: Option<HashMap<u64, UnixSocket>>,
    /// Whether a list was not read to its end.
    cut: bool,
}

impl Sockets {
    pub(super) fn new(target: Target) -> Self {
        Self { target, tcp: None, unix: None, cut: false }
    }

    /// The socket with this inode number.
    pub(super) fn begin(&mut self, inode: u64, budget: &Budget) -> Seek {
        self.load(budget);
        let tcp = self.tcp.as_deref().unwrap_or_default();
        if let Some(socket) = tcp.iter().find(|socket| socket.inode == inode) {
            return tcp_peer(socket, tcp);
        }
        let unix = self.unix.as_ref();
        if let Some(socket) = unix.and_then(|unix| unix.get(&inode)) {
            return unix_peer(socket, unix.into_iter().flatten(), self.target);
        }
        Seek::done(self.other(inode, budget))
    }

    fn load(&mut self, budget: &Budget) {
        if self.tcp.is_some() {
            return;
        }
        let (mut tcp, mut unix) = (Vec::new(), HashMap::new());
        let whole = ["tcp", "tcp6"].map(|list| {
            self.list(list, budget, |line| {
                tcp.extend(InetSocket::parse(line));
                tcp.len() < MOST_SOCKETS
            })
        });
        let all_unix = self.list("unix", budget, |line| {
            unix.extend(UnixSocket::parse(line).map(|socket| (socket.inode, socket)));
            unix.len() < MOST_SOCKETS
        });
        self.cut = !all_unix || !whole[0];
        (self.tcp, self.unix) = (Some(tcp), Some(unix));
    }

    fn list(&self, name: &str, budget: &Budget, each: impl FnMut(&str) -> bool) -> bool {
        proc::lines(&format!("{}/net/{name}", self.target.through), budget, each)
    }

    /// A socket that is neither TCP's nor a UNIX socket.
    fn other(&self, inode: u64, budget: &Budget) -> Peer {
        let mut found = None;
        for list in ["udp", "udp6"] {
            self.list(list, budget, |line| {
                found = InetSocket::parse(line).filter(|socket| socket.inode == inode);
                found.is_none()
            });
            if let Some(socket) = found {
                let connected = socket.remote.port() != 0;
                let address = connected.then(|| socket.remote.to_string());
                return Peer { address, ..Peer::new(What::Udp) };
            }
        }
        let mut netlink = false;
        self.list("netlink", budget, |line| {
            // Its inode number comes last.
            netlink = line.split_whitespace().next_back() == Some(&*inode.to_string());
            !netlink
        });
        if netlink {
            return Peer::new(What::Netlink);
        }
        let why = if self.cut || budget.is_spent() { SPENT } else { "/proc/PID/net does not list it" };
        Peer { unknown: Some(why.to_owned()), ..Peer::new(What::Socket) }
    }
}

fn socket_link(inode: u64) -> String {
    format!("socket:[{inode}]")
}

fn tcp_peer(socket: &InetSocket, all: &[InetSocket]) -> Seek {
    if socket.state == LISTEN {
        return Seek::done(Peer { address: Some(socket.local.to_string()), ..Peer::new(What::Listening) });
    }
    let mut peer = Peer { address: Some(socket.remote.to_string()), ..Peer::new(What::Tcp) };
    if socket.state == SYN_SENT {
        return Seek::done(Peer { state: Some(PeerState::Connecting), ..peer });
    }
    let is_other = |other: &&InetSocket| other.local == socket.remote && other.remote == socket.local;
    let Some(other) = all.iter().find(is_other) else { return Seek::done(peer) };
    if other.inode != 0 {
        return Seek::link(peer, socket_link(other.inode));
    }
    if other.state != ESTABLISHED {
        return Seek::done(peer);
    }
    peer.state = Some(PeerState::NotAccepted);
    match all.iter().find(|listener| listener.listens_at(socket.remote)) {
        Some(listener) => Seek::link(peer, socket_link(listener.inode)),
        None => Seek::done(peer),
    }
}

fn unix_peer<'a>(
    socket: &UnixSocket,
    all: impl Iterator<Item = (&'a u64, &'a UnixSocket)>,
    target: Target,
) -> Seek {
    if socket.listens {
        return Seek::done(Peer { path: socket.path.clone(), ..Peer::new(What::Listening) });
    }
    let peer = Peer::new(What::Unix);
    let unknown = |why: &str| Seek::done(Peer { unknown: Some(why.to_owned()), ..Peer::new(What::Unix) });
    let namespace = |process: &str| proc::link(&format!("{process}/ns/net"));
    if namespace("self").is_none_or(|own| Some(own) != namespace(&target.through.to_string())) {
        return unknown("it is in another network namespace");
    }
    let Ok(inode) = u32::try_from(socket.inode) else {
        return unknown("its number is too large to be asked for");
    };
    match unix::connected(inode) {
        Err(_) => unknown("this kernel does not tell (CONFIG_UNIX_DIAG)"),
        Ok(Connected::Nobody) => unknown("it is not connected"),
        Ok(Connected::To(0)) if socket.connects => {
            Seek::done(Peer { state: Some(PeerState::NotAccepted), ..peer })
        }
        Ok(Connected::To(0)) => unknown("no process has the other end"),
        Ok(Connected::To(other)) => {
            // A server's end has its name.
            let path =
                all.into_iter().find(|(inode, _)| **inode == other).and_then(|(_, other)| other.path.clone());
            Seek::link(Peer { path, ..peer }, socket_link(other))
        }
    }
}
