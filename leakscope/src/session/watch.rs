//! Runs until the end of the observation, and reports.

use std::time::Instant;

use leakscope_common::config::RunState;
use leakscope_common::counter::Tally;
use leakscope_common::event::{Kind, ThreadEvent};

use super::arm::Armed;
use super::attach::{Probes, summed};
use super::feed::{Feed, Step};
use super::go::GoTarget;
use super::inputs::{heap_inputs, threads, wait_inputs};
use super::{Config, Told, Watcher, clock, modules, usage};
use crate::bpf::events::Record;
use crate::bpf::tables::Tables;
use crate::collect::{Collectors, Moment, Scene, Source};
use crate::failure::Failure;
use crate::interrupt;
use crate::process::{AddressSpace, Host, Process};
use crate::report::build::{Inputs, build};
use crate::report::model::EndedBy;
use crate::report::names::Names;
use crate::stack::{RawStack, Stacks};

/// What has been learnt so far.
struct Watch<'a> {
    config: &'a Config,
    source: Source,
    feed: Feed,
    probes: Probes,
    collectors: Collectors,
    process: Process,
    /// The program that runs another one inside itself, if the target is one.
    host: Option<&'static Host>,
    space: AddressSpace,
    stacks: Stacks,
    names: Names,
    /// The target, where it is a Go program.
    go: Option<GoTarget>,
    started_ns: u64,
    started_at: String,
    rss_start: Option<u64>,
    rss_last: Option<u64>,
    exec_ns: Option<u64>,
    /// When the account was frozen: what comes later is in no number.
    frozen_ns: u64,
    /// Whether the main thread was seen to end.
    leader_gone: bool,
}

/// Watches until the end, then reports and detaches.
pub(super) async fn watch(armed: Armed, config: &Config, watcher: &mut dyn Watcher) -> Result<(), Failure> {
    let pid = armed.process.pid;
    let mut watch = Watch {
        config,
        source: Source::live(armed.live),
        feed: Feed::begin(pid, armed.events, armed.signals, config),
        probes: armed.probes,
        collectors: armed.collectors,
        names: Names::new(modules::debug_search(pid, &mut Told(watcher))),
        process: armed.process,
        host: armed.host,
        space: armed.space,
        stacks: Stacks::default(),
        go: armed.go,
        started_ns: armed.started_ns,
        started_at: armed.started_at,
        rss_start: armed.rss_start,
        rss_last: armed.rss_start,
        exec_ns: None,
        frozen_ns: u64::MAX,
        leader_gone: false,
    };
    let ended = match watch.start(watcher) {
        Ok(()) => watch.until_end(watcher).await,
        Err(failure) => Err(failure),
    };
    interrupt::ending();
    let result = match ended {
        // The reader went away: nobody wants a report.
        Ok(None) => {
            watch.source.act(|live| live.object.set_run_state(RunState::Frozen)).map_err(Failure::from)
        }
        Ok(Some(ended_by)) => watch.finish(ended_by, watcher),
        Err(failure) => Err(failure),
    };
    interrupt::report_is_out(result.as_ref().map_or_else(|failure| failure.code, |()| watcher.code()));
    let started = Instant::now();
    watch.probes.detach();
    watcher.detail(&format!("probes removed in {:.1} s", started.elapsed().as_secs_f64()));
    result
}

