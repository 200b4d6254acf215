//! Lets the probes on waits of goroutines stand for as long as they cost little, and in windows otherwise.
//!
//! A busy server waits hundreds of thousands of times a second, and a hit costs more than parking itself. So they may take
//! about a hundredth of one CPU's time (`SHARE`). Where all hits are affordable, every wait is counted. Where they are
//! not, windows of a fixed length open after random gaps, the longer the more the last one has cost; a window that would
//! have been affordable at its pace all the time lets the probes stay.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use leakscope_common::go_wait::{GoWait, state};

use super::account::Account;
use super::{GoWaitSite, GoWaits};
use crate::bpf::go_waits::GoWaitProbes;
use crate::collect::Following;
use crate::runtime::go::mem_stats::monotonic_ns;
use crate::runtime::go::windowed::{Leaving, Random};

/// Share of one CPU's time that may go to hits.
const SHARE: f64 = 0.01;
/// Time that may be used in advance, ns.
const ADVANCE: f64 = 50e6;
/// What a hit takes, and what the target waits as probes are placed and removed, ns.
const HIT_NS: f64 = 2500.0;
const PLACE_NS: f64 = 100_000.0;
/// How long a window is.
const WINDOW: Duration = Duration::from_millis(100);
/// The shortest mean gap between two.
const SHORTEST_GAP: Duration = Duration::from_millis(20);
/// The longest.
const LONGEST_GAP: Duration = Duration::from_secs(20);
/// Time between two looks at what was spent.
const LOOK: Duration = Duration::from_millis(20);
/// Most removals under way.
const LEAVING: usize = 4;

/// A thread that places the probes and takes them away; it ends as this is dropped.
#[derive(Debug)]
pub(in crate::runtime::go) struct WaitWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    follower: Mutex<Follower>,
    ending: AtomicBool,
}

impl WaitWatch {
    /// Places the probes.
    pub(in crate::runtime::go) fn start(probes: GoWaitProbes, following: Following) -> std::io::Result<Self> {
        let mut follower = Follower::new(probes, following);
        follower.begin(following != Following::Windows)?;
        let shared = Arc::new(Shared { follower: Mutex::new(follower), ending: AtomicBool::new(false) });
        let its = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("go-waits".to_owned()).spawn(move || {
            while !its.ending.load(Ordering::Relaxed) {
                let pause = its.follower.lock().unwrap_or_else(PoisonError::into_inner).turn();
                std::thread::park_timeout(pause);
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What is known now.
    pub(in crate::runtime::go) fn told(&self) -> GoWaits {
        self.shared.follower.lock().unwrap_or_else(PoisonError::into_inner).told()
    }
}

impl Drop for WaitWatch {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has been told of already.
            let _ = thread.join();
        }
    }
}

/// What the probes do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// They stand, and all waits are counted.
    Counting,
    /// They stand until then.
    Window(Instant),
    /// They do not, until then.
    Gap(Instant),
    /// They cannot be placed any more.
    Failed,
}

#[derive(Debug)]
struct Follower {
    probes: GoWaitProbes,
    following: Following,
    account: Account,
    stage: Stage,
    phase: u64,
    /// Until when time was reckoned with.
    reckoned: Instant,
    /// Nanoseconds that may be spent.
    budget: f64,
    hits: u64,
    /// Hits as the window began; none: recording may have begun in it.
    window_hits: u64,
    /// Time in which all was counted that is not in the account yet.
    counting: Duration,
    leaving: Leaving,
    random: Random,
}

impl Follower {
    fn new(probes: GoWaitProbes, following: Following) -> Self {
        let now = Instant::now();
        Self {
            probes,
            following,
            account: Account::default(),
            stage: Stage::Gap(now),
            phase: 0,
            reckoned: now,
            budget: ADVANCE,
            hits: 0,
            window_hits: 0,
            counting: Duration::ZERO,
            leaving: Leaving::default(),
            random: Random::seeded(monotonic_ns() | 1),
        }
    }

    /// Places the probes, for good or for a window.
    fn begin(&mut self, counting: bool) -> std::io::Result<()> {
        self.probes.place()?;
        self.phase += 1 + (self.phase & 1);
        self.window_hits = self.probes.hits();
        let length = if counting { 0 } else { WINDOW.as_nanos() as u64 };
        self.probes.begin(self.phase, monotonic_ns(), length);
        let now = Instant::now();
        self.stage = if counting { Stage::Counting } else { Stage::Window(now + WINDOW) };
        Ok(())
    }

    /// Takes the probes away; what they saw stays to be taken in.
    fn end(&mut self) {
        self.probes.end(self.phase);
        self.phase += 1;
        if let Some(link) = self.probes.take_probes() {
            self.leaving.close(link, "go-waits");
        }
    }

