//! What is told of the other end of a wait.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a thread waits for, and who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// What is waited for.
    pub what: What,
    /// Path of the file, FIFO, terminal or UNIX socket, as the target names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Address and port: the remote ones of a connection, the local ones of a listening socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Of a pipe: the end that `holders` have open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// What is known of a connection besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PeerState>,
    /// The processes at the other end, that hold the lock, or that are waited for; the target itself last.
    #[serde(default)]
    pub holders: Vec<PeerProcess>,
    /// Further ones that are not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    /// Why `holders` are unknown, or may not be all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum What {
    #[serde(rename = "pipe")]
    Pipe,
    /// A pipe with a name.
    #[serde(rename = "fifo")]
    Fifo,
    #[serde(rename = "unix socket")]
    Unix,
    #[serde(rename = "tcp")]
    Tcp,
    #[serde(rename = "udp")]
    Udp,
    /// One that waits for connections.
    #[serde(rename = "listening socket")]
    Listening,
    /// Of a kind that is not known.
    #[serde(rename = "socket")]
    Socket,
    #[serde(rename = "netlink socket")]
    Netlink,
    #[serde(rename = "file lock")]
    Lock,
    #[serde(rename = "child")]
    Child,
    /// The end of a process (pidfd).
    #[serde(rename = "process")]
    Process,
    #[serde(rename = "terminal")]
    Terminal,
    #[serde(rename = "eventfd")]
    Eventfd,
    #[serde(rename = "timerfd")]
    Timerfd,
    #[serde(rename = "signalfd")]
    Signalfd,
    #[serde(rename = "inotify")]
    Inotify,
    #[serde(rename = "epoll")]
    Epoll,
    #[serde(rename = "message queue")]
    MessageQueue,
    #[serde(rename = "file")]
    File,
    /// Something that this version of leakscope does not know.
    #[serde(other, rename = "other")]
    Other,
}

/// An end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Read,
    Write,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// The other side has not answered yet.
    Connecting,
    /// The kernel has made the connection, and no process of the other side has accepted it. `holders` listen there.
    NotAccepted,
    /// A FIFO that nobody else has open.
    Opening,
}

/// A process at the other end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PeerProcess {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Whether it is the target itself.
    #[serde(default)]
    pub itself: bool,
}

impl Peer {
    pub(super) fn new(what: What) -> Self {
        Self {
            what,
            path: None,
            address: None,
            end: None,
            state: None,
            holders: Vec::new(),
            more: 0,
            unknown: None,
        }
    }

    pub(super) fn at(self, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// Whether only the target itself can end the wait: the other end is open in no other process.
    pub fn is_own(&self) -> bool {
        self.unknown.is_none() && self.more == 0 && matches!(&*self.holders, [one] if one.itself)
    }

    /// What it is, without who is at its other end.
    fn thing(&self) -> String {
        let named =
            |thing: &str| self.path.as_ref().map_or(format!("a {thing}"), |p| format!("the {thing} {p}"));
        let address = self.address.as_deref().unwrap_or("an unknown address");
        match self.what {
            What::Pipe => "a pipe".to_owned(),
            What::Fifo => named("FIFO"),
            What::Unix => {
                self.path.as_ref().map_or("a UNIX socket".to_owned(), |p| format!("a UNIX socket to {p}"))
            }
            What::Tcp => format!("a TCP connection to {address}"),
            What::Udp => match &self.address {
                Some(address) => format!("a UDP socket with {address}"),
                None => "a UDP socket".to_owned(),
            },
            What::Listening => {
                let at = self.address.as_ref().or(self.path.as_ref());
                at.map_or("a listening socket".to_owned(), |at| {
                    format!("connections to {at}, where it listens")
                })
            }
            What::Socket => "a socket".to_owned(),
            What::Netlink => "a netlink socket, whose other end is the kernel".to_owned(),
            What::Lock => self.path.as_ref().map_or("a file lock".to_owned(), |p| format!("a lock on {p}")),
            What::Child => "a child".to_owned(),
            What::Process => "the end of a process".to_owned(),
            What::Terminal => named("terminal"),
            What::Eventfd => "an eventfd".to_owned(),
            What::Timerfd => "a timer (timerfd)".to_owned(),
            What::Signalfd => "signals (signalfd)".to_owned(),
            What::Inotify => "changes of files (inotify)".to_owned(),
            What::Epoll => "an epoll descriptor".to_owned(),
            What::MessageQueue => named("message queue"),
            What::File => named("file"),
            What::Other => "something else".to_owned(),
        }
    }

    /// The other processes in a list.
    fn others(&self) -> Option<String> {
        let others: Vec<String> =
            self.holders.iter().filter(|h| !h.itself).map(ToString::to_string).collect();
        let more = (self.more > 0).then(|| format!("{} more", self.more));
        let parts: Vec<String> = others.into_iter().chain(more).collect();
        let (last, before) = parts.split_last()?;
        Some(if before.is_empty() { last.clone() } else { format!("{} and {last}", before.join(", ")) })
    }

    fn has_itself(&self) -> bool {
        self.holders.iter().any(|holder| holder.itself)
    }

    /// Of what has ends: who has the other one open.
    fn ends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.end {
            Some(End::Read) => "read end",
            Some(End::Write) => "write end",
            None => "other end",
        };
        f.write_str(&self.thing())?;
        match (self.others(), self.has_itself()) {
            (Some(others), false) => write!(f, " whose {end} is open in {others}")?,
            (Some(others), true) => {
                write!(f, " whose {end} is open in {others}, and in this process itself")?
            }
            (None, true) if self.unknown.is_none() => {
                return write!(f, " whose {end} only this process itself holds");
            }
            (None, true) => write!(f, " whose {end} this process itself holds")?,
            (None, false) if self.unknown.is_none() => {
                return write!(f, " whose {end} was found open in no process");
            }
            (None, false) => return self.unknown(f, &format!("who has its {end} open")),
        }
        self.unknown(f, "whether others do, too,")
    }

