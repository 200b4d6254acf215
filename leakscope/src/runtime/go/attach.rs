//! The probes in the runtime of a Go target.

use leakscope_common::go::{GoPlaces, HEADER, LARGEST_SMALL};
use leakscope_common::probe::Cookie;

use super::heap::{self, spans};
use super::probes::{self, GoEvent, GoProbe};
use super::program::Program;
use super::waits::follow::WaitWatch;
use super::waits::places as waiting;
use crate::bpf::BpfError;
use crate::bpf::attach::ProbeSite;
use crate::bpf::go::{GO_ALLOCATED, GO_CREATED, GO_EXITED, GoWindows};
use crate::process::Module;
use crate::runtime::{Log, Probing};

/// The N of the first Go 1.N in which larger objects with pointers have a header, and the largest ones without
/// (`minSizeForMallocHeader`, `runtime/mbitmap.go`).
const FIRST_WITH_HEADERS: u32 = 22;
const LARGEST_WITHOUT_HEADER: u32 = 512;

/// What is traced of the runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GoTraced {
    /// Goroutines are counted as they are created and as they end.
    pub(super) goroutines: bool,
    /// The heap is sampled.
    pub(super) heap: bool,
    /// Probes that could not be attached.
    pub(super) failed: u64,
}

/// Attaches what can be attached. Only the end of the target is an error.
pub(super) fn attach(
    probing: &mut Probing<'_>,
    program: &Program,
    module: &Module,
    log: &mut dyn Log,
) -> Result<GoTraced, BpfError> {
    let mut traced = GoTraced::default();
    let places = places(program);
    let mut all = Vec::new();
    if probing.tracing.waits {
        let found = probes::goroutines(program);
        if found.len() < 2 {
            log.warn("goroutines are not counted as they come and go: the functions were not found");
        }
        all.extend(found);
    }
    // A program that keeps a profile of itself knows better.
    if probing.tracing.heap && !heap::is_profiled(program).unwrap_or(false) {
        let found = if places.sweep_generation == 0 { Vec::new() } else { probes::heap(program) };
        if found.is_empty() {
            log.warn("the Go heap is not traced: the functions that it grows by were not found");
        }
        all.extend(found);
    }
    if all.is_empty() {
        return Ok(traced);
    }
    if let Err(error) = probing.object.load_go(places, probing.attached.links()) {
        log.warn(&error.to_string());
        traced.failed = all.len() as u64;
        return Ok(traced);
    }
    add(probing, (program, module), &all, &mut traced, log)?;
    Ok(traced)
}

/// Attaches the probes on goroutines in a second runtime, if things lie in it as in the one that the kernel side was
/// told of. Its heap is not sampled: the kernel side follows one.
pub(super) fn attach_beside(
    probing: &mut Probing<'_>,
    target: (&Program, &Module),
    loaded: &Program,
    log: &mut dyn Log,
) -> Result<GoTraced, BpfError> {
    let mut traced = GoTraced::default();
    let same = target.0.layout.created_at == loaded.layout.created_at;
    if probing.tracing.waits && same {
        add(probing, target, &probes::goroutines(target.0), &mut traced, log)?;
    }
    Ok(traced)
}

fn add(
    probing: &mut Probing<'_>,
    (program, module): (&Program, &Module),
    all: &[GoProbe],
    traced: &mut GoTraced,
    log: &mut dyn Log,
) -> Result<(), BpfError> {
    for probe in all {
        log.detail(&format!("{} at {:#x} in {}", probe.function, probe.offset, program.path));
        match probing.attached.add(probing.object, probing.process.pid, &site(probe, module)) {
            Ok(()) if probe.event == GoEvent::Allocated => traced.heap = true,
            Ok(()) => traced.goroutines = true,
            Err(BpfError::TargetGone) => return Err(BpfError::TargetGone),
            Err(error) => {
                log.warn(&error.to_string());
                traced.failed += 1;
            }
        }
    }
    Ok(())
}

/// What opens windows in which small objects are sampled, where that can be done.
pub(super) fn windows(
    probing: &mut Probing<'_>,
    program: &Program,
    module: &Module,
    log: &mut dyn Log,
) -> Option<GoWindows> {
    if !program.offsets_known {
        return None;
    }
    let found = probes::allocators(program);
    let windows = probing.object.take_go_windows(probing.process.pid, &module.probe_path, &found);
    match windows {
        Ok(windows) => windows,
        Err(error) => {
            log.warn(&error.to_string());
            None
        }
    }
}

/// What follows the waits of goroutines, where that can be done. Only the end of the target is an error.
pub(super) fn waits(
    probing: &mut Probing<'_>,
    program: &Program,
    module: &Module,
    log: &mut dyn Log,
) -> Result<Option<WaitWatch>, BpfError> {
    let places = waiting::places(program);
    let Some(settings) = waiting::settings(program).filter(|_| !places.is_empty()) else {
        log.warn("waits of goroutines are not followed: the functions of the runtime were not found");
        return Ok(None);
    };
    let pid = probing.process.pid;
    let probes = match probing.object.take_go_wait_probes(pid, &module.probe_path, &places, &settings) {
        Ok(Some(probes)) => probes,
        Ok(None) => {
            log.detail("waits of goroutines are not followed: this kernel has no multi links");
            return Ok(None);
        }
        Err(BpfError::TargetGone) => return Err(BpfError::TargetGone),
        Err(error) => {
            log.warn(&format!("waits of goroutines are not followed: {error}"));
            return Ok(None);
        }
    };
    match WaitWatch::start(probes, probing.tracing.goroutine_waits) {
        Ok(watch) => {
            log.detail(&format!("{} probes on waits of goroutines", places.len()));
            Ok(Some(watch))
        }
        Err(error) => {
            log.warn(&format!("waits of goroutines are not followed: {error}"));
            Ok(None)
        }
    }
}

fn site(probe: &GoProbe, module: &Module) -> ProbeSite {
    ProbeSite {
        program: match probe.event {
            GoEvent::Created => GO_CREATED,
            GoEvent::Exited => GO_EXITED,
            GoEvent::Allocated => GO_ALLOCATED,
        },
        function: probe.function.to_owned(),
        path: module.probe_path.clone(),
        file: module.path.display().to_string(),
        offset: probe.offset,
        cookie: Cookie(probe.cookie),
    }
}

fn places(program: &Program) -> GoPlaces {
    let offset = |structure, member| {
        program.offsets.find(structure, member).and_then(|o| u32::try_from(o).ok()).unwrap_or(0)
    };
    let headers = program.minor >= FIRST_WITH_HEADERS;
    GoPlaces {
        sweep_generation: spans::find(program).map_or(0, |heap| heap.sweep_generation_address()),
        marking: probes::marking(program).unwrap_or(0),
        g_created_at: program.layout.created_at as u32,
        g_m: program.layout.m as u32,
        m_p: offset("m", "p"),
        span_size: offset("mspan", "__size"),
        span_elements: offset("mspan", "nelems"),
        span_alloc_bits: offset("mspan", "allocBits"),
        p_cache: offset("p", "mcache"),
        cache_tiny: offset("mcache", "tiny"),
        cache_alloc: offset("mcache", "alloc"),
        span_class: offset("mspan", "spanclass"),
        largest_small: if headers { LARGEST_SMALL - HEADER } else { LARGEST_SMALL } as u32,
        largest_without_header: if headers { LARGEST_WITHOUT_HEADER } else { u32::MAX },
    }
}
