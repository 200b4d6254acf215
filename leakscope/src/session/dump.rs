//! One look at the threads of a process: nothing is traced.

use super::go::GoTarget;
use super::modules::{self, address_space};
use super::prepare::Unwinding;
use super::{Watcher, clock, threads, usage};
use crate::bpf::attach::Links;
use crate::bpf::object::{Object, Sizes};
use crate::collect::heap::Sort;
use crate::collect::snapshot::View;
use crate::failure::Failure;
use crate::process::{Host, Process, ProcessError};
use crate::report::build::{Inputs, build};
use crate::report::names::Names;
use crate::runtime::go::program::LayoutSource;
use crate::section::waits::build::WaitInputs;
use crate::stack::Stacks;

/// Looks at the threads of `process`, which [`super::check_threads`] has passed, and reports once.
pub fn dump(process: &Process, layouts: LayoutSource, watcher: &mut dyn Watcher) -> Result<(), Failure> {
    usage::raise_file_limit();
    let mut space = address_space(process)?;
    let host = Host::of(process, &space);
    if let Some(host) = host {
        watcher.warn(&host.sentence());
    }
    let mut go = GoTarget::find(process.through, &space, layouts, watcher);
    let (unwinding, ..) = Unwinding::build(&space, go.as_ref(), watcher);
    space.forget_caches();
    let mut object = Object::load(process.pid, Sizes::CENSUS, None, Links::Perf, false)?;
    watcher.detail("BPF programs loaded");
    let started_at = clock::rfc3339_now();
    let mappings = unwinding.mappings(&space);
    let view = View { pid: process.through, space: &space, mappings: &mappings, table: &unwinding.table };
    let mut stacks = Stacks::default();
    let mut names = Names::new(modules::debug_search(process.through, watcher));
    if let Some(go) = &mut go {
        go.name(&mut names);
        go.look(watcher);
    }
    let begun = std::time::Instant::now();
    let seen = threads::census(&mut object, view, &mut stacks, &mut names)?;
    if seen.taken.census.threads.is_empty() || !process.is_alive() {
        return Err(ProcessError::NoSuchProcess(process.pid).into());
    }
    watcher.detail(&format!(
        "{} threads in {:.1} ms, {} stacks",
        seen.taken.census.threads.len(),
        begun.elapsed().as_secs_f64() * 1e3,
        stacks.len()
    ));
    let rss = process.rss_bytes();
    let report = build(Inputs {
        process,
        host,
        started_at: &started_at,
        duration_ns: 0,
        ended_by: None,
        leader_gone: false,
        rss_start: rss,
        rss_end: rss,
        heap: None,
        waits: Some(WaitInputs {
            census: Some(&seen.taken.census),
            window: None,
            started_ns: seen.taken.census.at_ns,
            at_ns: seen.taken.census.at_ns,
            nothing_lost: true,
            processors: usage::processors(),
        }),
        go: go.as_ref().map(|go| go.inputs(Sort::default())),
        threads: None,
        creations: &[],
        counters: &seen.counters,
        recursion_misses: 0,
        lost: &unwinding.losses(),
        cpu_ns: usage::cpu_ns(),
        memory_bytes: usage::rss_bytes(),
        stacks: &stacks,
        space: &space,
        names: &mut names,
    });
    watcher.report(&report)?;
    for note in names.notes() {
        watcher.detail(&note);
    }
    Ok(())
}