    fn held(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.thing())?;
        match (self.others(), self.has_itself()) {
            (Some(others), false) => write!(f, ", held by {others}")?,
            (Some(others), true) => write!(f, ", held by {others} and by this process itself")?,
            (None, true) => write!(f, ", held by this process itself")?,
            (None, false) => return self.unknown(f, "who holds it"),
        }
        self.unknown(f, "whether others do, too,")
    }

    fn children(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.others(), self.holders.len()) {
            (Some(one), 1) if self.more == 0 => write!(f, "child {one}")?,
            (Some(others), _) => write!(f, "any of its children: {others}")?,
            (None, _) => return self.unknown_of(f, "a child", "which one"),
        }
        self.unknown(f, "whether there are others")
    }

    fn connection(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.thing())?;
        let several = self.holders.len() as u64 + self.more > 1;
        let (has, listens) = if several { ("have", "listen") } else { ("has", "listens") };
        let nameless = self.what == What::Unix && self.path.is_none();
        match (self.state, self.others(), self.has_itself()) {
            (Some(PeerState::Connecting), ..) => f.write_str(" that is not established yet"),
            (Some(PeerState::NotAccepted), Some(others), _) => {
                write!(f, " that is not accepted yet; {others} {listens} there")
            }
            (Some(PeerState::NotAccepted), None, true) => {
                f.write_str(" that is not accepted yet; this process itself listens there")
            }
            (Some(PeerState::NotAccepted), None, false) if self.what == What::Unix => {
                f.write_str(" whose connection no process has accepted yet")
            }
            (Some(PeerState::NotAccepted), None, false) => f.write_str(" that no process has accepted yet"),
            (_, Some(others), false) if nameless => write!(f, " to {others}"),
            (_, Some(others), false) => write!(f, ", whose other end {others} {has} open"),
            (_, Some(others), true) => {
                write!(f, ", whose other end {others} and this process itself have open")
            }
            (_, None, true) if self.unknown.is_none() => {
                f.write_str(" whose other end only this process itself has open")
            }
            (_, None, true) => f.write_str(" whose other end this process itself has open"),
            (_, None, false) => self.unknown(f, "who is at its other end"),
        }
    }

    fn unknown(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        self.unknown.as_ref().map_or(Ok(()), |why| write!(f, "; {what} is unknown: {why}"))
    }

    fn unknown_of(&self, f: &mut fmt::Formatter<'_>, thing: &str, what: &str) -> fmt::Result {
        f.write_str(thing)?;
        self.unknown(f, what)
    }
}

/// What a thread waits for, as the end of a sentence: `a pipe whose write end is open in 4711 (sh)`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.what, self.state) {
            (What::Fifo, Some(PeerState::Opening)) => {
                let doing = if self.end == Some(End::Read) { "reading" } else { "writing" };
                write!(f, "{}, which no process has opened for {doing}", self.thing())
            }
            (What::Pipe | What::Fifo, _) => self.ends(f),
            (What::Lock, _) => self.held(f),
            (What::Child, _) => self.children(f),
            (What::Process, _) => match self.others() {
                Some(process) => write!(f, "the end of process {process}"),
                None => self.unknown_of(f, "the end of a process", "which one"),
            },
            (What::Unix | What::Tcp, _) => self.connection(f),
            _ => {
                f.write_str(&self.thing())?;
                self.unknown(f, "its kind")
            }
        }
    }
}

impl fmt::Display for PeerProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.name)
    }
}
