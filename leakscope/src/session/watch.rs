//! Runs until the end of the observation, and reports.

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::Duration;

use leakscope_common::config::RunState;
use leakscope_common::counter::Tally;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::arm::Armed;
use super::go::GoTarget;
use super::threads::{self, FirstLook, Seen};
use super::{Config, Watcher, clock, modules, usage};
use crate::bpf::events::Event;
use crate::bpf::tables::Tables;
use crate::collect::heap::{HeapAggregate, Observation};
use crate::collect::snapshot::{self, View};
use crate::collect::waits::aggregate::{WaitAggregate, WaitObservation};
use crate::failure::Failure;
use crate::interrupt;
use crate::report::build::{Inputs, build};
use crate::report::model::{EndedBy, Threads};
use crate::report::names::Names;
use crate::section::heap::answer::Visibility;
use crate::section::heap::build::HeapInputs;
use crate::section::waits::build::WaitInputs;
use crate::stack::{StackId, Stacks};

/// How often the resident set is looked at, so that its last size is known if the target ends.
const RSS_EVERY: Duration = Duration::from_secs(1);

/// How long the other threads may take to end after the main one, in the ordinary end of a process.
const LEADER_GRACE: Duration = Duration::from_millis(500);

/// What has been learnt so far.
struct Watch<'a> {
    armed: Armed,
    config: &'a Config,
    stacks: Stacks,
    names: Names,
    aggregate: HeapAggregate,
    waits: WaitAggregate,
    /// The threads as recording began.
    first_look: FirstLook,
    /// The target, where it is a Go program.
    go: Option<GoTarget>,
    threads: Threads,
    rss_last: Option<u64>,
    exec_ns: Option<u64>,
    /// When the account was frozen: what comes later is in no number.
    frozen_ns: u64,
    /// When the main thread was seen to end.
    leader_gone: Option<Instant>,
}

/// Watches until the end, then reports and detaches.
pub(super) async fn watch(
    mut armed: Armed,
    config: &Config,
    watcher: &mut dyn Watcher,
) -> Result<(), Failure> {
    let rss_last = armed.rss_start;
    let go = armed.go.take();
    let mut watch = Watch {
        names: Names::new(modules::debug_search(armed.process.pid, watcher)),
        go,
        armed,
        config,
        stacks: Stacks::default(),
        aggregate: HeapAggregate::default(),
        waits: WaitAggregate::default(),
        first_look: FirstLook::default(),
        threads: Threads { created: 0, exited: 0, alive: None, growth: 0, sites: Vec::new() },
        rss_last,
        exec_ns: None,
        frozen_ns: u64::MAX,
        leader_gone: None,
    };
    let ended = match watch.enter_waits(watcher) {
        Ok(()) => {
            if let Some(go) = &mut watch.go {
                go.name(&mut watch.names);
                go.look(watcher);
                go.look_at_heap(&watch.armed.object, config.tracing, watcher);
            }
            watcher.attached(watch.armed.process.pid, watch.armed.probes.active());
            watch.show_goroutines(watcher)?;
            watch.until_end(watcher).await
        }
        Err(failure) => Err(failure),
    };
    interrupt::ending();
    let result = match ended {
        // The reader went away: nobody wants a report.
        Ok(None) => watch.armed.object.set_run_state(RunState::Frozen).map_err(Failure::from),
        Ok(Some(ended_by)) => watch.finish(ended_by, watcher),
        Err(failure) => Err(failure),
    };
    interrupt::report_is_out(result.as_ref().map_or_else(|failure| failure.code, |()| watcher.code()));
    let started = std::time::Instant::now();
    watch.armed.probes.detach();
    watcher.detail(&format!("probes removed in {:.1} s", started.elapsed().as_secs_f64()));
    result
}

