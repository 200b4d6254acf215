//! One observation of one process, from attach to detach: the only place that sees both ends.
//!
//! It holds no rule of any domain: it goes through the [collectors](crate::collect). `rights` tries what may be
//! read, `prepare` reads mappings and unwind rows, `links` chooses how probes are tied to the target, `arm` loads
//! and attaches in the safe order, by `attach`; `watch` runs until the end, `dump` looks at the threads once,
//! `clock` and `usage` read what the kernel says about time and about ourselves.

mod arm;
mod attach;
mod clock;
mod dump;
mod feed;
mod glances;
mod links;
mod memory;
mod modules;
mod prepare;
pub mod rights;
mod runtimes;
pub mod seccomp;
mod signals;
mod subject;
mod tallies;
mod usage;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bpf::facts::Facts;
use crate::bpf::verdict;
use crate::collect::heap::Sort;
use crate::collect::{Following, Log, Tracing, Wishes};
use crate::failure::Failure;
use crate::process::{Process, ProcessError};
use crate::recording::{Player, Recorder, RecordingError};
use crate::report::Report;
use crate::symbol::Charging;

pub use dump::dump;
pub use links::Choice as LinkChoice;
pub use memory::memory;
pub use modules::{Visible, look};

/// What to observe.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long; until interrupted or the target's end if `None`.
    pub duration: Option<Duration>,
    /// Time between reports, besides the last one.
    pub interval: Option<Duration>,
    /// After a report, the next one is at least so many times as long away as this one took to make, the reading of
    /// names aside: a million live blocks are read for most of a second.
    pub rest: u32,
    /// How long names are read for a report that others follow; it tells how many are missing. All are read for those
    /// that are kept.
    pub naming: Option<Duration>,
    /// What to collect.
    pub wishes: Wishes,
    /// Up to how many bytes of a heap reports tell what holds them; `None`: not at all. It takes half a second for 100 MiB
    /// or so, at the beginning and at the end; in between looks take one second in forty at most.
    pub holders: Option<u64>,
    /// Whether the kernel side's diagnostics are wanted.
    pub kernel_log: bool,
    /// Where what is read is recorded, if it is.
    pub record: Option<PathBuf>,
    /// Whom stacks are charged to.
    pub charging: Charging,
}

/// [`Config::holders`] where nothing else is asked for: a look takes a second at most then.
pub const MOST_HELD: u64 = 128 << 20;

/// [`Config::rest`] for reports that somebody looks at as they come: half of a core goes into them at most, and a screen
/// that is refreshed once a second is late by a refresh at most if they take less than a second.
pub const REST_ON_SCREEN: u32 = 1;

impl Default for Config {
    /// Heap and waits, until somebody ends it.
    fn default() -> Self {
        Self {
            duration: None,
            interval: None,
            rest: 0,
            naming: None,
            wishes: Wishes {
                tracing: Tracing {
                    heap: true,
                    waits: true,
                    min_wait_ns: 0,
                    goroutine_waits: Following::Auto,
                },
                sort: Sort::LiveBytes,
                min_age: Duration::ZERO,
                max_live: 16_000_000,
                break_free_probes: false,
            },
            holders: None,
            kernel_log: false,
            record: None,
            charging: Charging::default(),
        }
    }
}

/// How things are in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// Since recording began.
    pub watched_ns: u64,
    /// The resident set at first and now, where it is known.
    pub rss_bytes: (Option<u64>, Option<u64>),
    /// Bytes in live blocks that were allocated meanwhile; `None` where no allocator is traced.
    pub live_bytes: Option<u64>,
    /// What the stack that has most of them is charged to, where that is known by now.
    pub place: Option<String>,
    /// CPU time that leakscope itself has used.
    pub cpu_ns: u64,
}

