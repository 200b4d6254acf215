//! Makes a report from what was observed.

use leakscope_common::counter::Tally;
use leakscope_common::unwind::StackEnd;

use super::headline::{self, Visibility};
use super::model::{
    EndedBy, Heap, Memory, Overhead, Report, SCHEMA, Site, Source, Summary, Target, Threads, Totals, Window,
};
use super::names::Names;
use crate::ledger::{HeapSnapshot, SiteSnapshot, losses};
use crate::stack::{Stack, Stacks};
use crate::symbol::{BlameInput, blame};
use crate::target::{AddressSpace, Process};

/// What a report is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The target.
    pub process: &'a Process,
    /// When recording began, RFC 3339.
    pub started_at: &'a str,
    /// Length of the account.
    pub duration_ns: u64,
    /// Why it ended; `None` if it goes on.
    pub ended_by: Option<EndedBy>,
    /// Resident set at the start.
    pub rss_start: Option<u64>,
    /// Resident set at the end.
    pub rss_end: Option<u64>,
    /// The account.
    pub heap: &'a HeapSnapshot,
    /// Blocks younger than this were left out.
    pub min_age_ns: u64,
    /// Counters by number.
    pub counters: &'a [u64],
    /// Times the kernel skipped a program.
    pub recursion_misses: u64,
    /// Probes that could not be attached.
    pub probes_failed: u64,
    /// Files with an allocator that were loaded while recording.
    pub loaded_late: u64,
    /// Files whose unwind rows are not complete.
    pub rows_incomplete: u64,
    /// Whether the main thread ended and others went on.
    pub leader_gone: bool,
    /// Functions that can return where no probe is.
    pub exits_unseen: u64,
    /// Files whose unwind rows did not fit.
    pub rows_lost: u64,
    /// Mappings that did not fit.
    pub mappings_lost: u64,
    /// Functions whose probes are single-stepped.
    pub slow_probes: usize,
    /// Threads that came and went.
    pub threads: Threads,
    /// What the probes could see; the hits are filled in here.
    pub visibility: Visibility<'a>,
    /// CPU time of leakscope.
    pub cpu_ns: u64,
    /// Memory of leakscope, the kernel side's maps included.
    pub memory_bytes: Option<u64>,
    /// Stacks seen.
    pub stacks: &'a Stacks,
    /// Where code lies.
    pub space: &'a AddressSpace,
    /// Names of code.
    pub names: &'a mut Names,
}

/// Cost of a probe hit whose instruction the kernel emulates, ns.
const EMULATED_HIT_NS: u64 = 900;
/// Extra cost of one whose instruction it single-steps, ns.
const SINGLE_STEP_NS: u64 = 14_000;
/// Cost of taking a stack, ns.
const STACK_NS: u64 = 900;

/// Builds the report.
pub fn build(mut inputs: Inputs<'_>) -> Report {
    let counter = |t: Tally| inputs.counters.get(t as usize).copied().unwrap_or(0);
    let hits = counter(Tally::AllocEntries) + counter(Tally::AllocReturns) + counter(Tally::Frees);
    let (stacks, stacks_root) = (counter(Tally::Stacks), counter(Tally::StacksRoot));
    let sites: Vec<Site> =
        inputs.heap.sites.iter().zip(1..).map(|(snapshot, rank)| site(snapshot, rank, &mut inputs)).collect();

    let mut lost = losses::named(inputs.counters, inputs.recursion_misses);
    let mut lose = |name: &str, n: u64| {
        if n > 0 {
            lost.insert(name.to_owned(), n);
        }
    };
    lose(losses::STACKS_MISSING, sites.iter().filter(|s| s.frames.is_empty()).count() as u64);
    lose(losses::ROWS_FULL, inputs.rows_lost);
    lose(losses::MAPPINGS_FULL, inputs.mappings_lost);
    lose(losses::PROBES_FAILED, inputs.probes_failed);
    lose(losses::LOADED_LATE, inputs.loaded_late);
    lose(losses::ROWS_INCOMPLETE, inputs.rows_incomplete);
    lose(losses::EXITS_UNSEEN, inputs.exits_unseen);

    let heap = heap(&inputs, sites, !lost.keys().any(|name| losses::spoils_heap(name)));
    let mut memory =
        Memory { rss_start_bytes: inputs.rss_start, rss_end_bytes: inputs.rss_end, untraced_reason: None };
    let visibility = Visibility { hits, ..inputs.visibility };
    if inputs.min_age_ns == 0 {
        memory.untraced_reason = headline::untraced(&memory, heap.totals.live_bytes, visibility);
    }
    // Where probes saw something, what they saw is the answer, and the rest comes second.
    let blind = hits == 0;
    let mut findings = findings(&inputs, stacks, stacks_root);
    let reason = memory.untraced_reason.clone();
    let headline = headline::heap(&heap, inputs.min_age_ns, reason.as_deref().filter(|_| blind));
    findings.splice(0..0, reason.filter(|_| !blind));
    let summary = Summary { headline, findings };
    Report {
        schema: SCHEMA.to_owned(),
        leakscope_version: env!("CARGO_PKG_VERSION").to_owned(),
        target: target(inputs.process),
        window: Window {
            started_at: inputs.started_at.to_owned(),
            duration_ns: inputs.duration_ns,
            ended_by: inputs.ended_by,
        },
        memory,
        summary,
        heap: Some(heap),
        waits: None,
        threads: Some(inputs.threads.clone()),
        losses: lost,
        overhead: overhead(&inputs, hits, stacks, stacks_root),
    }
}

