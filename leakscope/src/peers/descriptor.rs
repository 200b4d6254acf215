//! What a descriptor is.

use super::budget::Budget;
use super::holders::{Seek, Test};
use super::model::{End, Peer, PeerProcess, PeerState, What};
use super::proc::{self, FdInfo};
use super::socket::Sockets;
use super::{File, Target};

/// What anonymous inodes are called in `/proc/PID/fd`, where each file system of its own has names as pipes do
/// (fs/eventfd.c, fs/timerfd.c, fs/signalfd.c, fs/notify/inotify, fs/eventpoll.c of Linux 6.18).
const ANONYMOUS: &[(&str, What)] = &[
    ("anon_inode:[eventfd]", What::Eventfd),
    ("anon_inode:[timerfd]", What::Timerfd),
    ("anon_inode:[signalfd]", What::Signalfd),
    ("anon_inode:[eventpoll]", What::Epoll),
    ("anon_inode:inotify", What::Inotify),
];
/// A process: `pidfd:[inode]` since Linux 6.9, `anon_inode:[pidfd]` before (fs/pidfs.c, kernel/fork.c).
const PROCESS: [&str; 2] = ["pidfd:[", "anon_inode:[pidfd]"];
/// Terminals (Documentation/admin-guide/devices.rst).
const TERMINALS: [&str; 3] = ["/dev/pts/", "/dev/tty", "/dev/console"];

/// Looks at a descriptor that a thread waits for.
pub(super) fn begin(
    target: Target,
    fd: i32,
    file: File,
    sockets: &mut Sockets,
    budget: &Budget,
) -> Option<Seek> {
    let fd = u32::try_from(fd).ok()?;
    let through = target.through;
    let link = proc::link(&format!("{through}/fd/{fd}"))?;
    if let Some((_, what)) = ANONYMOUS.iter().find(|(name, _)| *name == link) {
        return Some(Seek::done(Peer::new(*what)));
    }
    if let Some(inode) = numbered(&link, "socket:[") {
        return Some(sockets.begin(inode, budget));
    }
    if link.starts_with("pipe:[") {
        return pipe(Peer::new(What::Pipe), target, fd, link);
    }
    if PROCESS.iter().any(|name| link.starts_with(name)) {
        return Some(Seek::done(process(target, fd)));
    }
    if !link.starts_with('/') {
        return None;
    }
    match file {
        File::Fifo => pipe(Peer::new(What::Fifo).at(link.clone()), target, fd, link),
        File::MessageQueue => Some(Seek::done(Peer::new(What::MessageQueue).at(link))),
        File::Other if !TERMINALS.iter().any(|name| link.starts_with(name)) => {
            Some(Seek::done(Peer::new(What::File).at(link)))
        }
        File::Terminal | File::Other => Some(Seek::done(Peer::new(What::Terminal).at(link))),
    }
}

fn numbered(link: &str, prefix: &str) -> Option<u64> {
    link.strip_prefix(prefix)?.strip_suffix(']')?.parse().ok()
}

/// A pipe: who only reads waits for those that write, and the other way round.
fn pipe(peer: Peer, target: Target, fd: u32, link: String) -> Option<Seek> {
    let info = FdInfo::of(target.through, fd)?;
    let end = match info.access() {
        (true, false) => Some(End::Write),
        (false, true) => Some(End::Read),
        _ => None,
    };
    let test = Test::Pipe { fd, inode: info.inode, end };
    Some(Seek { peer: Peer { end, ..peer }, link: Some(link), test })
}

/// The process of a pidfd.
pub(super) fn process(target: Target, fd: u32) -> Peer {
    let peer = Peer::new(What::Process);
    let Some(pid) = FdInfo::of(target.through, fd).and_then(|info| info.pid) else {
        let why = "it has ended, or is not seen from leakscope's PID namespace";
        return Peer { unknown: Some(why.to_owned()), ..peer };
    };
    let name = proc::name(pid).unwrap_or_default();
    Peer { holders: vec![PeerProcess { pid, name, itself: pid == target.pid }], ..peer }
}

/// Where a thread sleeps in the kernel that has opened one end of a FIFO (fifo_open, fs/pipe.c of Linux 6.18).
const WAITS_FOR_PARTNER: &str = "wait_for_partner";

/// A FIFO that a thread opens until another process opens the other end.
pub(super) fn opening(
    target: Target,
    tid: u32,
    directory: Option<i32>,
    path: &[u8],
    end: End,
) -> Option<Peer> {
    if proc::read(&format!("{tid}/wchan"))? != WAITS_FOR_PARTNER {
        return None;
    }
    let path = String::from_utf8_lossy(path).into_owned();
    let path = if path.starts_with('/') {
        path
    } else {
        let from = match directory {
            None => proc::link(&format!("{tid}/cwd"))?,
            Some(fd) => proc::link(&format!("{}/fd/{}", target.through, u32::try_from(fd).ok()?))?,
        };
        format!("{}/{path}", from.trim_end_matches('/'))
    };
    let state = Some(PeerState::Opening);
    Some(Peer { end: Some(end), state, ..Peer::new(What::Fifo).at(path) })
}
