//! What a session keeps of a Go target: how it is read, and what was seen of it last.

use std::rc::Rc;

use super::go_heap::GoHeapWatch;
use super::go_probes::{self, GoTraced};
use super::{Watcher, clock};
use crate::bpf::BpfError;
use crate::bpf::attach::Attached;
use crate::bpf::object::{Object, Tracing};
use crate::collect::heap::Sort;
use crate::human;
use crate::process::{AddressSpace, ModuleId, Process};
use crate::report::build::GoInputs;
use crate::report::names::Names;
use crate::runtime::go::aggregate::{GoHeapAggregate, GoHeapSnapshot, GoroutineAggregate, GoroutineSnapshot};
use crate::runtime::go::creations::{self, GoCreation};
use crate::runtime::go::error::GoError;
use crate::runtime::go::goroutines::Reader;
use crate::runtime::go::heap::{self, spans};
use crate::runtime::go::program::{self, LayoutSource, Program};
use crate::runtime::go::rows::{self, GoRows};
use crate::section::go_frames::GoCode;
use crate::section::heap::go::GoHeapInputs;

/// What there is to say of a Go program before it is looked at; `None` if the target is none.
pub fn describe(pid: u32, space: &AddressSpace) -> Option<String> {
    let program::Found { info, program, .. } = program::find(pid, space, LayoutSource::Best)?;
    let module =
        info.module.as_ref().map(|(path, version)| format!(", {path} {version}")).unwrap_or_default();
    let cgo = if info.cgo() { ", may call C" } else { "" };
    let read = program.and_then(|program| program.all_goroutines().map(|_| ()));
    let read = read.map_or_else(
        |why| format!("its goroutines cannot be read: {why}"),
        |()| "its goroutines can be read".to_owned(),
    );
    Some(format!("{}{module}{cgo}; {read}", info.version))
}

/// A Go program under observation.
#[derive(Debug)]
pub(super) struct GoTarget {
    module: ModuleId,
    program: Result<Rc<Program>, GoError>,
    version: String,
    main_module: Option<String>,
    settings: Vec<(String, String)>,
    reader: Reader,
    aggregate: GoroutineAggregate,
    last: Option<GoroutineSnapshot>,
    /// When they were looked at.
    looked_ns: Option<u64>,
    /// Why goroutines could not be read, the last time.
    refused: Option<String>,
    /// What is traced of its runtime.
    traced: GoTraced,
    /// Follows the samples of its heap.
    sampling: Option<GoHeapWatch>,
    heap_ledger: GoHeapAggregate,
    heap: Option<GoHeapSnapshot>,
    /// Goroutines by the statement that created them, since recording began.
    creations: Vec<GoCreation>,
}

impl GoTarget {
    /// Finds out whether the target is a Go program.
    pub(super) fn find(
        pid: u32,
        space: &AddressSpace,
        layouts: LayoutSource,
        watcher: &mut dyn Watcher,
    ) -> Option<Self> {
        let begun = std::time::Instant::now();
        let found = program::find(pid, space, layouts)?;
        let refused = found.program.as_ref().err().map(ToString::to_string);
        watcher.detail(&format!(
            "a {} program, {} in {:.1} ms",
            found.info.version,
            if refused.is_none() { "its tables found" } else { "not read" },
            begun.elapsed().as_secs_f64() * 1e3
        ));
        Some(Self {
            module: found.module,
            program: found.program.map(Rc::new),
            version: found.info.version,
            main_module: found.info.module.map(|(path, _)| path).or(found.info.path),
            settings: found.info.settings.into_iter().collect(),
            reader: Reader::default(),
            aggregate: GoroutineAggregate::default(),
            last: None,
            looked_ns: None,
            refused,
            traced: GoTraced::default(),
            sampling: None,
            heap_ledger: GoHeapAggregate::default(),
            heap: None,
            creations: Vec::new(),
        })
    }

    /// Has its code named by its own tables.
    pub(super) fn name(&self, names: &mut Names) {
        if let Ok(program) = &self.program {
            names.use_go(self.module, Rc::clone(program));
        }
    }

    /// The unwind rows of its code, and the file that they are of.
    pub(super) fn rows(&self) -> Option<(ModuleId, GoRows)> {
        Some((self.module, rows::build(self.program.as_ref().ok()?)?))
    }

