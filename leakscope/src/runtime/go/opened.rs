//! A Go process that is read: how, and what was read of it last.

use std::rc::Rc;
use std::time::Instant;

use super::aggregate::{GoHeapAggregate, GoHeapSnapshot, GoroutineAggregate, GoroutineSites};
use super::attach::{self, GoTraced};
use super::creations::{self, GoCreation};
use super::error::GoError;
use super::goroutine_reader::GoroutineReader;
use super::heap::follow::GoHeapWatch;
use super::heap::{self, spans};
use super::mem_stats::{MemoryAccount, MemoryWatch};
use super::named::{GoCode, GoNames};
use super::program::{self, LayoutSource, Program};
use super::rows;
use crate::bpf::BpfError;
use crate::bpf::go::HEAP_MAPS;
use crate::bpf::object::{Load, Object};
use crate::collect::{OwnRows, Tracing};
use crate::human;
use crate::process::{AddressSpace, ModuleId};
use crate::runtime::{self, Log, Opened, Probing, Runtime as _};
use crate::symbol::NamesCode;

/// What a report is told of a Go program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed<'a> {
    /// The program that its frames are of.
    pub code: GoCode<'a>,
    /// Settings of the build, by name.
    pub settings: &'a [(String, String)],
    /// The goroutines; `None` if they were not read.
    pub snapshot: Option<&'a GoroutineSites>,
    /// Goroutines by the statement that created them; `None` where that was not traced.
    pub creations: Option<&'a [GoCreation]>,
    /// Why they could not be read; beside a snapshot, why that is not of this moment.
    pub refused: Option<&'a str>,
    /// The heap, where it was read.
    pub heap: Option<&'a GoHeapSnapshot>,
    /// The runtime's own account of its memory, where it was read.
    pub memory: Option<&'a MemoryAccount>,
    /// Why it was not.
    pub memory_refused: Option<&'a str>,
}

/// What there is to say of a Go program before it is read; `None` if the target is none.
pub(super) fn describe(pid: u32, space: &AddressSpace) -> Option<String> {
    let program::Found { info, program, .. } = program::find(pid, space, LayoutSource::Best)?;
    let module =
        info.module.as_ref().map(|(path, version)| format!(", {path} {version}")).unwrap_or_default();
    let cgo = if info.cgo() { ", may call C" } else { "" };
    let read = program.and_then(|program| program.all_goroutines().map(|_| ()));
    let read = read.map_or_else(
        |why| format!("its goroutines cannot be read: {why}"),
        |()| "its goroutines can be read".to_owned(),
    );
    Some(format!("Go: {}{module}{cgo}; {read}", info.version))
}

/// A Go program under observation.
#[derive(Debug)]
pub(super) struct GoProcess {
    module: ModuleId,
    program: Result<Rc<Program>, GoError>,
    version: String,
    main_module: Option<String>,
    settings: Vec<(String, String)>,
    reader: GoroutineReader,
    aggregate: GoroutineAggregate,
    last: Option<GoroutineSites>,
    /// When they were read.
    read_ns: Option<u64>,
    /// Why goroutines could not be read, the last time.
    refused: Option<String>,
    /// What is traced of its runtime.
    traced: GoTraced,
    /// Follows the samples of its heap.
    sampling: Option<GoHeapWatch>,
    heap_aggregate: GoHeapAggregate,
    heap: Option<GoHeapSnapshot>,
    /// Goroutines by the statement that created them, since recording began.
    creations: Vec<GoCreation>,
    memory: MemoryWatch,
}

impl GoProcess {
    /// Finds out whether the target is a Go program.
    pub(super) fn find(
        pid: u32,
        space: &AddressSpace,
        layouts: LayoutSource,
        log: &mut dyn Log,
    ) -> Option<Self> {
        let begun = Instant::now();
        let found = program::find(pid, space, layouts)?;
        let refused = found.program.as_ref().err().map(ToString::to_string);
        log.detail(&format!(
            "a {} program, {} in {:.1} ms",
            found.info.version,
            if refused.is_none() { "its tables found" } else { "not read" },
            begun.elapsed().as_secs_f64() * 1e3
        ));
        let main_module = found.info.module.map(|(path, _)| path).or(found.info.path);
        Some(Self {
            module: found.module,
            program: found.program.map(Rc::new),
            version: found.info.version,
            aggregate: GoroutineAggregate::of(main_module.as_deref()),
            main_module,
            settings: found.info.settings.into_iter().collect(),
            reader: GoroutineReader::default(),
            last: None,
            read_ns: None,
            refused,
            traced: GoTraced::default(),
            sampling: None,
            heap_aggregate: GoHeapAggregate::default(),
            heap: None,
            creations: Vec::new(),
            memory: MemoryWatch::of(pid),
        })
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
}

impl Opened for GoProcess {
    fn rows(&self) -> Option<OwnRows> {
        rows::build(self.program.as_ref().ok()?, self.module)
    }

