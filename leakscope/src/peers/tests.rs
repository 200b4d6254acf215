//! Peers of this very process, and what is said of them.

use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use super::*;

fn asked(questions: &[Question]) -> Vec<Option<Peer>> {
    let pid = std::process::id();
    find(Target { pid, through: pid }, questions, &Budget::default())
}

fn of_descriptor(fd: i32) -> Peer {
    let question = Question::Descriptor { fd, file: File::Other };
    asked(&[question]).pop().flatten().expect("a peer")
}

#[test]
fn a_pipe_of_its_own() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let peer = of_descriptor(reader.as_raw_fd());
    assert_eq!((peer.what, peer.end), (What::Pipe, Some(End::Write)));
    assert!(peer.holders.iter().any(|holder| holder.itself), "{peer:?}");
    drop(writer);
    let peer = of_descriptor(reader.as_raw_fd());
    assert!(!peer.holders.iter().any(|holder| holder.itself), "{peer:?}");
}

#[test]
fn a_pair_of_sockets() {
    let (one, _other) = UnixStream::pair().expect("a pair");
    let peer = of_descriptor(one.as_raw_fd());
    assert_eq!(peer.what, What::Unix);
    assert!(peer.unknown.is_some() || peer.holders.iter().any(|holder| holder.itself), "{peer:?}");
}

#[test]
fn connections() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let peer = of_descriptor(listener.as_raw_fd());
    assert_eq!((peer.what, peer.address), (What::Listening, Some(address.to_string())));
    let client = std::net::TcpStream::connect(address).expect("a connection");
    let peer = of_descriptor(client.as_raw_fd());
    assert_eq!((peer.what, peer.state), (What::Tcp, Some(PeerState::NotAccepted)));
    assert_eq!(
        peer.to_string(),
        format!("a TCP connection to {address} that is not accepted yet; this process itself listens there")
    );
    let (_server, _) = listener.accept().expect("a connection");
    let peer = of_descriptor(client.as_raw_fd());
    assert_eq!((peer.state, peer.is_own()), (None, proc::sees_all()), "{peer:?}");
}

#[test]
fn nothing_is_known_of_what_is_not_there() {
    let descriptor = |fd| Question::Descriptor { fd, file: File::Other };
    let lock = Question::Lock { fd: -1, kind: LockKind::Flock };
    let answers = asked(&[descriptor(-1), descriptor(i32::MAX), lock]);
    assert_eq!(answers, [None, None, None]);
    let children =
        asked(&[Question::Children(Children::Process(u32::MAX))]).pop().flatten().expect("an answer");
    assert!(children.unknown.is_some(), "{children:?}");
}

#[test]
fn without_time_it_is_unknown() {
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let pid = std::process::id();
    let question = Question::Descriptor { fd: reader.as_raw_fd(), file: File::Other };
    let answers = find(Target { pid, through: pid }, &[question], &Budget::spent());
    let peer = answers.into_iter().next().flatten().expect("a peer");
    let expected =
        "a pipe; who has its write end open is unknown: not all processes could be looked at within 0.2 s";
    assert_eq!(peer.to_string(), expected);
}

fn holder(pid: u32, name: &str, itself: bool) -> PeerProcess {
    PeerProcess { pid, name: name.to_owned(), itself }
}

#[test]
fn sentences() {
    let told = |what: What, edit: fn(&mut Peer)| {
        let mut peer = Peer::new(what);
        edit(&mut peer);
        peer.to_string()
    };
    let pipe = |edit| told(What::Pipe, edit);
    assert_eq!(
        pipe(|p| {
            p.end = Some(End::Write);
            p.holders = vec![holder(4711, "sh", false)];
        }),
        "a pipe whose write end is open in 4711 (sh)"
    );
    assert_eq!(
        pipe(|p| {
            p.end = Some(End::Write);
            p.holders = vec![holder(1, "me", true)];
        }),
        "a pipe whose write end only this process itself holds"
    );
    assert_eq!(
        pipe(|p| {
            p.holders = vec![holder(1, "sh", false), holder(2, "cat", false), holder(3, "me", true)];
            p.more = 4;
        }),
        "a pipe whose other end is open in 1 (sh), 2 (cat) and 4 more, and in this process itself"
    );
    assert_eq!(
        pipe(|p| {
            p.holders = vec![holder(1, "me", true)];
            p.unknown = Some("why".to_owned());
        }),
        "a pipe whose other end this process itself holds; whether others do, too, is unknown: why"
    );
    let lock = |edit| told(What::Lock, edit);
    assert_eq!(
        lock(|p| {
            p.path = Some("/var/lib/x.lock".to_owned());
            p.holders = vec![holder(4711, "python3", false)];
        }),
        "a lock on /var/lib/x.lock, held by 4711 (python3)"
    );
    assert_eq!(lock(|p| p.unknown = Some("why".to_owned())), "a file lock; who holds it is unknown: why");
    assert_eq!(told(What::Child, |p| p.holders = vec![holder(7, "sh", false)]), "child 7 (sh)");
    assert_eq!(
        told(What::Child, |p| p.holders = vec![holder(7, "sh", false), holder(8, "cat", false)]),
        "any of its children: 7 (sh) and 8 (cat)"
    );
    assert_eq!(
        told(What::Tcp, |p| p.address = Some("10.0.0.7:5432".to_owned())),
        "a TCP connection to 10.0.0.7:5432"
    );
    assert_eq!(
        told(What::Unix, |p| p.holders = vec![holder(812, "postgres", false)]),
        "a UNIX socket to 812 (postgres)"
    );
    assert_eq!(
        told(What::Unix, |p| {
            p.path = Some("/run/s".to_owned());
            p.holders = vec![holder(8, "a", false), holder(9, "b", false)];
        }),
        "a UNIX socket to /run/s, whose other end 8 (a) and 9 (b) have open"
    );
    assert_eq!(
        told(What::Unix, |p| p.holders = vec![holder(8, "me", true)]),
        "a UNIX socket whose other end only this process itself has open"
    );
    assert_eq!(told(What::Terminal, |p| p.path = Some("/dev/pts/3".to_owned())), "the terminal /dev/pts/3");
}

#[test]
fn reports_of_later_versions_are_read() {
    let later = r#"{"what": "quantum link", "holders": [], "colour": 1}"#;
    let peer: Peer = serde_json::from_str(later).expect("a peer");
    assert_eq!(peer, Peer::new(What::Other));
}
