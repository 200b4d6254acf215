//! When windows open in which objects are sampled, and when they close.
//!
//! A hit costs the target more than the allocation itself. So the probes stand for about a hundredth of its time
//! ([`SHARE`]): a window closes after some hundred samples, and the more time the last ones took, the later the next one
//! opens. A program that allocates seldom is in a window all the time. A budget that was not used up lets windows follow
//! each other fast as a burst begins.
//!
//! Probes that have stood for some while take longer to be removed, for the kernel waits for a grace period first
//! (`percpu_down_write` in kernel/events/uprobes.c), and hits go on meanwhile. So they are placed while spans are taken, and
//! removed again soon if no hit comes. Where bursts are so short that they are over by then, the probes wait for the next
//! one.
//!
//! A window must not begin where bursts begin more often than elsewhere, or what a burst begins with would be taken for
//! all of it. Probes that wait for a burst pass over as many hits as a random part of the last one had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bpf::go::{GoWindows, WindowState};
use crate::runtime::go::windowed::{Leaving, Random};

/// Share of one CPU's time that may go to hits.
const SHARE: f64 = 0.01;
/// Most time that is saved up, ns.
const SAVED: f64 = 20e6;
/// What a hit takes with a sample and without one, and what the target waits as probes are placed and removed, ns.
const SAMPLE_NS: f64 = 3000.0;
const HIT_NS: f64 = 1000.0;
const PLACE_NS: f64 = 50_000.0;
/// Samples of a window; more where there is time for all.
const SAMPLES: u64 = 256;
const SAMPLES_AT_LEISURE: u64 = 2048;
/// The longest window: then it is another one.
const LONGEST: Duration = Duration::from_millis(250);
/// Without a span taken for so long, nothing is allocated.
const QUIET: Duration = Duration::from_millis(12);
/// Probes are placed at least so often.
const SELDOM: Duration = Duration::from_secs(1);
/// How long they wait for a hit: where spans were taken just now, and where not.
const WAIT: Duration = Duration::from_millis(20);
const WAIT_SELDOM: Duration = Duration::from_millis(100);
/// Bursts that may be missed before they wait for as long as it takes.
const MISSED: u32 = 3;
/// Hits that are passed over at most.
const MOST_PASSED: u64 = 1 << 13;
/// Time between two looks while a window is open: it closes by itself, but hits go on.
const OPEN: Duration = Duration::from_micros(200);
/// The same, if all are affordable, or none comes.
const CALM: Duration = Duration::from_millis(2);
/// The same, once nothing is to be done any more.
const FAILED: Duration = Duration::from_secs(3600);
/// Most removals under way.
const LEAVING: usize = 4;

/// Nice value of the thread: while a window is closed late, hits cost the target more than it takes to close it.
const PRIORITY: i32 = -15;

/// A thread that opens and closes windows.
#[derive(Debug)]
pub(super) struct WindowsThread {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

/// What it is told.
#[derive(Debug, Default)]
struct Told {
    /// Room for objects in all spans that were taken.
    room: AtomicU64,
    /// There are objects of a size that no window has seen.
    urgent: AtomicBool,
    /// Span classes of which windows have seen objects, a bit each.
    seen: [AtomicU64; 3],
    ending: AtomicBool,
}

impl WindowsThread {
    pub(super) fn start(probes: GoWindows) -> std::io::Result<Self> {
        let told = Arc::new(Told::default());
        let mut windows = Windows::new(probes, Arc::clone(&told));
        let thread = std::thread::Builder::new().name("go-windows".to_owned()).spawn(move || {
            // Without the right to it, it is as it was.
            let _ = rustix::process::setpriority_process(None, PRIORITY);
            while !windows.told.ending.load(Ordering::Relaxed) {
                std::thread::park_timeout(windows.turn());
            }
        })?;
        Ok(Self { told, thread: Some(thread) })
    }

    /// Tells it what was seen.
    pub(super) fn tell(&self, room: u64, urgent: bool, seen: [u64; 3]) {
        for (into, seen) in self.told.seen.iter().zip(seen) {
            into.store(seen, Ordering::Relaxed);
        }
        self.told.room.store(room, Ordering::Relaxed);
        self.told.urgent.store(urgent, Ordering::Relaxed);
    }
}

impl Drop for WindowsThread {
    fn drop(&mut self) {
        self.told.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has been told of already.
            let _ = thread.join();
        }
    }
}

/// What the probes do.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// None stand, until then.
    Away(Instant),
    /// They stand.
    Placed(Placed),
    /// They cannot be placed any more.
    Failed,
}

/// Probes that stand, and a window that is open, opens with a later hit, or is over.
#[derive(Clone, Copy, Debug)]
struct Placed {
    since: Instant,
    /// How long they wait for a hit; `None`: for as long as it takes.
    wait: Option<Duration>,
    /// When the first hit came.
    hit: Option<Instant>,
    /// When the window was armed, and its phase.
    armed: Instant,
    phase: u64,
    /// Nanoseconds that it has cost.
    spent: f64,
}

/// Opens and closes windows.
#[derive(Debug)]
struct Windows {
    probes: GoWindows,
    told: Arc<Told>,
    seen: [u64; 3],
    stage: Stage,
    /// Nanoseconds that may be spent, and when that was reckoned.
    budget: f64,
    reckoned: Instant,
    state: WindowState,
    /// Room in spans that were taken, when it last grew, and what it was as the burst began.
    room: u64,
    grown: Instant,
    burst_began: u64,
    /// The room as probes were placed last, and when that was.
    placed_room: u64,
    placed: Instant,
    /// Bursts in a row that were over as probes were placed.
    missed: u32,
    leaving: Leaving,
    random: Random,
}