    /// Does what is due. Returns after what time to ask again.
    fn turn(&mut self) -> Duration {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.reckoned, now);
        let hits = self.probes.hits();
        let spent = hits.saturating_sub(std::mem::replace(&mut self.hits, hits)) as f64 * HIT_NS;
        self.budget = (self.budget + passed.as_nanos() as f64 * SHARE).min(ADVANCE) - spent;
        match self.stage {
            Stage::Counting => {
                self.counting += passed;
                if self.following == Following::Auto && self.budget < 0.0 {
                    self.end();
                    self.count();
                    self.pause(0.0);
                }
                LOOK
            }
            Stage::Window(until) => {
                self.sample(passed);
                if now < until {
                    return until - now;
                }
                self.close_window()
            }
            Stage::Gap(until) => {
                self.sample(passed);
                if now < until || self.leaving.count() >= LEAVING {
                    return until.saturating_duration_since(now).clamp(Duration::from_millis(1), LOOK);
                }
                match self.begin(false) {
                    Ok(()) => WINDOW,
                    Err(_) => {
                        // The target is gone, or a right was taken away.
                        self.stage = Stage::Failed;
                        LONGEST_GAP
                    }
                }
            }
            Stage::Failed => LONGEST_GAP,
        }
    }

    /// Windows are a sample of this time, too.
    fn sample(&mut self, passed: Duration) {
        // Before the first hit nobody knows whether recording has begun.
        if self.hits > 0 {
            self.account.sampled(passed.as_nanos() as u64);
        }
    }

    /// Takes in a window that is over, and says when the next one opens.
    fn close_window(&mut self) -> Duration {
        self.end();
        if let Ok(sites) = self.probes.sites() {
            match self.window_hits {
                0 => self.account.skip(&sites),
                _ => self.account.window(&sites, WINDOW.as_nanos() as u64),
            }
        }
        let cost = self.hits.saturating_sub(self.window_hits) as f64 * HIT_NS;
        let affordable = cost < SHARE * WINDOW.as_nanos() as f64 / 2.0;
        if self.following == Following::Auto && affordable && self.budget > ADVANCE / 2.0 {
            match self.begin(true) {
                Ok(()) => return LOOK,
                Err(_) => self.stage = Stage::Failed,
            }
            return LONGEST_GAP;
        }
        self.pause(cost + PLACE_NS)
    }

    /// Waits for the next window, after one of that cost.
    fn pause(&mut self, cost: f64) -> Duration {
        let lacking = (-self.budget).max(0.0) / SHARE;
        let mean = (cost / SHARE - WINDOW.as_nanos() as f64).max(SHORTEST_GAP.as_nanos() as f64);
        let random = 2.0 * self.random.share() * mean + lacking;
        let gap = Duration::from_nanos(random.min(LONGEST_GAP.as_nanos() as f64) as u64);
        self.stage = Stage::Gap(Instant::now() + gap);
        gap.min(LOOK)
    }

    /// Takes in what was counted until now.
    fn count(&mut self) {
        if let Ok(sites) = self.probes.sites() {
            let counting = std::mem::take(&mut self.counting);
            self.account.counted(&sites, counting.as_nanos() as u64);
        }
    }

    fn told(&mut self) -> GoWaits {
        let now = Instant::now();
        if self.stage == Stage::Counting {
            self.counting += now - std::mem::replace(&mut self.reckoned, now);
            self.count();
        }
        let mut told = self.account.told();
        if self.stage == Stage::Counting
            && let Ok(waits) = self.probes.waits()
        {
            still_waiting(&mut told, &waits, self.phase, monotonic_ns());
        }
        told
    }
}

/// Adds those that wait still.
fn still_waiting(told: &mut GoWaits, waits: &[(u64, GoWait)], phase: u64, now_ns: u64) {
    let mut places: HashMap<u64, usize> =
        told.waits.iter().enumerate().map(|(at, site)| (site.stack, at)).collect();
    for (_, wait) in waits {
        if wait.state & state::PARKED == 0 || wait.state >> state::PHASE != phase {
            continue;
        }
        let of = wait.state & state::KIND;
        let at = *places.entry(wait.site).or_insert_with(|| {
            told.waits.push(GoWaitSite { stack: wait.site, kind: of, ..GoWaitSite::default() });
            told.waits.len() - 1
        });
        let site = &mut told.waits[at];
        site.waiting += 1;
        site.longest_waiting_ns = site.longest_waiting_ns.max(now_ns.saturating_sub(wait.since_ns));
    }
}