fn target(process: &Process) -> Target {
    Target {
        pid: process.pid,
        comm: process.comm.clone(),
        exe: process.exe.as_ref().map(|p| p.display().to_string()),
        cmdline: process.cmdline.clone(),
        runtime: "native".to_owned(),
        runtime_version: None,
        container: process.container.clone(),
    }
}

fn heap(inputs: &Inputs<'_>, sites: Vec<Site>, nothing_lost: bool) -> Heap {
    let snapshot = inputs.heap;
    let exact = nothing_lost && inputs.ended_by.is_some() && inputs.visibility.probes > 0;
    let mut method = String::from("every call of the allocator's functions was counted");
    if inputs.visibility.probes == 0 {
        method = "no allocator function was found, so nothing was counted".to_owned();
    } else if inputs.ended_by.is_none() {
        method = "every call is counted; the numbers were read while the target ran, so they can be off by the calls of that moment".to_owned();
    } else if !nothing_lost {
        method = "calls were counted, but some were lost: see the losses".to_owned();
    }
    if inputs.min_age_ns > 0 {
        method.push_str("; only blocks of the asked age count as live");
    }
    Heap {
        exact,
        sources: vec![Source { name: "malloc".to_owned(), exact, method, error_bytes: exact.then_some(0) }],
        totals: Totals {
            live_bytes: snapshot.live_bytes,
            live_objects: snapshot.live_objects,
            alloc_bytes: snapshot.alloc_bytes,
            alloc_objects: snapshot.alloc_objects,
            free_objects: snapshot.free_objects,
            unknown_frees: snapshot.unknown_frees,
            growth_bytes: snapshot.growth_bytes,
        },
        sites,
    }
}

fn site(snapshot: &SiteSnapshot, rank: u64, inputs: &mut Inputs<'_>) -> Site {
    let stack = snapshot.stack.and_then(|id| inputs.stacks.get(id));
    let frames: Vec<_> = stack
        .map(|s| s.frames.iter().flat_map(|f| inputs.names.frames(inputs.space, f)).collect())
        .unwrap_or_default();
    let inputs_for_blame: Vec<BlameInput<'_>> = frames
        .iter()
        .map(|f: &super::model::Frame| BlameInput {
            function: f.function.as_deref(),
            module: f.module.as_deref(),
            file: f.file.as_deref(),
        })
        .collect();
    let blame = blame(&inputs_for_blame).map(|i| i as u64);
    Site {
        site_id: format!("{:016x}", snapshot.stack.map_or(0, |s| s.0)),
        rank,
        source: "malloc".to_owned(),
        live_bytes: snapshot.live_bytes,
        live_objects: snapshot.live_objects,
        alloc_bytes: snapshot.alloc_bytes,
        alloc_objects: snapshot.alloc_objects,
        growth_bytes: snapshot.growth_bytes,
        oldest_age_ns: snapshot.oldest_age_ns,
        youngest_age_ns: snapshot.youngest_age_ns,
        blame,
        frames,
        stack_end: stack.map(|s| end(s).to_owned()),
    }
}

/// Why a stack ended, as the report says it.
fn end(stack: &Stack) -> &'static str {
    match stack.end {
        StackEnd::Root => "root",
        StackEnd::Truncated => "more than 127 frames",
        StackEnd::NoMapping => "an address in no known code",
        StackEnd::NoRows => "code without unwind information",
        StackEnd::Unsupported => "an unwind rule that is not supported",
        StackEnd::ReadFault => "the stack could not be read",
        StackEnd::NotAbove => "the next frame does not lie above",
        StackEnd::Trampoline => "a return probe of another tracer",
    }
}

fn findings(inputs: &Inputs<'_>, stacks: u64, stacks_root: u64) -> Vec<String> {
    let mut findings = Vec::new();
    match inputs.ended_by {
        Some(EndedBy::TargetExit) if inputs.leader_gone => findings.push(
            "The target's main thread ended while others go on; the kernel ties the probes to it, so this is what \
             the target held then."
                .to_owned(),
        ),
        Some(EndedBy::TargetExit) => {
            findings.push("The target has ended; this is what it held at its end.".to_owned())
        }
        Some(EndedBy::Exec) => {
            findings.push("The target replaced its program (exec); this is what it held before.".to_owned());
        }
        Some(EndedBy::Duration | EndedBy::Interrupt) | None => {}
    }
    if stacks > stacks_root {
        let share = stacks_root as f64 * 100.0 / stacks as f64;
        findings.push(format!("{share:.2} % of the stacks reached the thread's first function."));
    }
    findings
}

fn overhead(inputs: &Inputs<'_>, hits: u64, stacks: u64, stacks_root: u64) -> Overhead {
    let single_steps = inputs.counters.get(Tally::RetInstructions as usize).copied().unwrap_or(0);
    let slow = if inputs.slow_probes > 0 { "; more where an entry is single-stepped" } else { "" };
    Overhead {
        probe_hits: hits,
        leakscope_cpu_ns: inputs.cpu_ns,
        estimated_target_cpu_ns: hits * EMULATED_HIT_NS + stacks * STACK_NS + single_steps * SINGLE_STEP_NS,
        method: format!(
            "estimated at 0.9 us a hit, 14 us more a single-stepped return, 0.9 us a stack{slow}"
        ),
        stacks,
        stacks_root,
        leakscope_memory_bytes: inputs.memory_bytes,
    }
}
