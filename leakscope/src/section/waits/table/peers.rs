//! Who is at the other end of what the threads of a site wait for.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::human::counted;
use crate::peers::Peer;
use crate::section::model::WaitSite;

/// Peers of a site that are told.
const MOST_PEERS: usize = 4;

/// A line for each thing that threads of the site wait for, the most wanted first.
pub(crate) fn lines(site: &WaitSite) -> Vec<String> {
    let mut peers: BTreeMap<&Peer, u64> = BTreeMap::new();
    for peer in site.threads.iter().filter_map(|thread| thread.peer.as_ref()) {
        *peers.entry(peer).or_default() += 1;
    }
    let all = peers.len() == 1 && peers.values().sum::<u64>() == site.threads.len() as u64;
    let mut peers: Vec<(&Peer, u64)> = peers.into_iter().collect();
    peers.sort_by_key(|&(_, threads)| Reverse(threads));
    let line = |&(peer, threads): &(&Peer, u64)| {
        let waiting = if all { String::new() } else { format!("{}: ", counted(threads, "thread")) };
        format!("waits for: {waiting}{peer}")
    };
    let mut lines: Vec<String> = peers.iter().take(MOST_PEERS).map(line).collect();
    if let Some(more @ 1..) = peers.len().checked_sub(MOST_PEERS) {
        lines.push(format!("and for {}", counted(more as u64, "other thing")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::table::tests::samples::{blocked, site};
    use crate::section::model::WaitKind;

    #[test]
    fn each_thing_is_told_once() {
        let mut site = site(1, WaitKind::Pipe, "", Vec::new(), Vec::new());
        let peer = |number: u32| -> Peer {
            let text = format!(
                r#"{{"what": "file lock", "path": "/l{number}", "holders": [{{"pid": 1, "name": "a"}}]}}"#
            );
            serde_json::from_str(&text).expect("a peer")
        };
        let thread = |number| crate::section::model::WaitThread {
            peer: Some(peer(number)),
            ..blocked(number, "t", 1, None)
        };
        site.threads = vec![thread(7), thread(7)];
        assert_eq!(lines(&site), ["waits for: a lock on /l7, held by 1 (a)"]);
        site.threads.extend((1..=4).map(thread));
        let told = lines(&site);
        assert_eq!(told.len(), 5);
        assert_eq!(told[0], "waits for: 2 threads: a lock on /l7, held by 1 (a)");
        assert_eq!(told[4], "and for 1 other thing");
        site.threads.clear();
        assert!(lines(&site).is_empty());
    }
}
