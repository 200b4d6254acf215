//! Blocked threads on the screen of `top`.

use super::table::peers;
use crate::human::{count, counted, duration};
use crate::layout::narrow::span;
use crate::section::model::{WaitLock, WaitSite, Waits};
use crate::section::site::StackSite as _;
use crate::section::stack::Stack;
use crate::section::view::{Around, Tab, Tabbed, Tone, Toned, Viewed, What, blamed, dash, number, text};
use crate::wait::verdict::Verdict;

const BLOCKED: u8 = 0;
const LONGEST: u8 = 1;
const FOR: u8 = 2;
const IN: u8 = 3;
const AT: u8 = 4;

/// Deadlocks that are told on top.
const MOST_DEADLOCKS: usize = 2;
/// Locks of a site that are told.
const MOST_LOCKS: usize = 5;
/// Threads of a site that are told.
const MOST_THREADS: usize = 12;

impl Tabbed for Waits {
    const TAB: Option<&'static Tab> = Some(&Tab {
        section: "waits",
        title: "Threads",
        none: "0 not idle",
        always: true,
        leads: false,
        tracks: None,
        columns: &[
            number("BLOCKED", What::Own(BLOCKED), 7, 0),
            number("LONGEST", What::Own(LONGEST), 7, 40),
            text("FOR", What::Own(FOR), 16, 40),
            text("IN", What::Own(IN), 22, 70),
            text("AT", What::Own(AT), 0, 0),
        ],
        empty: "no thread is blocked",
    });
}

impl Viewed for Waits {
    fn count(&self) -> String {
        let stuck = self.sites.iter().filter(|site| !site.idle).map(|site| site.blocked_now);
        format!("{} not idle", count(stuck.fold(0, u64::saturating_add)))
    }

    fn figure(&self, _: Around) -> Option<String> {
        Some(format!("{} of {} blocked", count(self.blocked_now), counted(self.threads, "thread")))
    }

    fn alerts(&self) -> Vec<String> {
        let told = self.deadlocks.iter().take(MOST_DEADLOCKS).map(|deadlock| {
            let threads: Vec<String> =
                deadlock.cycle.iter().map(|thread| format!("{} \"{}\"", thread.tid, thread.name)).collect();
            let probable = if deadlock.certain { "" } else { "probable " };
            format!("{probable}deadlock: threads {}", threads.join(" → "))
        });
        told.collect()
    }

    fn len(&self) -> usize {
        self.sites.len()
    }

    fn id(&self, at: usize) -> &str {
        self.sites[at].site_id()
    }

    fn stack(&self, at: usize) -> Option<&Stack> {
        Some(self.sites[at].stack())
    }

    fn is_idle(&self, at: usize) -> bool {
        self.sites[at].idle
    }

    fn cell(&self, at: usize, number: u8) -> Toned {
        let site = &self.sites[at];
        match number {
            BLOCKED => (count(site.blocked_now), Tone::Bold),
            LONGEST => site.longest_blocked_ns.map_or_else(dash, |ns| (span(ns), Tone::Plain)),
            FOR if site.idle => (format!("{} (idle)", site.kind), Tone::Plain),
            FOR if site.verdict() == Verdict::Stuck => (site.kind.to_string(), Tone::Warn),
            FOR => (site.kind.to_string(), Tone::Plain),
            IN => {
                let called = site.primitive.as_ref().or(site.operation.as_ref());
                (called.cloned().unwrap_or_default(), Tone::Plain)
            }
            _ => (held(site), Tone::Plain),
        }
    }

    fn details(&self, at: usize, _: Option<i64>) -> Vec<Toned> {
        let site = &self.sites[at];
        let longest = site.longest_blocked_ns.map(|ns| format!(", the longest for {}", duration(ns)));
        let (threads, longest) = (counted(site.blocked_now, "thread"), longest.unwrap_or_default());
        let mut told = vec![(format!("{threads} blocked ({}){longest}", site.kind), Tone::Bold)];
        let why = site.idle_rule.as_ref().or(site.verdict_reason.as_ref());
        told.extend(why.map(|why| (format!("{}: {why}", site.verdict().name()), Tone::Dim)));
        told.extend(site.waits.zip(site.wait_ns).map(|(waits, ns)| {
            let waits = counted(waits, "wait");
            (format!("{waits} ended here since attach, {} in all", duration(ns)), Tone::Plain)
        }));
        told.extend(peers::lines(site).into_iter().map(|line| (line, Tone::Plain)));
        told.extend(site.locks.iter().take(MOST_LOCKS).map(|lock| (of_lock(lock), Tone::Warn)));
        let threads: Vec<String> =
            site.threads.iter().take(MOST_THREADS).map(|t| format!("{} \"{}\"", t.tid, t.name)).collect();
        if !threads.is_empty() {
            let more = if site.threads.len() > threads.len() { ", …" } else { "" };
            told.push((format!("threads: {}{more}", threads.join(", ")), Tone::Plain));
        }
        told
    }
}

/// Where it is blocked, and by whom.
fn held(site: &WaitSite) -> String {
    let owner = site.locks.iter().find_map(|lock| {
        let name = lock.owner_name.as_deref().unwrap_or("?");
        let probably = if lock.owner_inferred { "probably " } else { "" };
        lock.owner_tid.map(|tid| format!(", {probably}held by {tid} \"{name}\""))
    });
    format!("{}{}", blamed(&site.stack), owner.unwrap_or_default())
}

fn of_lock(lock: &WaitLock) -> String {
    let owner = match (lock.owner_tid, &lock.owner_unknown) {
        (Some(tid), _) => format!("held by {tid} \"{}\"", lock.owner_name.as_deref().unwrap_or("?")),
        (None, why) => format!("owner unknown: {}", why.as_deref().unwrap_or("not noted")),
    };
    format!("lock {}: {}, {owner}", lock.address, counted(lock.waiters, "waiter"))
}