    /// Looks at all goroutines. What was seen before is kept if they cannot be read (any more).
    pub(super) fn look(&mut self, watcher: &mut dyn Watcher) {
        let Ok(program) = &self.program else { return };
        let begun = std::time::Instant::now();
        match self.reader.take(program, clock::monotonic_ns()) {
            Ok(census) => {
                watcher.detail(&format!(
                    "{} goroutines in {:.1} ms, {} stacks, {} read again",
                    census.goroutines.len(),
                    begun.elapsed().as_secs_f64() * 1e3,
                    census.stacks.len(),
                    census.retried
                ));
                self.looked_ns = Some(census.at_ns);
                self.last = Some(self.aggregate.snapshot(&census));
                self.refused = None;
            }
            Err(error) => self.refused = Some(error.to_string()),
        }
    }

    /// The target has ended: what was seen last is all there is.
    pub(super) fn gone(&mut self, at_ns: u64) {
        if let Some(looked_ns) = self.looked_ns.filter(|_| self.last.is_some()) {
            let before = human::duration(at_ns.saturating_sub(looked_ns));
            self.refused = Some(format!("the process has ended, and this is what they did {before} before"));
        }
    }

    /// The program that frames are of.
    fn code(&self) -> GoCode<'_> {
        let main_module = self.main_module.as_deref();
        let Ok(program) = &self.program else { return GoCode { main_module, ..GoCode::default() } };
        GoCode {
            file: Some(&program.path),
            build_id: program.build_id.as_deref(),
            bias: program.bias,
            text: program.parts.first().map_or((0, 0), |part| part.text),
            main_module,
        }
    }

    /// What the report is told.
    pub(super) fn inputs(&self, sort: Sort) -> GoInputs<'_> {
        GoInputs {
            version: &self.version,
            code: self.code(),
            settings: &self.settings,
            snapshot: self.last.as_ref(),
            creations: self.traced.goroutines.then_some(&*self.creations),
            refused: self.refused.as_deref(),
            heap: self.heap.as_ref().map(|snapshot| GoHeapInputs { snapshot, sort }),
        }
    }

    /// Attaches the probes in its runtime, and begins to follow its heap.
    pub(super) fn attach(
        &mut self,
        object: &mut Object,
        attached: &mut Attached,
        process: &Process,
        space: &AddressSpace,
        tracing: Tracing,
        watcher: &mut dyn Watcher,
    ) -> Result<(), BpfError> {
        let Ok(program) = &self.program else { return Ok(()) };
        let module = space.module(self.module);
        self.traced = go_probes::attach(object, attached, process.pid, (program, module), tracing, watcher)?;
        if self.traced.heap
            && let Ok(heap) = spans::find(program)
        {
            let samples = object.take_go_samples()?;
            match GoHeapWatch::start(process.through, heap, samples) {
                Ok(sampling) => self.sampling = Some(sampling),
                Err(error) => watcher.warn(&format!("the Go heap is not followed: {error}")),
            }
        }
        Ok(())
    }

    /// Looks at the heap, and at how many goroutines came and went. What was seen before is kept if they
    /// cannot be read (any more).
    pub(super) fn look_at_heap(&mut self, object: &Object, tracing: Tracing, watcher: &mut dyn Watcher) {
        let Ok(program) = &self.program else { return };
        let frames = self.reader.frames();
        if self.traced.goroutines
            && let Ok(totals) = object.goroutine_totals()
        {
            self.creations = creations::named(program, frames, &totals);
        }
        if !tracing.heap {
            return;
        }
        let begun = std::time::Instant::now();
        let estimates = self.sampling.as_ref().and_then(GoHeapWatch::estimates);
        let heap = match &estimates {
            Some(estimates) => heap::sampled(program, frames, estimates, |number| object.go_stack(number)),
            None => heap::read(program, frames),
        };
        match heap {
            Ok(heap) => {
                watcher.detail(&format!(
                    "the Go heap in {:.1} ms, {} sites, {} bytes in use",
                    begun.elapsed().as_secs_f64() * 1e3,
                    heap.sites.len(),
                    heap.heap_in_use_bytes
                ));
                self.heap = Some(self.heap_ledger.snapshot(heap));
            }
            Err(error) => watcher.detail(&format!("the Go heap cannot be read: {error}")),
        }
    }
}