    fn names(&self) -> Option<(ModuleId, Box<dyn NamesCode>)> {
        let program = self.program.as_ref().ok()?;
        Some((self.module, Box::new(GoNames::new(Rc::clone(program)))))
    }

    fn load(&self, tracing: Tracing) -> Load {
        let maps = if tracing.heap { HEAP_MAPS.to_vec() } else { Vec::new() };
        Load { maps, ..Load::default() }
    }

    fn attach(&mut self, probing: &mut Probing<'_>, log: &mut dyn Log) -> Result<(), BpfError> {
        let Ok(program) = &self.program else { return Ok(()) };
        let module = probing.space.module(self.module);
        self.traced = attach::attach(probing, program, module, log)?;
        if self.traced.heap
            && let Ok(heap) = spans::find(program)
        {
            let samples = probing.object.take_go_samples()?;
            let windows = attach::windows(probing, program, module, log);
            match GoHeapWatch::start(probing.process.through, heap, samples, windows) {
                Ok(sampling) => self.sampling = Some(sampling),
                Err(error) => log.warn(&format!("the Go heap is not followed: {error}")),
            }
        }
        // As near as can be to where the resident set is noted.
        self.memory.read(program, log);
        Ok(())
    }

    fn read_tasks(&mut self, now_ns: u64, log: &mut dyn Log) {
        let Ok(program) = &self.program else { return };
        self.memory.read(program, log);
        let begun = Instant::now();
        match self.reader.read(program, now_ns) {
            Ok(snapshot) => {
                log.detail(&format!(
                    "{} goroutines in {:.1} ms, {} stacks, {} read again",
                    snapshot.goroutines.len(),
                    begun.elapsed().as_secs_f64() * 1e3,
                    snapshot.stacks.len(),
                    snapshot.retried
                ));
                self.read_ns = Some(snapshot.at_ns);
                self.last = Some(self.aggregate.sites(&snapshot));
                self.refused = None;
            }
            Err(error) => self.refused = Some(error.to_string()),
        }
    }

    fn read_heap(&mut self, object: &Object, tracing: Tracing, log: &mut dyn Log) {
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
        let begun = Instant::now();
        let estimates = self.sampling.as_ref().and_then(GoHeapWatch::estimates);
        let heap = match &estimates {
            Some(estimates) => heap::sampled(program, frames, estimates, |number| object.go_stack(number)),
            None => heap::read(program, frames),
        };
        match heap {
            Ok(heap) => {
                log.detail(&format!(
                    "the Go heap in {:.1} ms, {} sites, {} bytes in use",
                    begun.elapsed().as_secs_f64() * 1e3,
                    heap.sites.len(),
                    heap.heap_in_use_bytes
                ));
                self.heap = Some(self.heap_aggregate.snapshot(heap));
            }
            Err(error) => log.detail(&format!("the Go heap cannot be read: {error}")),
        }
    }

    fn ended(&mut self, at_ns: u64) {
        if let Some(read_ns) = self.read_ns.filter(|_| self.last.is_some()) {
            let before = human::duration(at_ns.saturating_sub(read_ns));
            self.refused = Some(format!("the process has ended, and this is what they did {before} before"));
        }
    }

    fn observe<'a>(&'a self, into: &mut runtime::Observed<'a>) {
        if into.runtime.name() == super::Go.name() {
            into.version = Some(&self.version);
        }
        into.go = Some(Observed {
            code: self.code(),
            settings: &self.settings,
            snapshot: self.last.as_ref(),
            creations: self.traced.goroutines.then_some(&*self.creations),
            refused: self.refused.as_deref(),
            heap: self.heap.as_ref(),
            memory: self.memory.account(),
            memory_refused: self.memory.refused(),
        });
    }
}
