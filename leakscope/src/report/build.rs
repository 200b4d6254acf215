//! Makes a report from what was observed.

use leakscope_common::counter::Tally;
use leakscope_common::unwind::StackEnd;

use super::headline::{self, Visibility};
use super::heap::{self, HeapInputs};
use super::model::{EndedBy, Memory, Overhead, Report, SCHEMA, Summary, Target, Threads, Window};
use super::names::Names;
use super::wait_headline;
use super::waits::{NamedStack, WaitInputs};
use crate::ledger::losses;
use crate::ledger::waits::Creation;
use crate::stack::{Stack, StackId, Stacks};
use crate::symbol::{BlameInput, blame};
use crate::target::{AddressSpace, Process};

/// What a report is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The target.
    pub process: &'a Process,
    /// When recording began, RFC 3339.
    pub started_at: &'a str,
    /// Length of the account; 0 for a look at one moment.
    pub duration_ns: u64,
    /// Why it ended; `None` if it goes on.
    pub ended_by: Option<EndedBy>,
    /// Whether the main thread ended and others went on.
    pub leader_gone: bool,
    /// Resident set at the start.
    pub rss_start: Option<u64>,
    /// Resident set at the end.
    pub rss_end: Option<u64>,
    /// The account of the heap.
    pub heap: Option<HeapInputs<'a>>,
    /// Blocked threads.
    pub waits: Option<WaitInputs<'a>>,
    /// Threads that came and went; their sites are filled in here.
    pub threads: Option<Threads>,
    /// Threads by creating stack.
    pub creations: &'a [Creation],
    /// Counters by number.
    pub counters: &'a [u64],
    /// Times the kernel skipped a program.
    pub recursion_misses: u64,
    /// What was lost outside of the kernel side, by name.
    pub lost: &'a [(&'static str, u64)],
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
/// Cost of a wait or a wake-up without its stack, ns.
const WAIT_NS: u64 = 300;

/// Builds the report.
pub fn build(inputs: Inputs<'_>) -> Report {
    let Inputs { space, stacks, names, .. } = inputs;
    let mut name = |id: StackId| stacks.get(id).map(|stack| named(stack, space, names));
    let mut lost = losses::named(inputs.counters, inputs.recursion_misses);
    lost.extend(inputs.lost.iter().filter(|(_, n)| *n > 0).map(|(name, n)| ((*name).to_owned(), *n)));
    let nothing_lost = |spoils: fn(&str) -> bool| !lost.keys().any(|name| spoils(name));
    let (heap_whole, waits_whole) = (nothing_lost(losses::spoils_heap), nothing_lost(losses::spoils_waits));

    let heap = inputs
        .heap
        .map(|input| (input, heap::heap(&input, heap_whole, inputs.ended_by.is_some(), &mut name)));
    let waits = inputs.waits.map(|input| {
        super::waits::build(
            &WaitInputs { nothing_lost: input.nothing_lost && waits_whole, ..input },
            &mut name,
        )
    });
    let mut threads = inputs.threads;
    if let Some(threads) = &mut threads {
        threads.sites = super::waits::thread_sites(inputs.creations, &mut name);
    }
    let missing = heap.iter().flat_map(|(_, h)| &h.sites).filter(|s| s.frames.is_empty()).count()
        + waits.iter().flat_map(|w| &w.sites).filter(|s| s.stack_end.is_none()).count();
    if missing > 0 {
        lost.insert(losses::STACKS_MISSING.to_owned(), missing as u64);
    }

    let mut memory =
        Memory { rss_start_bytes: inputs.rss_start, rss_end_bytes: inputs.rss_end, untraced_reason: None };
    let cost = Cost::of(inputs.counters);
    let mut findings = findings(inputs.ended_by, inputs.leader_gone, &cost);
    let mut headline = None;
    if let Some((input, heap)) = &heap {
        let visibility = Visibility { hits: cost.hits, ..input.visibility };
        if input.min_age_ns == 0 {
            memory.untraced_reason = headline::untraced(&memory, heap.totals.live_bytes, visibility);
        }
        // Where probes saw something, what they saw is the answer, and the rest comes second.
        let blind = cost.hits == 0;
        let reason = memory.untraced_reason.clone();
        headline = Some(headline::heap(heap, input.min_age_ns, reason.as_deref().filter(|_| blind)));
        findings.splice(0..0, reason.filter(|_| !blind));
    }
    if let Some(waits) = &waits {
        // What is stuck is the answer; else what holds the memory; else that all is well.
        let stuck = wait_headline::waits(waits);
        let calm = stuck.is_none().then(|| wait_headline::waits_idle(waits));
        let second = match (stuck, headline.take()) {
            (Some(stuck), heap) => {
                headline = Some(stuck);
                heap
            }
            (None, Some(heap)) => {
                headline = Some(heap);
                calm.filter(|_| waits.threads > 0)
            }
            (None, None) => {
                headline = calm;
                None
            }
        };
        findings.splice(0..0, second.into_iter().chain(wait_headline::findings(waits)));
    }
    let summary = Summary { headline: headline.unwrap_or_default(), findings };
    let slow = heap.as_ref().is_some_and(|(input, _)| input.slow_probes > 0);
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
        heap: heap.map(|(_, heap)| heap),
        waits,
        threads,
        losses: lost,
        overhead: cost.overhead(inputs.cpu_ns, inputs.memory_bytes, slow),
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

/// A stack with its names.
fn named(stack: &Stack, space: &AddressSpace, names: &mut Names) -> NamedStack {
    let frames: Vec<_> = stack.frames.iter().flat_map(|f| names.frames(space, f)).collect();
    let inputs: Vec<BlameInput<'_>> = frames
        .iter()
        .map(|f: &super::model::Frame| BlameInput {
            function: f.function.as_deref(),
            module: f.module.as_deref(),
            file: f.file.as_deref(),
        })
        .collect();
    let blame = blame(&inputs).map(|i| i as u64);
    NamedStack { frames, blame, end: end(stack).to_owned() }
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
        StackEnd::NoReturnAddress => "a return address of 0",
    }
}

