//! A dump of a process, and its comparison with the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::Leakscope;
use crate::blocked::{Blocked, Group};
use crate::process::poll;
use crate::report::{Report, names};
use crate::waits::{WaitSite, address, number};

/// How far a time of blocking may be off: 1 %, but no less than this.
const TOLERANCE_NS: u64 = 50_000_000;

/// After so long everything that is stuck is news.
const HEADLINE_TIMEOUT: Duration = Duration::from_secs(30);

/// The report of `leakscope dump`, and when it was made.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub report: Report,
    /// CLOCK_MONOTONIC before leakscope started.
    pub before_ns: u64,
    /// The same after it had ended.
    pub after_ns: u64,
}

/// CLOCK_MONOTONIC
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a timespec, which is what `time` is.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
        .as_nanos()
        .try_into()
        .unwrap_or(u64::MAX)
}

impl Snapshot {
    /// Takes one.
    ///
    /// # Errors
    /// If leakscope fails.
    pub fn of(pid: u32) -> Result<Self> {
        let before_ns = now_ns();
        let report = Leakscope::dump(pid).run()?.report()?;
        Ok(Self { report, before_ns, after_ns: now_ns() })
    }

    /// Takes one again and again until its headline holds every part: what was blocked only a moment
    /// ago is no news yet.
    ///
    /// # Errors
    /// If leakscope fails, or goes on to say something else; with that.
    pub fn with_headline(pid: u32, parts: &[&str]) -> Result<Self> {
        let mut said = String::new();
        let found = poll("the headline says what is stuck", HEADLINE_TIMEOUT, || {
            let snapshot = Self::of(pid)?;
            said = snapshot.report.headline();
            Ok(parts.iter().all(|part| said.contains(part)).then_some(snapshot))
        });
        found.with_context(|| format!("not all of {parts:?} is in: {said}"))
    }

    /// Compares everything that is known of a group's threads.
    ///
    /// # Panics
    /// If anything differs; with all differences.
    #[track_caller]
    pub fn assert_group(&self, truth: &Blocked, name: &str) {
        if let Err(differences) = self.compare(truth, name) {
            panic!("the dump differs from the truth of {name}:\n{differences}");
        }
    }

    /// Compares everything that is known of a group's threads.
    ///
    /// # Errors
    /// All differences, a line each.
    pub fn compare(&self, truth: &Blocked, name: &str) -> Result<(), String> {
        let group = truth.group(name);
        let mut differences = Differences::default();
        let sites: Vec<_> =
            self.report.wait_sites().filter(|site| !site.tids().is_disjoint(&group.tids())).collect();
        let found: BTreeSet<_> = sites.iter().flat_map(WaitSite::tids).collect();
        differences.unless(found == group.tids(), || {
            let missing: Vec<_> = group.tids().difference(&found).copied().take(10).collect();
            let more: Vec<_> = found.difference(&group.tids()).copied().take(10).collect();
            format!(
                "{} threads, not {}; missing {missing:?}, too many {more:?}",
                found.len(),
                group.threads.len()
            )
        });
        let in_cycle = truth.cycle.iter().any(|thread| group.tids().contains(&thread.tid));
        // The first writer behind readers waits at another place than those behind it.
        let behind_readers = truth.locks.iter().any(|lock| lock.owner.is_none()) && group.kind == "rwlock";
        differences.unless(in_cycle || sites.len() == 1 || (behind_readers && sites.len() == 2), || {
            let stacks: Vec<_> = sites.iter().map(WaitSite::describe).collect();
            format!("{} sites, not one: {stacks:#?}", sites.len())
        });
        for site in sites {
            compare_site(site, group, in_cycle, &mut differences);
            self.compare_times(site, group, &mut differences);
        }
        compare_locks(&self.report, truth, group, &mut differences);
        differences.end()
    }

    fn compare_times(&self, site: WaitSite<'_>, group: &Group, differences: &mut Differences) {
        let mut longest = 0;
        for thread in site.threads() {
            let Some(true_one) = group.threads.iter().find(|one| one.tid == number(&thread["tid"])) else {
                continue;
            };
            let Some(blocked) = thread["blocked_ns"].as_u64() else {
                differences.add(format!("not known how long {thread} is blocked"));
                continue;
            };
            longest = longest.max(blocked);
            let least = self.before_ns.saturating_sub(true_one.since_ns);
            let most = self.after_ns - true_one.since_ns;
            let tolerance = TOLERANCE_NS.max(most / 100);
            differences.unless(thread["at_least"] != true, || format!("only a bound: {thread}"));
            differences
                .unless((least.saturating_sub(tolerance)..=most + tolerance).contains(&blocked), || {
                    format!("{} is blocked for {least} to {most} ns, not {blocked}", true_one.tid)
                });
            differences.unless(thread["since"] == "before_attach", || format!("since: {thread}"));
        }
        let said = site.at("longest_blocked_ns");
        differences.unless(*said == longest, || format!("longest: {said}, not {longest}"));
    }
}