/// Hears what happens.
pub trait Watcher {
    /// A step, for those who want to know.
    fn detail(&mut self, line: &str);
    /// Something the user should know.
    fn warn(&mut self, line: &str);
    /// Every probe is active from now on.
    fn attached(&mut self, pid: u32, probes: usize);
    /// Whether somebody looks at what is printed: then the tasks of a runtime are shown at once.
    fn wants_first_look(&self) -> bool {
        false
    }
    /// The tasks as the attach found them, in a report of their own.
    fn first_look(&mut self, _report: &Report) -> Result<(), Failure> {
        Ok(())
    }
    /// Whether somebody looks at what comes before the report.
    fn wants_glances(&self) -> bool {
        false
    }
    /// How things are, once a second or less often.
    fn glance(&mut self, _glance: &Glance) {}
    /// A signal asked for the end; the report is being made.
    /// Leaving without it, the kernel takes about `removal` to remove the probes.
    fn interrupted(&mut self, removal: Duration);
    /// Whether a second signal ends the process at once. A screen must first give the terminal back.
    fn leaves_at_second_signal(&self) -> bool {
        true
    }
    /// The exit code after the last report.
    fn code(&self) -> u8 {
        0
    }
    /// A report. `Ok(false)`: nobody wants more of them.
    fn report(&mut self, report: &Report) -> Result<bool, Failure>;
}

/// Tells a watcher what collectors say.
struct Told<'a>(&'a mut dyn Watcher);

impl Log for Told<'_> {
    fn detail(&mut self, line: &str) {
        self.0.detail(line);
    }

    fn warn(&mut self, line: &str) {
        self.0.warn(line);
    }
}

/// Whether `pid` can be traced here at all; changes nothing.
pub fn check(pid: u32, tracing: Tracing) -> Result<Process, Failure> {
    permitted(pid, Process::inspect(pid), tracing)
}

/// Whether the threads of `pid` can be looked at here; changes nothing.
pub fn check_threads(pid: u32) -> Result<Process, Failure> {
    let tracing = Tracing { heap: false, waits: true, min_wait_ns: 0, goroutine_waits: Following::default() };
    permitted(pid, Process::inspect_threads(pid), tracing)
}

/// Whether what holds the memory of `pid` can be looked at here; changes nothing.
pub fn check_memory(pid: u32) -> Result<Process, Failure> {
    let process = Process::inspect_threads(pid);
    if let Ok(_) | Err(ProcessError::Denied { .. }) = &process {
        let facts = Facts::gather();
        let through = process.as_ref().map_or(pid, |process| process.through);
        let trials = rights::try_all(&facts, through);
        if let Some(why) = rights::refusal(&facts, &trials, true) {
            return Err(Failure::unsupported(format!("cannot look: {why}")));
        }
    }
    Ok(process?)
}

fn permitted(pid: u32, process: Result<Process, ProcessError>, tracing: Tracing) -> Result<Process, Failure> {
    // Without the rights nothing of others can be read; then the rights are the answer.
    if let Ok(_) | Err(ProcessError::Denied { .. }) = &process {
        let facts = Facts::gather();
        let through = process.as_ref().map_or(pid, |process| process.through);
        let trials = rights::try_all(&facts, through);
        let machine = verdict::refusal(&verdict::judge(&facts), tracing.heap);
        let threads = tracing.waits || process.is_err();
        if let Some(why) = machine.or_else(|| rights::refusal(&facts, &trials, threads)) {
            return Err(Failure::unsupported(format!("cannot trace: {why}")));
        }
    }
    Ok(process?)
}

/// Observes `process`, which [`check`] has passed. Reports go to `watcher`; the last one is out before the probes are taken away.
pub async fn run(process: Process, config: &Config, watcher: &mut dyn Watcher) -> Result<(), Failure> {
    // Before anything is attached: it may be refused.
    let recorder = config.record.as_deref().map(Recorder::create).transpose().map_err(Failure::failed)?;
    let prepared = prepare::prepare(process, config, watcher)?;
    let armed = arm::arm(prepared, config, watcher)?;
    watch::watch(armed, config, recorder, watcher).await
}

/// Makes the reports of the recording in a directory again. They go to `watcher`, as those of the target did.
pub async fn replay(directory: &Path, charging: &Charging, watcher: &mut dyn Watcher) -> Result<(), Failure> {
    let player = Player::open(directory).map_err(Failure::failed)?;
    watch::replay(player, charging, watcher).await
}

#[cfg(test)]
mod tests;

fn recording_ends(error: &RecordingError, watcher: &mut dyn Watcher) {
    watcher.warn(&format!("the recording is not complete: {error}"));
}