impl Windows {
    fn new(probes: GoWindows, told: Arc<Told>) -> Self {
        let now = Instant::now();
        Self {
            probes,
            told,
            seen: [0; 3],
            stage: Stage::Away(now),
            budget: SAVED,
            reckoned: now,
            state: WindowState::default(),
            room: 0,
            grown: now,
            burst_began: 0,
            placed_room: 0,
            placed: now,
            missed: 0,
            leaving: Leaving::default(),
            random: Random::seeded(u64::from(std::process::id()) << 32 | 0x9e37_79b9),
        }
    }

    /// Does what is due. Returns after what time to ask again.
    fn turn(&mut self) -> Duration {
        self.reckon(self.told.room.load(Ordering::Relaxed));
        let seen = [0, 1, 2].map(|i: usize| self.told.seen[i].load(Ordering::Relaxed));
        if seen != self.seen {
            self.seen = seen;
            self.probes.set_seen(seen);
        }
        match self.stage {
            Stage::Failed => FAILED,
            Stage::Away(until) => {
                let now = Instant::now();
                let active = self.room != self.placed_room && now - self.grown <= QUIET;
                let due = now >= until && (active || now - self.placed > SELDOM);
                // Objects of some size may be missed for good.
                let urgent = self.told.urgent.load(Ordering::Relaxed) && active && self.budget > -SAVED / 2.0;
                if (due || urgent) && self.leaving.count() < LEAVING {
                    self.place(active);
                    return OPEN;
                }
                CALM
            }
            Stage::Placed(placed) => self.placed(placed),
        }
    }

    /// Reckons what may be spent, and what is going on.
    fn reckon(&mut self, room: u64) {
        let now = Instant::now();
        if room != self.room {
            if now - self.grown > QUIET {
                self.burst_began = self.room;
            }
            (self.room, self.grown) = (room, now);
        }
        let earned = (now - self.reckoned).as_nanos() as f64 * SHARE;
        let cost = self.probes.look().map_or(0.0, |state| {
            let samples = state.taken.saturating_sub(self.state.taken);
            let hits = state.hits.saturating_sub(self.state.hits);
            self.state = state;
            samples as f64 * SAMPLE_NS + hits.saturating_sub(samples) as f64 * HIT_NS
        });
        self.reckoned = now;
        self.budget = (self.budget + earned).min(SAVED) - cost;
        if let Stage::Placed(placed) = &mut self.stage
            && cost > 0.0
        {
            placed.spent += cost;
            placed.hit.get_or_insert(now);
        }
    }

    fn place(&mut self, active: bool) {
        if self.probes.place().is_err() {
            // The target is gone, or a right was taken away.
            self.stage = Stage::Failed;
            return;
        }
        self.budget -= PLACE_NS;
        let now = Instant::now();
        (self.placed_room, self.placed) = (self.room, now);
        let wait = match active {
            true if self.missed >= MISSED => None,
            true => Some(WAIT),
            false => Some(WAIT_SELDOM),
        };
        let part = if wait.is_none() { self.room - self.burst_began } else { SAMPLES };
        let payable = (self.budget / HIT_NS / 2.0).max(1.0) as u64;
        let passed = self.random.bits() % part.min(payable).clamp(1, MOST_PASSED);
        let phase = (self.state.phase + 1) | 1;
        self.probes.arm(phase, self.state.hits + passed, self.state.taken + SAMPLES);
        let placed = Placed { since: now, wait, hit: None, armed: now, phase, spent: PLACE_NS };
        self.stage = Stage::Placed(placed);
    }

    fn placed(&mut self, placed: Placed) -> Duration {
        let now = Instant::now();
        let Some(hit) = placed.hit else {
            if placed.wait.is_some_and(|wait| now - placed.since > wait) {
                self.missed += u32::from(placed.wait == Some(WAIT));
                self.remove(placed);
            }
            return if placed.wait == Some(WAIT) { OPEN } else { CALM };
        };
        self.missed = 0;
        let WindowState { phase, hits, taken } = self.state;
        let earned = (now - hit).as_nanos() as f64 * SHARE;
        let affordable = earned >= placed.spent - PLACE_NS && self.budget > 0.0;
        let over = phase > placed.phase;
        if over && !affordable || self.budget < -SAVED {
            self.remove(placed);
            return CALM;
        }
        let limit = taken + SAMPLES_AT_LEISURE;
        if over {
            self.probes.arm(phase + 1, hits, limit);
            self.stage = Stage::Placed(Placed { armed: now, phase: phase + 1, ..placed });
        } else if phase == placed.phase && now - placed.armed > LONGEST {
            self.probes.go_on(phase + 2, limit);
            self.stage = Stage::Placed(Placed { armed: now, phase: phase + 2, ..placed });
        }
        if affordable { CALM } else { OPEN }
    }

    /// Takes the probes away, and says when they come back.
    fn remove(&mut self, placed: Placed) {
        self.probes.close((self.state.phase.max(placed.phase) + 1) & !1);
        if let Some(link) = self.probes.take_probes() {
            self.leaving.close(link, "go-windows");
        }
        let lacking = (1.0 - self.budget / SAVED).clamp(0.0, 2.0);
        let mean = placed.spent / SHARE * lacking * lacking + 1e6;
        let random = self.random.share();
        let pause = Duration::from_nanos((2.0 * mean * random) as u64);
        self.stage = Stage::Away(Instant::now() + pause);
    }
}
