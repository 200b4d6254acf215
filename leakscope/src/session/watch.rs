//! Runs until the end of the observation, and reports.

mod glance;
mod lost;

use std::time::Instant;

use leakscope_common::config::RunState;
use leakscope_common::event::{Kind, ThreadEvent};

use super::arm::Armed;
use super::attach::Probes;
use super::feed::{Feed, Records, Step};
use super::glances::Glances;
use super::runtimes::{When, meet_runtimes, read_runtimes};
use super::subject::{Subject, expected};
use super::tallies::{tallies, times};
use super::usage::memory;
use super::{Config, Told, Watcher, clock, modules, recording_ends, usage};
use crate::bpf::BpfError;
use crate::bpf::events::Record;
use crate::bpf::tables::Tables;
use crate::collect::{Collector, Collectors, Moment, Scene, Source, SourceError};
use crate::failure::Failure;
use crate::interrupt;
use crate::process::recorded::RecordedSpace;
use crate::process::seen::Seen;
use crate::process::{AddressSpace, Location};
use crate::recording::{Player, Recorder};
use crate::report::Report;
use crate::report::build::{Code, Costs, Inputs, build};
use crate::report::model::{EndedBy, Window};
use crate::report::naming::Naming;
use crate::report::own_cost::{Meter, OwnCost};
use crate::runtime::{RecordedRuntime, Runtimes};
use crate::stack::{RawStack, Stacks, seen_at_ns};
use crate::symbol::{Charging, Names};

/// On a tape, what leakscope itself had used when a report told it. A recording that was ended while a report was
/// written has none.
const OWN_COST_TOLD: &str = "own cost told";

/// What ties a session to a target that runs; a replay has none of it.
struct Ties {
    feed: Feed,
    glances: Glances,
    probes: Probes,
    /// The target's runtimes.
    runtimes: Runtimes,
    /// How long to rest after a report.
    rest: u32,
}

/// What has been learnt so far.
struct Watch {
    source: Source,
    ties: Option<Ties>,
    subject: Subject,
    collectors: Collectors,
    space: AddressSpace,
    stacks: Stacks,
    naming: Naming,
    rss_last: Option<u64>,
    exec_ns: Option<u64>,
    /// When the account was frozen: what comes later is in no number.
    frozen_ns: u64,
    /// Whether the main thread was seen to end.
    leader_gone: bool,
    /// Whether a stack has an address that no code was seen mapped at.
    unplaced: bool,
    /// When the next glance may be taken.
    next_glance: Option<Instant>,
    /// Whether glances look at the heap.
    glances_at_heap: bool,
}

/// Watches until the end, then reports and detaches.
pub(super) async fn watch(
    armed: Armed,
    config: &Config,
    recorder: Option<Recorder>,
    watcher: &mut dyn Watcher,
) -> Result<(), Failure> {
    let pid = armed.subject.process.pid;
    let mut names = Names::new(modules::debug_search(pid, &mut Told(watcher)));
    let mut source = Source::live(armed.live, recorder);
    source.note("subject", &armed.subject);
    if source.is_taped() {
        names.keep();
        source.note("address space", &RecordedSpace::of(&armed.space));
    }
    let ties = Ties {
        feed: Feed::begin(pid, armed.events, armed.signals, config),
        glances: armed.glances,
        probes: armed.probes,
        runtimes: armed.runtimes,
        rest: config.rest,
    };
    let mut watch = Watch::new(source, Some(ties), armed.subject, armed.space, names, armed.collectors);
    watch.naming.charge(config.charging.of(watch.subject.process.exe.as_deref()));
    watch.naming.slice = config.naming;
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
    if let Err(error) = watch.source.finish() {
        recording_ends(&error, watcher);
    }
    interrupt::report_is_out(result.as_ref().map_or_else(|failure| failure.code, |()| watcher.code()));
    let started = Instant::now();
    if let Some(ties) = watch.ties {
        ties.probes.detach();
    }
    watcher.detail(&format!("probes removed in {:.1} s", started.elapsed().as_secs_f64()));
    result
}

/// Makes the reports of a recording again.
pub(super) async fn replay(
    player: Player,
    charging: &Charging,
    watcher: &mut dyn Watcher,
) -> Result<(), Failure> {
    let mut source = Source::Recorded(player);
    let subject: Subject = expected(source.recorded("subject")?)?;
    let space: RecordedSpace = expected(source.recorded("address space")?)?;
    let space = space.into_space().map_err(Failure::failed)?;
    // Their maps are not made, so their sizes do not matter.
    let collectors = Collectors::of(&subject.wishes, 0);
    let mut watch = Watch::new(source, None, subject, space, Names::of_recording(), collectors);
    watch.naming.charge(charging.of(watch.subject.process.exe.as_deref()));
    watch.start(watcher)?;
    match watch.until_end(watcher).await? {
        Some(ended_by) => watch.finish(ended_by, watcher),
        None => Ok(()),
    }
}

