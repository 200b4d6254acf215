//! What a socket is connected to.

use super::Target;
use super::budget::{Budget, SPENT};
use super::holders::Seek;
use super::inet::{ESTABLISHED, InetSocket, LISTEN, SYN_SENT};
use super::model::{Peer, PeerState, What};
use super::proc;
use super::unix;

/// Sockets of one kind that are kept.
const MOST_SOCKETS: usize = 1 << 18;

/// The sockets of the target's network namespace. Those of TCP are listed when the first one is asked for.
#[derive(Debug)]
pub(super) struct Sockets {
    target: Target,
    tcp: Option<Vec<InetSocket>>,
}

impl Sockets {
    pub(super) fn new(target: Target) -> Self {
        Self { target, tcp: None }
    }

    /// The socket with this inode number.
    pub(super) fn begin(&mut self, inode: u64, budget: &Budget) -> Seek {
        if self.tcp.is_none() {
            self.tcp = Some(self.list_tcp(budget));
        }
        let tcp = self.tcp.as_deref().unwrap_or_default();
        match tcp.iter().find(|socket| socket.inode == inode) {
            Some(socket) => tcp_peer(socket, tcp),
            None => self.unix(inode, budget).unwrap_or_else(|| Seek::done(self.other(inode, budget))),
        }
    }

    fn list_tcp(&self, budget: &Budget) -> Vec<InetSocket> {
        let mut tcp = Vec::new();
        for name in ["tcp", "tcp6"] {
            self.list(name, budget, |line| {
                tcp.extend(InetSocket::parse(line));
                tcp.len() < MOST_SOCKETS
            });
        }
        tcp
    }

    /// A UNIX socket; `None` if it is none.
    fn unix(&self, inode: u64, budget: &Budget) -> Option<Seek> {
        let namespace = |process: &str| proc::link(&format!("{process}/ns/net"));
        let here =
            namespace("self").is_some_and(|own| Some(own) == namespace(&self.target.through.to_string()));
        let why = match u32::try_from(inode) {
            Ok(inode) if here => match unix::ask(inode) {
                Ok(socket) => return Some(unix_peer(socket)),
                Err(_) => "this kernel does not tell (CONFIG_UNIX_DIAG)",
            },
            Ok(_) => "it is in another network namespace",
            Err(_) => "its number is too large to be asked for",
        };
        let mut listed = false;
        self.list("unix", budget, |line| {
            listed = unix::listed(line) == Some(inode);
            !listed
        });
        listed.then(|| Seek::done(Peer { unknown: Some(why.to_owned()), ..Peer::new(What::Unix) }))
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
        let why = if budget.is_spent() { SPENT } else { "/proc/PID/net does not list it" };
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

fn unix_peer(socket: unix::UnixSocket) -> Seek {
    if socket.listens {
        return Seek::done(Peer { path: socket.name, ..Peer::new(What::Listening) });
    }
    let peer = Peer::new(What::Unix);
    let unknown = |why: &str| Seek::done(Peer { unknown: Some(why.to_owned()), ..Peer::new(What::Unix) });
    match socket.peer {
        None => unknown("it is not connected"),
        Some(0) if socket.connects => Seek::done(Peer { state: Some(PeerState::NotAccepted), ..peer }),
        Some(0) => unknown("no process has the other end"),
        Some(other) => {
            // A server's end has its name.
            let path = u32::try_from(other).ok().and_then(|other| unix::ask(other).ok()?.name);
            Seek::link(Peer { path, ..peer }, socket_link(other))
        }
    }
}