fn findings(ended_by: Option<EndedBy>, leader_gone: bool, cost: &Cost) -> Vec<String> {
    let mut findings = Vec::new();
    match ended_by {
        Some(EndedBy::TargetExit) if leader_gone => findings.push(
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
    if cost.stacks > cost.stacks_root {
        let share = cost.stacks_root as f64 * 100.0 / cost.stacks as f64;
        findings.push(format!("{share:.2} % of the stacks reached the thread's first function."));
    }
    findings
}

/// What the kernel side did in the target.
struct Cost {
    hits: u64,
    single_steps: u64,
    waits: u64,
    stacks: u64,
    stacks_root: u64,
}

impl Cost {
    fn of(counters: &[u64]) -> Self {
        let counter = |t: Tally| counters.get(t as usize).copied().unwrap_or(0);
        let of_end =
            |end: StackEnd| counters.get(Tally::StackEnd0 as usize + end as usize).copied().unwrap_or(0);
        Self {
            hits: counter(Tally::AllocEntries) + counter(Tally::AllocReturns) + counter(Tally::Frees),
            single_steps: counter(Tally::RetInstructions),
            waits: counter(Tally::Waits) + counter(Tally::Wakes),
            stacks: StackEnd::ALL.iter().map(|end| of_end(*end)).sum(),
            stacks_root: of_end(StackEnd::Root),
        }
    }

    fn overhead(&self, cpu_ns: u64, memory_bytes: Option<u64>, slow: bool) -> Overhead {
        let slow = if slow { "; more where an entry is single-stepped" } else { "" };
        Overhead {
            probe_hits: self.hits,
            leakscope_cpu_ns: cpu_ns,
            estimated_target_cpu_ns: self.hits * EMULATED_HIT_NS
                + self.stacks * STACK_NS
                + self.waits * WAIT_NS
                + self.single_steps * SINGLE_STEP_NS,
            method: format!(
                "estimated at 0.9 us a hit, 14 us more a single-stepped return, 0.9 us a stack, 0.3 us a wait or \
                 wake-up{slow}"
            ),
            stacks: self.stacks,
            stacks_root: self.stacks_root,
            leakscope_memory_bytes: memory_bytes,
        }
    }
}