impl Watch {
    fn new(
        source: Source,
        ties: Option<Ties>,
        subject: Subject,
        space: AddressSpace,
        names: Names,
        collectors: Collectors,
    ) -> Self {
        Self {
            source,
            ties,
            collectors,
            space,
            stacks: Stacks::default(),
            naming: Naming::new(names),
            rss_last: subject.rss_start,
            exec_ns: None,
            frozen_ns: u64::MAX,
            leader_gone: false,
            unplaced: false,
            next_glance: None,
            glances_at_heap: true,
            subject,
        }
    }

    /// Recording has begun: looks at what was there before.
    fn start(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        self.ask(watcher, |collector, scene| collector.started(scene))?;
        let Some(ties) = &mut self.ties else { return Ok(()) };
        let (target, names) = ((&self.subject, &self.space), &mut self.naming.names);
        ties.runtimes.name(names);
        read_runtimes(&mut ties.runtimes, When::Last, target, &mut self.source, names, watcher)?;
        watcher.attached(self.subject.process.pid, ties.probes.active());
        self.show_goroutines(watcher)
    }

    /// Asks all collectors something about the target as it is.
    fn ask(
        &mut self,
        watcher: &mut dyn Watcher,
        ask: impl Fn(&mut dyn Collector, &mut Scene<'_>) -> Result<(), SourceError>,
    ) -> Result<(), Failure> {
        let mut scene = Scene {
            source: &mut self.source,
            process: &self.subject.process,
            space: &self.space,
            stacks: &mut self.stacks,
            started_ns: self.subject.started_ns,
            log: &mut Told(watcher),
        };
        self.collectors.iter_mut().try_for_each(|collector| ask(&mut **collector, &mut scene))?;
        self.stacks.take_new(|frame| self.naming.names.prepare(&self.space, frame));
        Ok(())
    }

    /// Shows the goroutines of now to who waits for the end.
    fn show_goroutines(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        let runtimes = self.ties.as_ref().map(|ties| &ties.runtimes).filter(|runtimes| runtimes.is_read());
        let Some(runtimes) = runtimes.filter(|_| watcher.wants_first_look()) else { return Ok(()) };
        let process = &self.subject.process;
        let code = Code { stacks: &self.stacks, space: &self.space, naming: &mut self.naming };
        let report = build(Inputs {
            host: self.subject.host(),
            memory: memory(self.subject.rss_start, process.rss_bytes()),
            sort: self.subject.wishes.sort,
            costs: Costs { own: usage::own(0), ..Costs::default() },
            ..Inputs::new(process, runtimes.observed().without_holders(), &self.subject.started_at, code)
        });
        watcher.first_look(&report)
    }

    /// Runs until something ends the observation; `None` if nobody reads the reports any more.
    async fn until_end(&mut self, watcher: &mut dyn Watcher) -> Result<Option<EndedBy>, Failure> {
        loop {
            match self.step().await? {
                Step::Events(Records(records)) => self.take(&records, watcher)?,
                Step::Tick => self.tick(watcher)?,
                Step::Report => {
                    let begun = Instant::now();
                    let goes_on = self.report(None, watcher)?;
                    let Some(ties) = &mut self.ties else { continue };
                    if !goes_on {
                        self.source.note("step", &Step::Abandoned);
                        return Ok(None);
                    }
                    // Names are read once.
                    ties.feed.reported(begun.elapsed().saturating_sub(self.naming.spent()), ties.rest);
                }
                Step::End(ended_by) => {
                    if let Some(ties) = self.ties.as_ref().filter(|_| ended_by == EndedBy::Interrupt) {
                        let attached = &ties.probes.attached;
                        watcher.interrupted(attached.links().removal(attached.len()));
                    }
                    return Ok(Some(ended_by));
                }
                Step::Abandoned => return Ok(None),
            }
            if self.exec_ns.is_some() {
                return Ok(Some(EndedBy::Exec));
            }
        }
    }

    /// What is next.
    async fn step(&mut self) -> Result<Step, Failure> {
        match &mut self.ties {
            Some(ties) => {
                let step = ties.feed.next().await?;
                self.source.note("step", &step);
                Ok(step)
            }
            None => expected(self.source.recorded("step")?),
        }
    }

    fn tick(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        self.look_at_rss()?;
        self.glance(watcher)?;
        let Some(ties) = &mut self.ties else { return Ok(()) };
        ties.glances.keep_up();
        let pid = self.subject.process.pid;
        // Code in no known mapping may ask for a look at the mappings once a tick.
        Ok(self.source.act(|live| {
            Tables::refreshed(&mut live.object)?;
            ties.probes.follow_children(&mut live.object, pid, watcher)
        })?)
    }

    fn look_at_rss(&mut self) -> Result<(), Failure> {
        let process = &self.subject.process;
        let rss = self.source.get("resident set", |_| Ok(process.rss_bytes()))?;
        self.rss_last = rss.or(self.rss_last);
        Ok(())
    }

    /// The last report.
    fn finish(&mut self, ended_by: EndedBy, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        self.report(Some(ended_by), watcher)?;
        self.naming.names.notes().iter().for_each(|note| watcher.detail(note));
        Ok(())
    }

    /// Takes events in.
    fn take(&mut self, records: &[Record], watcher: &mut dyn Watcher) -> Result<(), Failure> {
        // What comes before an exec in this batch may be taken in only after it: its mappings are gone.
        let exec = records.iter().find(|record| record.is(Kind::Exec));
        let exec = exec.and_then(|record| Some(record.as_value::<ThreadEvent>()?.at_ns));
        self.exec_ns = self.exec_ns.or(exec);
        let window = self.subject.started_ns..self.frozen_ns;
        let mut looked = false;
        for record in records {
            if record.is(Kind::Stack) {
                if let Some((stack, at_ns)) = RawStack::of_record(record).zip(seen_at_ns(record)) {
                    self.stacks.insert(&stack, |address| self.space.locate_at(address, at_ns));
                    self.stacks.take_new(|frame| {
                        self.unplaced |= frame.location == Location::Unmapped;
                        self.naming.names.prepare(&self.space, frame);
                    });
                }
            } else if record.is(Kind::MappingsChanged) {
                let seen = self.ties.as_ref().map(|ties| ties.glances.next()).unwrap_or_default();
                if self.exec_ns.is_none() {
                    // One look sees all changes that these records tell of.
                    let first = !std::mem::replace(&mut looked, true);
                    self.refresh(seen, first, watcher)?;
                }
            } else if record.is(Kind::LeaderExit) {
                self.leader_gone = true;
                if let Some(ties) = &mut self.ties {
                    ties.feed.leader_is_gone();
                }
            } else {
                self.collectors.event(record, &window);
            }
        }
        Ok(())
    }

    /// Looks at the mappings again, if that is wanted. The stacks that follow are of the moment at which they were
    /// `seen`.
    fn refresh(&mut self, seen: Seen, look: bool, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        let Self { source, ties, subject, space, collectors, naming, .. } = self;
        let Some(ties) = ties else {
            let recorded: RecordedSpace = expected(source.recorded("address space")?)?;
            *space = recorded.into_space().map_err(Failure::failed)?;
            return Ok(());
        };
        let pid = subject.process.pid;
        if look {
            let look = |live: &mut _| ties.probes.refresh(live, (pid, space), collectors, true, watcher);
            match source.act(look) {
                Ok(()) | Err(BpfError::TargetGone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        meet_runtimes(&mut ties.runtimes, (subject, space), source, &mut naming.names, watcher)?;
        space.as_of(seen);
        source.act(|live| live.unwinding.learn(&mut live.object, space))?;
        if source.is_taped() {
            source.note("address space", &RecordedSpace::of(space));
        }
        Ok(())
    }

    /// Reads the account and reports. `ended_by` is `None` while the observation goes on.
    fn report(&mut self, ended_by: Option<EndedBy>, watcher: &mut dyn Watcher) -> Result<bool, Failure> {
        let begun = Instant::now();
        let at_ns = self.source.get("clock", |_| Ok(clock::monotonic_ns()))?;
        self.look(at_ns, When::of(ended_by), watcher)?;
        if ended_by.is_some() {
            // The events stop with the account, not when the last program has left it.
            self.frozen_ns = self.source.get("clock", |_| Ok(clock::monotonic_ns()))?;
            self.source.act(|live| live.object.freeze())?;
        }
        let (counters, recursion_misses) = self.read_account(at_ns, watcher)?;
        let ended_by = if self.exec_ns.is_some() { Some(EndedBy::Exec) } else { ended_by };
        let gone = When::of(ended_by) == When::Gone;
        if !gone {
            self.look_at_rss()?;
        }
        watcher.detail(&tallies(&counters));
        let at_ns = self.exec_ns.unwrap_or(at_ns);
        self.naming.begin(ended_by.is_some());
        let read = begun.elapsed();
        let moment = Moment {
            at_ns,
            started_ns: self.subject.started_ns,
            counters: &counters,
            gone,
            last: ended_by.is_some(),
        };
        self.collectors.iter_mut().for_each(|collector| collector.settle(&moment));
        let mut report = self.made(&moment, ended_by, recursion_misses)?;
        self.source.note("names", &self.naming.names.take_new());
        if let Some(error) = self.source.flush() {
            recording_ends(&error, watcher);
        }
        let made = begun.elapsed();
        let goes_on = self.told(&mut report, watcher);
        watcher.detail(&times(read, made, begun.elapsed()));
        goes_on
    }

    /// Has the report written. What leakscope itself has used is measured when that is told, which is last; a replay
    /// tells what was measured then.
    fn told(&mut self, report: &mut Report, watcher: &mut dyn Watcher) -> Result<bool, Failure> {
        if let Some(maps) = self.source.map_bytes() {
            report.overhead.meter = Meter::new(move || usage::own(maps));
        } else if let Some(own) = self.source.recorded_if_any(OWN_COST_TOLD)? {
            report.overhead.own(own);
        }
        let goes_on = watcher.report(report);
        if self.source.is_taped()
            && let Some(own) = report.overhead.meter.read()
        {
            self.source.note(OWN_COST_TOLD, &own);
        }
        goes_on
    }

    /// The report of what was settled.
    fn made(
        &mut self,
        moment: &Moment<'_>,
        ended_by: Option<EndedBy>,
        recursion_misses: u64,
    ) -> Result<Report, Failure> {
        let mut counters = moment.counters.to_vec();
        self.collectors.iter().for_each(|collector| collector.add_counters(&mut counters));
        let lost = self.losses()?;
        let process = &self.subject.process;
        let has_threads = self.source.get("threads left", |_| Ok(process.has_threads()))?;
        let (cpu_ns, memory_bytes) = self.source.get("own cost", |live| {
            let own = usage::own(live.object.map_bytes());
            Ok((own.cpu_ns, own.memory_bytes))
        })?;
        let own = OwnCost { cpu_ns, memory_bytes, max_rss_bytes: None };
        let read = self.ties.as_ref().map(|ties| ties.runtimes.observed());
        if let Some(read) = read.as_ref().filter(|_| self.source.is_taped()) {
            self.source.note("runtime", &RecordedRuntime::of(read));
        }
        let recorded: Option<RecordedRuntime> = self.source.recorded("runtime")?;
        let recorded = recorded.unwrap_or_default();
        let runtime = read.unwrap_or_else(|| recorded.observed(self.subject.runtime()));
        if let Some(names) = self.source.recorded("names")? {
            self.naming.learn(names);
        }
        let code = Code { stacks: &self.stacks, space: &self.space, naming: &mut self.naming };
        let inputs = Inputs::new(process, runtime, &self.subject.started_at, code);
        let duration_ns = moment.at_ns.saturating_sub(moment.started_ns);
        Ok(build(Inputs {
            host: self.subject.host(),
            window: Window { duration_ns, ended_by, ..inputs.window },
            leader_gone: self.leader_gone && has_threads,
            memory: memory(self.subject.rss_start, self.rss_last),
            collected: self.collectors.collected(),
            sort: self.subject.wishes.sort,
            costs: Costs { counters: &counters, recursion_misses, lost: &lost, own },
            ..inputs
        }))
    }

    /// Looks at the target before the account is read.
    fn look(&mut self, at_ns: u64, when: When, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        let gone = when == When::Gone;
        if !gone && self.exec_ns.is_none() {
            // What was mapped a moment ago may be among what waits in the ring.
            self.refresh(Seen::default(), true, watcher)?;
        }
        if let Some(Ties { runtimes, .. }) = &mut self.ties {
            if gone {
                runtimes.opened_mut().for_each(|opened| opened.ended(at_ns));
            } else {
                let target = (&self.subject, &self.space);
                read_runtimes(runtimes, when, target, &mut self.source, &mut self.naming.names, watcher)?;
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
        let Records(records) = match &mut self.ties {
            Some(ties) => {
                let records = Records(ties.feed.events.drain());
                self.source.note("events", &records);
                records
            }
            None => expected(self.source.recorded("events")?)?,
        };
        self.take(&records, watcher)?;
        if self.exec_ns.is_none() && self.source.get("exec", |live| live.object.execed())? {
            // Its event was lost, and counted as that.
            self.exec_ns = Some(at_ns);
        }
        Ok((counters, misses))
    }
}