fn compare_site(site: WaitSite<'_>, group: &Group, in_cycle: bool, differences: &mut Differences) {
    let operation = if group.operation == "-" { "" } else { &group.operation };
    let kind = in_cycle && group.kind == "-" || site.text("kind") == group.kind;
    differences.unless(kind && site.text("operation") == operation, || {
        format!("{} in {:?} expected: {}", group.kind, operation, site.describe())
    });
    differences.unless(site.is_rooted(), || format!("the stack is not whole: {}", site.describe()));
    differences.unless(site.number("blocked_now") == site.tids().len() as u64, || {
        format!("{} blocked here, but {} listed", site.at("blocked_now"), site.tids().len())
    });
    for thread in site.threads().filter(|thread| thread["name"] != group.name.as_str()).take(3) {
        differences.add(format!("a thread is not named {}: {thread}", group.name));
    }
    let blamed = site.blamed();
    let function = blamed["function"].as_str().unwrap_or_default();
    differences.unless(
        in_cycle || (names(function, &group.function) && blamed["line"] == group.line),
        || {
            format!(
                "{} in line {} is to be blamed: {blamed}; {}",
                group.function,
                group.line,
                site.describe()
            )
        },
    );
    differences.unless(site.is_idle() == site.at("idle_rule").is_string(), || {
        format!("idle by the rule {}: {}", site.at("idle_rule"), site.describe())
    });
    for field in ["waits", "wait_ns", "max_wait_ns"] {
        differences.unless(site.at(field).is_null(), || format!("a dump has no {field}: {}", site.at(field)));
    }
}

/// A lock as it is compared: address, waiters, the owner's TID and name.
type LockRow = (u64, u64, Option<u64>, Option<String>);

fn compare_locks(report: &Report, truth: &Blocked, group: &Group, differences: &mut Differences) {
    let expected: BTreeSet<LockRow> = truth
        .locks
        .iter()
        .filter(|lock| lock.group == group.name)
        .map(|lock| {
            let (tid, name) = lock.owner.clone().unzip();
            (lock.address, lock.waiters, tid.map(u64::from), name)
        })
        .collect();
    if expected.is_empty() {
        return;
    }
    let sites = || report.wait_sites().filter(|site| !site.tids().is_disjoint(&group.tids()));
    // Where the lock itself does not tell, its holder may be inferred, but no other thread.
    let holder = |lock: &Value| {
        let tid = number(&lock["owner_tid"]);
        lock["owner_inferred"] == true
            && truth.groups.get("holder").is_some_and(|group| group.tids().contains(&tid))
    };
    let unknown = |lock: &Value| {
        truth.locks.iter().any(|one| one.owner.is_none() && one.address == address(&lock["address"]))
    };
    let mut waiters: BTreeMap<_, u64> = BTreeMap::new();
    for lock in sites().flat_map(|site| site.locks()) {
        let told = !(unknown(lock) && holder(lock));
        let tid = lock["owner_tid"].as_u64().filter(|_| told);
        let name = lock["owner_name"].as_str().filter(|_| told).map(str::to_owned);
        *waiters.entry((address(&lock["address"]), tid, name)).or_default() +=
            lock["waiters"].as_u64().unwrap_or_default();
    }
    let found: BTreeSet<LockRow> =
        waiters.into_iter().map(|((address, tid, name), waiters)| (address, waiters, tid, name)).collect();
    differences.unless(found == expected, || format!("locks {found:x?}, not {expected:x?}"));
    for lock in sites().flat_map(|site| site.locks()) {
        let known = lock["owner_tid"].is_u64();
        differences
            .unless(known != lock["owner_unknown"].is_string(), || format!("the owner or why not: {lock}"));
        differences
            .unless(!known || lock["owner_method"].is_string(), || format!("how it was found: {lock}"));
        differences.unless(lock["owner_inferred"] == false || unknown(lock), || {
            format!("the lock tells its owner: {lock}")
        });
    }
    let known = |lock| expected.iter().any(|(address, ..)| *address == lock);
    let threads = sites().flat_map(|site| site.threads());
    for thread in threads.filter(|thread| !known(address(&thread["lock"]))).take(3) {
        differences.add(format!("waits for another lock: {thread}"));
    }
}

/// Differences, each once said.
#[derive(Default)]
struct Differences(BTreeSet<String>);

impl Differences {
    fn add(&mut self, text: String) {
        self.0.insert(text);
    }

    fn unless(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.add(text());
        }
    }

    fn end(self) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for difference in self.0.iter().take(20) {
            writeln!(text, "- {difference}").expect("a String takes all");
        }
        if self.0.len() > 20 {
            writeln!(text, "and {} more", self.0.len() - 20).expect("a String takes all");
        }
        Err(text)
    }
}
