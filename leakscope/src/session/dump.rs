//! One look at the threads of a process: nothing is traced.

use super::attach::owned;
use super::modules::{self, address_space};
use super::usage::memory;
use super::{Told, Watcher, clock, usage};
use crate::bpf::attach::Links;
use crate::bpf::object::Object;
use crate::collect::{Collectors, Live, Moment, Scene, Source, Unwinding};
use crate::failure::Failure;
use crate::process::{Host, Process, ProcessError};
use crate::report::build::{Code, Costs, Inputs, build};
use crate::report::naming::Naming;
use crate::report::own_cost::Meter;
use crate::runtime::{Options, Runtimes};
use crate::stack::Stacks;
use crate::symbol::{Charging, Names};
use leakscope_common::counter::COUNTERS;

/// Looks at the threads of `process`, which [`super::check_threads`] has passed, and reports once.
pub fn dump(
    process: &Process,
    options: Options,
    charging: &Charging,
    watcher: &mut dyn Watcher,
) -> Result<(), Failure> {
    usage::raise_file_limit();
    let mut space = address_space(process)?;
    let host = Host::of(process, &space);
    if let Some(host) = host {
        watcher.warn(&host.sentence());
    }
    let mut runtimes = Runtimes::find(process, &space, options, &mut Told(watcher));
    let unwinding = Unwinding::build(&space, runtimes.rows(), &mut Told(watcher));
    space.forget_caches();
    let mut collectors = Collectors::of_one_look();
    let object = Object::load(process.pid, &collectors.load(), Links::Perf, false)?;
    watcher.detail("BPF programs loaded");
    let lost: Vec<_> = unwinding.losses().map(owned).into();
    let mut source = Source::live(Live { object, unwinding }, None);
    let started_at = clock::rfc3339_now();
    let mut stacks = Stacks::default();
    let mut naming = Naming::new(Names::new(modules::debug_search(process.through, &mut Told(watcher))));
    naming.charge(charging.of(process.exe.as_deref()));
    runtimes.name(&mut naming.names);
    runtimes.opened_mut().for_each(|opened| opened.read_tasks(clock::monotonic_ns(), &mut Told(watcher)));
    let mut scene = Scene {
        source: &mut source,
        process,
        space: &space,
        stacks: &mut stacks,
        started_ns: 0,
        log: &mut Told(watcher),
    };
    collectors.iter_mut().try_for_each(|collector| collector.look(&mut scene))?;
    stacks.take_new(|frame| naming.names.prepare(&space, frame));
    collectors.iter_mut().try_for_each(|collector| collector.read(&mut source))?;
    let moment = Moment { at_ns: 0, started_ns: 0, counters: &[], gone: false, last: true };
    collectors.iter_mut().for_each(|collector| collector.settle(&moment));
    let mut counters = vec![0; COUNTERS as usize];
    collectors.iter().for_each(|collector| collector.add_counters(&mut counters));
    let collected = collectors.collected();
    let none = |threads: &crate::wait::ThreadSnapshot| threads.threads.is_empty();
    if collected.waits.and_then(|waits| waits.threads.as_ref()).is_none_or(none) || !process.is_alive() {
        return Err(ProcessError::NoSuchProcess(process.pid).into());
    }
    let rss = process.rss_bytes();
    let code = Code { stacks: &stacks, space: &space, naming: &mut naming };
    let mut report = build(Inputs {
        host,
        memory: memory(rss, rss),
        collected,
        costs: Costs { counters: &counters, recursion_misses: 0, lost: &lost, own: usage::own(0) },
        ..Inputs::new(process, runtimes.observed(), &started_at, code)
    });
    report.overhead.meter = Meter::new(|| usage::own(0));
    watcher.report(&report)?;
    for note in naming.names.notes() {
        watcher.detail(&note);
    }
    Ok(())
}