impl Watch<'_> {
    /// Shows the goroutines of now to who waits for the end.
    fn show_goroutines(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        let Some(go) = self.go.as_ref().filter(|_| watcher.wants_first_look()) else { return Ok(()) };
        let process = &self.armed.process;
        let report = build(Inputs {
            process,
            host: self.armed.host,
            started_at: &self.armed.started_at,
            duration_ns: 0,
            ended_by: None,
            leader_gone: false,
            rss_start: self.armed.rss_start,
            rss_end: process.rss_bytes(),
            heap: None,
            waits: None,
            go: Some(go.inputs(self.config.sort)),
            threads: None,
            creations: &[],
            counters: &[],
            recursion_misses: 0,
            lost: &[],
            cpu_ns: usage::cpu_ns(),
            memory_bytes: None,
            stacks: &self.stacks,
            space: &self.armed.space,
            names: &mut self.names,
        });
        watcher.first_look(&report)
    }

    /// Finds the threads that were blocked before recording began, and tells the kernel side of them.
    fn enter_waits(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        if !self.config.tracing.waits {
            return Ok(());
        }
        let begun = std::time::Instant::now();
        let seen = self.census()?;
        self.first_look = seen.look();
        let threads = seen.taken.census.threads.iter();
        let blocked: Vec<_> = threads
            .filter_map(|thread| Some((thread, thread.stack?, *seen.taken.switches.get(&thread.tid)?)))
            .collect();
        self.armed.object.enter_waits(&blocked, self.armed.started_ns)?;
        // A thread that ended before it was entered has left an entry that nothing would remove; one that
        // lives now removes it when it ends.
        let living = snapshot::living(&mut self.armed.object)?;
        for thread in seen.taken.census.threads.iter().filter(|t| !living.contains(&t.tid)) {
            self.armed.object.leave_wait(thread.tid)?;
        }
        watcher.detail(&format!(
            "{} threads looked at in {:.1} ms",
            seen.taken.census.threads.len(),
            begun.elapsed().as_secs_f64() * 1e3
        ));
        Ok(())
    }

    /// Looks at all threads.
    fn census(&mut self) -> Result<Seen, Failure> {
        let armed = &mut self.armed;
        let unwinding = armed.probes.unwinding();
        let mappings = unwinding.mappings(&armed.space);
        let view = View {
            pid: armed.process.pid,
            space: &armed.space,
            mappings: &mappings,
            table: &unwinding.table,
        };
        let mut seen = threads::census(&mut armed.object, view, &mut self.stacks, &mut self.names)?;
        seen.bound_by(&self.first_look);
        Ok(seen)
    }

    /// Runs until something ends the observation; `None` if nobody reads the reports any more.
    async fn until_end(&mut self, watcher: &mut dyn Watcher) -> Result<Option<EndedBy>, Failure> {
        let pidfd = pidfd(self.armed.process.pid);
        let begun = Instant::now();
        let far = begun + Duration::from_secs(3_000_000_000);
        let deadline = self.config.duration.map_or(far, |d| begun + d);
        let every = self.config.interval.unwrap_or(Duration::from_secs(1_000_000_000));
        let mut reports = interval_at(begun + every, every);
        reports.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut rss = interval_at(begun + RSS_EVERY, RSS_EVERY);
        rss.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                () = self.armed.signals.next() => {
                    let attached = &self.armed.probes.attached;
                    watcher.interrupted(attached.links().removal(attached.len()));
                    return Ok(Some(EndedBy::Interrupt));
                }
                () = exited(pidfd.as_ref()) => return Ok(Some(EndedBy::TargetExit)),
                () = sleep_until(deadline) => return Ok(Some(EndedBy::Duration)),
                _ = reports.tick() => {
                    let begun = Instant::now();
                    if !self.report(None, watcher)? {
                        return Ok(None);
                    }
                    let rest = begun.elapsed() * self.config.rest;
                    if rest > every {
                        reports.reset_after(rest);
                    }
                }
                () = sleep_until(self.leader_gone.map_or(far, |at| at + LEADER_GRACE)) => {
                    return Ok(Some(EndedBy::TargetExit));
                }
                _ = rss.tick() => {
                    self.rss_last = self.armed.process.rss_bytes().or(self.rss_last);
                    // Code in no known mapping may ask for a look at the mappings once a tick.
                    let armed = &mut self.armed;
                    Tables::refreshed(&mut armed.object)?;
                    armed.probes.follow_children(&mut armed.object, armed.process.pid, watcher)?;
                }
                events = self.armed.events.next() => {
                    self.take(events.map_err(Failure::failed)?, watcher)?;
                }
            }
            if self.exec_ns.is_some() {
                return Ok(Some(EndedBy::Exec));
            }
        }
    }

    /// The last report.
    fn finish(&mut self, ended_by: EndedBy, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        self.report(Some(ended_by), watcher)?;
        for note in self.names.notes() {
            watcher.detail(&note);
        }
        Ok(())
    }

    /// Takes events in.
    fn take(&mut self, events: Vec<Event>, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        // What comes before an exec in this batch may be taken in only after it: its mappings are gone.
        let exec = events.iter().find_map(|e| if let Event::Exec(at) = e { Some(*at) } else { None });
        self.exec_ns = self.exec_ns.or(exec);
        let window = self.armed.started_ns..self.frozen_ns;
        for event in events {
            match event {
                Event::Stack { id, frames, end } => {
                    let space = &self.armed.space;
                    self.stacks.insert(StackId(id), &frames, end, |address| space.locate(address));
                    if let Some(stack) = self.stacks.get(StackId(id)) {
                        self.names.prepare(space, stack);
                    }
                }
                Event::LongWait(wait) => self.waits.long_wait(wait),
                Event::MappingsChanged if self.exec_ns.is_none() => {
                    let armed = &mut self.armed;
                    let pid = armed.process.pid;
                    let refreshed =
                        armed.probes.refresh(&mut armed.object, pid, &mut armed.space, true, watcher);
                    match refreshed {
                        Ok(()) | Err(crate::bpf::BpfError::TargetGone) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Event::MappingsChanged => {}
                Event::ThreadStart(at) => self.threads.created += u64::from(window.contains(&at)),
                Event::ThreadExit(at) => self.threads.exited += u64::from(window.contains(&at)),
                Event::LeaderExit => self.leader_gone = self.leader_gone.or(Some(Instant::now())),
                Event::Exec(_) => {}
            }
        }
        Ok(())
    }

    /// Reads the account and reports. `ended_by` is `None` while the observation goes on.
    fn report(&mut self, ended_by: Option<EndedBy>, watcher: &mut dyn Watcher) -> Result<bool, Failure> {
        let at_ns = clock::monotonic_ns();
        let pid = self.armed.process.pid;
        let gone = |ended_by| matches!(ended_by, Some(EndedBy::TargetExit | EndedBy::Exec));
        if let Some(go) = &mut self.go {
            if gone(ended_by) {
                go.gone(at_ns);
            } else {
                go.look(watcher);
                go.look_at_heap(&self.armed.object, self.config.tracing, watcher);
            }
        }
        // The threads before the account: a wait that is open in both began before the threads were seen.
        let seen = if self.config.tracing.waits && !gone(ended_by) { Some(self.census()?) } else { None };
        if ended_by.is_some() {
            // The events stop with the account, not when the last program has left it.
            self.frozen_ns = clock::monotonic_ns();
            self.armed.object.freeze()?;
        }
        // The account first: a site that it shows has sent its frames before, so they are in the ring.
        let raw = self.armed.object.read_account()?;
        let events = self.armed.events.drain();
        self.take(events, watcher)?;
        if self.exec_ns.is_none() && self.armed.object.execed()? {
            // Its event was lost, and counted as that.
            self.exec_ns = Some(at_ns);
        }
        let ended_by = if self.exec_ns.is_some() { Some(EndedBy::Exec) } else { ended_by };
        let gone = gone(ended_by);
        if !gone {
            self.rss_last = self.armed.process.rss_bytes().or(self.rss_last);
        }
        self.threads.growth = self.threads.created.cast_signed() - self.threads.exited.cast_signed();
        self.threads.alive = if gone { None } else { usage::threads(pid) };
        let observation = Observation {
            at_ns: self.exec_ns.unwrap_or(at_ns),
            live: raw.live,
            sites: raw.sites,
            inflight: raw.inflight,
            counters: raw.counters,
        };
        let mut window = self.waits.snapshot(WaitObservation {
            threads: &raw.threads,
            sites: &raw.wait_sites,
            wakes: &raw.wakes,
            creations: &raw.creations,
        });
        let census = seen.as_ref().map(|seen| &seen.taken.census).filter(|_| !gone);
        // What blocked after the threads were looked at is another wait than the one that was seen.
        window.open.retain(|wait| census.is_none_or(|c| wait.since_ns <= c.at_ns));
        let counters: Vec<u64> = match &seen {
            Some(seen) => observation.counters.iter().zip(&seen.counters).map(|(a, b)| a + b).collect(),
            None => observation.counters.clone(),
        };
        watcher.detail(&tallies(&observation.counters));
        let min_age = u64::try_from(self.config.min_age.as_nanos()).unwrap_or(u64::MAX);
        let heap = self.aggregate.snapshot(&observation, self.config.sort, min_age);
        let probes = &self.armed.probes;
        let report = build(Inputs {
            process: &self.armed.process,
            host: self.armed.host,
            started_at: &self.armed.started_at,
            duration_ns: observation.at_ns.saturating_sub(self.armed.started_ns),
            ended_by,
            leader_gone: self.leader_gone.is_some() && self.armed.process.has_threads(),
            rss_start: self.armed.rss_start,
            rss_end: self.rss_last,
            heap: self.config.tracing.heap.then_some(HeapInputs {
                snapshot: &heap,
                min_age_ns: min_age,
                slow_probes: probes.slow,
                visibility: Visibility {
                    probes: probes.allocator_probes,
                    hits: 0,
                    files_searched: probes.files_searched,
                    reason: if probes.allocator_probes == 0 {
                        modules::why_none(&self.armed.space)
                    } else {
                        modules::own_heap(&self.armed.space)
                    },
                },
            }),
            waits: self.config.tracing.waits.then_some(WaitInputs {
                census,
                window: Some(&window),
                started_ns: self.armed.started_ns,
                at_ns: census.map_or(observation.at_ns, |c| c.at_ns),
                nothing_lost: ended_by.is_some(),
                processors: usage::processors(),
            }),
            go: self.go.as_ref().map(|go| go.inputs(self.config.sort)),
            threads: Some(self.threads.clone()),
            creations: &window.creations,
            counters: &counters,
            recursion_misses: raw.recursion_misses,
            lost: &probes.losses(),
            cpu_ns: usage::cpu_ns(),
            memory_bytes: usage::rss_bytes().map(|rss| rss + self.armed.object.map_bytes()),
            stacks: &self.stacks,
            space: &self.armed.space,
            names: &mut self.names,
        });
        watcher.report(&report)
    }
}

/// What the kernel side counted that is no loss, for those who want to know.
fn tallies(counters: &[u64]) -> String {
    let named = [
        (Tally::NestedCalls, "calls inside another allocator call"),
        (Tally::FailedCalls, "failed calls"),
        (Tally::EarlyReturns, "returns of calls from before the recording"),
        (Tally::CallUnwound, "calls left by an exception"),
        (Tally::CacheFlushes, "frees by which libc emptied a thread's cache"),
        (Tally::LinkerFrees, "frees of the dynamic linker's own older blocks"),
        (Tally::FramePointerStacks, "stacks that needed frame pointers"),
    ];
    let count = |tally: Tally| counters.get(tally as usize).copied().unwrap_or(0);
    named.map(|(tally, what)| format!("{} {what}", count(tally))).join(", ")
}

/// A descriptor that becomes readable when the process ends.
fn pidfd(pid: u32) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: pidfd_open takes no pointers; the result is checked.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: a fresh descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: an owned descriptor gives the same one for as long as it lives.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok()
}

/// Waits for the end of the process; without a descriptor (it has just ended) not at all.
async fn exited(pidfd: Option<&AsyncFd<OwnedFd>>) {
    if let Some(pidfd) = pidfd {
        // An error of the poll ends the watch too: it cannot be told apart from the end.
        let _ = pidfd.readable().await;
    }
}