impl Watch<'_> {
    /// Recording has begun: looks at what was there before.
    fn start(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        self.ask(watcher, |collector, scene| collector.started(scene))?;
        if let Some(go) = &mut self.go {
            go.name(&mut self.names);
            go.look(watcher);
            self.source.act(|live| {
                go.look_at_heap(&live.object, self.config.wishes.tracing, watcher);
                Ok(())
            })?;
        }
        watcher.attached(self.process.pid, self.probes.active());
        self.show_goroutines(watcher)
    }

    /// Asks all collectors something about the target as it is.
    fn ask(
        &mut self,
        watcher: &mut dyn Watcher,
        ask: impl Fn(&mut dyn crate::collect::Collector, &mut Scene<'_>) -> Result<(), crate::bpf::BpfError>,
    ) -> Result<(), Failure> {
        let mut scene = Scene {
            source: &mut self.source,
            process: &self.process,
            space: &self.space,
            stacks: &mut self.stacks,
            started_ns: self.started_ns,
            log: &mut Told(watcher),
        };
        self.collectors.iter_mut().try_for_each(|collector| ask(&mut **collector, &mut scene))?;
        self.stacks.take_new(|stack| self.names.prepare(&self.space, stack));
        Ok(())
    }

    /// Shows the goroutines of now to who waits for the end.
    fn show_goroutines(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        let Some(go) = self.go.as_ref().filter(|_| watcher.wants_first_look()) else { return Ok(()) };
        let process = &self.process;
        let report = build(Inputs {
            process,
            host: self.host,
            started_at: &self.started_at,
            duration_ns: 0,
            ended_by: None,
            leader_gone: false,
            rss_start: self.rss_start,
            rss_end: process.rss_bytes(),
            heap: None,
            waits: None,
            go: Some(go.inputs(self.config.wishes.sort)),
            threads: None,
            creations: &[],
            counters: &[],
            recursion_misses: 0,
            lost: &[],
            cpu_ns: usage::cpu_ns(),
            memory_bytes: None,
            stacks: &self.stacks,
            space: &self.space,
            names: &mut self.names,
        });
        watcher.first_look(&report)
    }

    /// Runs until something ends the observation; `None` if nobody reads the reports any more.
    async fn until_end(&mut self, watcher: &mut dyn Watcher) -> Result<Option<EndedBy>, Failure> {
        loop {
            match self.feed.next().await? {
                Step::Events(records) => self.take(&records, watcher)?,
                Step::Tick => self.tick(watcher)?,
                Step::Report => {
                    let begun = Instant::now();
                    if !self.report(None, watcher)? {
                        return Ok(None);
                    }
                    self.feed.reported(begun.elapsed(), self.config.rest);
                }
                Step::End(ended_by) => {
                    if ended_by == EndedBy::Interrupt {
                        let attached = &self.probes.attached;
                        watcher.interrupted(attached.links().removal(attached.len()));
                    }
                    return Ok(Some(ended_by));
                }
            }
            if self.exec_ns.is_some() {
                return Ok(Some(EndedBy::Exec));
            }
        }
    }

    fn tick(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        self.look_at_rss()?;
        let Self { source, probes, process, .. } = self;
        // Code in no known mapping may ask for a look at the mappings once a tick.
        source.act(|live| {
            Tables::refreshed(&mut live.object)?;
            probes.follow_children(&mut live.object, process.pid, watcher)
        })?;
        Ok(())
    }

    fn look_at_rss(&mut self) -> Result<(), Failure> {
        let process = &self.process;
        let rss = self.source.get("resident set", |_| Ok(process.rss_bytes()))?;
        self.rss_last = rss.or(self.rss_last);
        Ok(())
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
    fn take(&mut self, records: &[Record], watcher: &mut dyn Watcher) -> Result<(), Failure> {
        // What comes before an exec in this batch may be taken in only after it: its mappings are gone.
        let exec = records.iter().find(|record| record.is(Kind::Exec));
        let exec = exec.and_then(|record| Some(record.as_value::<ThreadEvent>()?.at_ns));
        self.exec_ns = self.exec_ns.or(exec);
        let window = self.started_ns..self.frozen_ns;
        for record in records {
            if record.is(Kind::Stack) {
                if let Some(stack) = RawStack::of_record(record) {
                    self.stacks.insert(&stack, |address| self.space.locate(address));
                    self.stacks.take_new(|stack| self.names.prepare(&self.space, stack));
                }
            } else if record.is(Kind::MappingsChanged) {
                if self.exec_ns.is_none() {
                    self.refresh(watcher)?;
                }
            } else if record.is(Kind::LeaderExit) {
                self.leader_gone = true;
                self.feed.leader_is_gone();
            } else {
                self.collectors.event(record, &window);
            }
        }
        Ok(())
    }

    /// Looks at the mappings again.
    fn refresh(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        let Self { source, probes, process, space, collectors, .. } = self;
        let refreshed =
            source.act(|live| probes.refresh(live, (process.pid, space), collectors, true, watcher));
        match refreshed {
            Ok(()) | Err(crate::bpf::BpfError::TargetGone) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the account and reports. `ended_by` is `None` while the observation goes on.
    fn report(&mut self, ended_by: Option<EndedBy>, watcher: &mut dyn Watcher) -> Result<bool, Failure> {
        let at_ns = self.source.get("clock", |_| Ok(clock::monotonic_ns()))?;
        let gone = |ended_by| matches!(ended_by, Some(EndedBy::TargetExit | EndedBy::Exec));
        self.look(at_ns, gone(ended_by), watcher)?;
        if ended_by.is_some() {
            // The events stop with the account, not when the last program has left it.
            self.frozen_ns = self.source.get("clock", |_| Ok(clock::monotonic_ns()))?;
            self.source.act(|live| live.object.freeze())?;
        }
        let (counters, recursion_misses) = self.read_account(at_ns, watcher)?;
        let ended_by = if self.exec_ns.is_some() { Some(EndedBy::Exec) } else { ended_by };
        let gone = gone(ended_by);
        if !gone {
            self.look_at_rss()?;
        }
        watcher.detail(&tallies(&counters));
        let at_ns = self.exec_ns.unwrap_or(at_ns);
        let moment = Moment {
            at_ns,
            started_ns: self.started_ns,
            counters: &counters,
            gone,
            last: ended_by.is_some(),
        };
        self.collectors.iter_mut().for_each(|collector| collector.settle(&moment));
        let mut all_counters = counters.clone();
        self.collectors.iter().for_each(|collector| collector.add_counters(&mut all_counters));
        let lost = self.losses()?;
        let leader_gone = self.leader_gone && self.process.has_threads();
        let map_bytes = self.source.get("maps", |live| Ok(live.object.map_bytes()))?;
        let collected = self.collectors.collected();
        let (threads, creations) = threads(&collected);
        let report = build(Inputs {
            process: &self.process,
            host: self.host,
            started_at: &self.started_at,
            duration_ns: at_ns.saturating_sub(self.started_ns),
            ended_by,
            leader_gone,
            rss_start: self.rss_start,
            rss_end: self.rss_last,
            heap: heap_inputs(&collected),
            waits: wait_inputs(&collected),
            go: self.go.as_ref().map(|go| go.inputs(self.config.wishes.sort)),
            threads,
            creations,
            counters: &all_counters,
            recursion_misses,
            lost: &lost,
            cpu_ns: usage::cpu_ns(),
            memory_bytes: usage::rss_bytes().map(|rss| rss + map_bytes),
            stacks: &self.stacks,
            space: &self.space,
            names: &mut self.names,
        });
        watcher.report(&report)
    }

    /// Looks at the target before the account is read.
    fn look(&mut self, at_ns: u64, gone: bool, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        if let Some(go) = &mut self.go {
            if gone {
                go.gone(at_ns);
            } else {
                go.look(watcher);
                self.source.act(|live| {
                    go.look_at_heap(&live.object, self.config.wishes.tracing, watcher);
                    Ok(())
                })?;
            }
        }
        if gone { Ok(()) } else { self.ask(watcher, |collector, scene| collector.look(scene)) }
    }

    /// Reads the account, and takes in the events that belong to it. Returns the kernel side's counters and how
    /// often it skipped a program.
    fn read_account(&mut self, at_ns: u64, watcher: &mut dyn Watcher) -> Result<(Vec<u64>, u64), Failure> {
        // The account first: a site that it shows has sent its frames before, so they are in the ring.
        self.collectors.iter_mut().try_for_each(|collector| collector.read(&mut self.source))?;
        let counters = self.source.get("counters", |live| live.object.counters())?;
        let misses = self.source.get("recursion misses", |live| Ok(live.object.recursion_misses()))?;
        let records = self.feed.events.drain();
        self.take(&records, watcher)?;
        if self.exec_ns.is_none() && self.source.get("exec", |live| live.object.execed())? {
            // Its event was lost, and counted as that.
            self.exec_ns = Some(at_ns);
        }
        Ok((counters, misses))
    }

    /// What was lost outside of the kernel side, by name.
    fn losses(&mut self) -> Result<Vec<(&'static str, u64)>, Failure> {
        let probes = &self.probes;
        let own = self.source.get("losses", |live| {
            Ok(live.unwinding.losses().into_iter().chain(probes.losses()).collect::<Vec<_>>())
        })?;
        let collected = self.collectors.iter().flat_map(|collector| collector.losses());
        Ok(summed(own.into_iter().chain(collected)).into_iter().collect())
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
