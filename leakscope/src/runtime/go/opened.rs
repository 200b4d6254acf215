//! A Go runtime that is read: how, and what was read of it last.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::aggregate::{GoHeapAggregate, GoHeapSnapshot, GoroutineAggregate, GoroutineSites};
use super::attach::{self, GoTraced};
use super::creations::{self, GoCreation};
use super::error::GoError;
use super::goroutine_reader::GoroutineReader;
use super::heap::follow::GoHeapWatch;
use super::heap::{self, places::Places, spans};
use super::held::{self, GoHeld, HeldWatch};
use super::leaked::{self, GoLeaks, LeakWatch};
use super::mem_stats::{MemoryAccount, MemoryWatch};
use super::named::{GoCode, GoFile, GoNames};
use super::program::{self, Found, LayoutSource, Program};
use super::rows::{self, Place};
use super::several::GoRuntimeSeen;
use super::waits::GoWaits;
use super::waits::follow::WaitWatch;
use crate::bpf::BpfError;
use crate::bpf::go::HEAP_MAPS;
use crate::bpf::go_waits::WAIT_MAPS;
use crate::bpf::object::{Load, Object};
use crate::collect::{OwnRows, Tracing};
use crate::human;
use crate::process::{AddressSpace, Location, ModuleId};
use crate::runtime::{Log, Options, Probing};
use crate::symbol::NamesCode;

/// What a report is told of a Go program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed<'a> {
    /// The program that its frames are of.
    pub code: GoCode<'a>,
    /// Settings of the build, by name.
    pub settings: &'a [(String, String)],
    /// GODEBUG, in the environment that the process began with.
    pub godebug: Option<&'a str>,
    /// The goroutines; `None` if they were not read.
    pub snapshot: Option<&'a GoroutineSites>,
    /// What is known of goroutines that can never run again.
    pub leaks: Option<&'a GoLeaks>,
    /// Goroutines by the statement that created them; `None` where that was not traced.
    pub creations: Option<&'a [GoCreation]>,
    /// Why they could not be read; beside a snapshot, why that is not of this moment.
    pub refused: Option<&'a str>,
    /// Waits that have ended; `None` where they were not followed.
    pub waits: Option<&'a GoWaits>,
    /// The heap, where it was read.
    pub heap: Option<&'a GoHeapSnapshot>,
    /// The runtime's own account of its memory, where it was read.
    pub memory: Option<&'a MemoryAccount>,
    /// Why it was not.
    pub memory_refused: Option<&'a str>,
    /// What holds the heap, where that was looked at, and what did at the first look.
    pub held: Option<&'a GoHeld>,
    pub held_before: Option<&'a GoHeld>,
    /// Why that is not known.
    pub held_refused: Option<&'a str>,
    /// Whether C code is linked in.
    pub has_c: bool,
    /// The runtimes that all this is of, the one with most memory first.
    pub runtimes: &'a [GoRuntimeSeen],
}

/// What there is to say of a Go program before it is read, of each runtime in turn; `None` if the target has none.
pub(super) fn describe(pid: u32, space: &AddressSpace) -> Option<String> {
    let found = program::find(pid, space, LayoutSource::Best);
    let named = found.len() > 1;
    let tell = |found: Found| {
        let file = space.module(found.module).path.file_name().map(|name| name.to_string_lossy());
        let file = file.filter(|_| named).map(|name| format!(" in {name}")).unwrap_or_default();
        let info = found.info;
        let cgo = if info.cgo() { ", may call C" } else { "" };
        let module = info.module.map(|(path, version)| format!(", {path} {version}")).unwrap_or_default();
        let read = found.program.and_then(|program| program.all_goroutines().map(|_| ()));
        let read = read.map_or_else(
            |why| format!("its goroutines cannot be read: {why}"),
            |()| "its goroutines can be read".to_owned(),
        );
        format!("Go: {}{file}{module}{cgo}; {read}", info.version)
    };
    let told: Vec<String> = found.into_iter().map(tell).collect();
    (!told.is_empty()).then(|| told.join(". "))
}

/// The function by which C code calls Go: it is linked in with C code alone (`runtime/cgo/asm_amd64.s`).
const CALLS_GO: &str = "crosscall2";

/// A Go runtime under observation, with the program or library that it is in.
#[derive(Debug)]
pub(super) struct GoProcess {
    module: ModuleId,
    /// Path of its file, as the target names it.
    path: String,
    program: Result<Rc<Program>, GoError>,
    /// Where its code lies, by its parts, and the plugins' files.
    places: Vec<Option<Place>>,
    plugins: Vec<GoFile>,
    version: String,
    main_module: Option<String>,
    settings: Vec<(String, String)>,
    reader: GoroutineReader,
    aggregate: GoroutineAggregate,
    last: Option<GoroutineSites>,
    /// What was found out of those that can never run again.
    leaks: Option<GoLeaks>,
    /// Finds it out while the session goes on.
    leak_watch: Option<LeakWatch>,
    pid: u32,
    options: Options,
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
    /// Follows the waits of its goroutines, and what that has told last.
    wait_watch: Option<WaitWatch>,
    waits: Option<GoWaits>,
    memory: MemoryWatch,
    holders: HeldWatch,
}

impl GoProcess {
    /// Takes a runtime that was found.
    pub(super) fn of(
        found: Found,
        (pid, space): (u32, &AddressSpace),
        options: Options,
        log: &mut dyn Log,
    ) -> Self {
        let main_module = found.info.module.map(|(path, _)| path).or(found.info.path);
        let read = found.program.as_ref().map(|_| ()).map_err(ToString::to_string);
        let path = space.module(found.module).path.display().to_string();
        log.detail(&format!(
            "{}: {path}, {}",
            found.info.version,
            read.as_ref().map_or_else(|why| format!("not read: {why}"), |()| "its tables found".to_owned())
        ));
        let mut one = Self {
            module: found.module,
            path,
            program: found.program.map(Rc::new),
            places: Vec::new(),
            plugins: Vec::new(),
            version: found.info.version,
            aggregate: GoroutineAggregate::of(main_module.as_deref()),
            main_module,
            settings: found.info.settings.into_iter().collect(),
            reader: GoroutineReader::default(),
            last: None,
            leaks: None,
            leak_watch: None,
            pid,
            options,
            read_ns: None,
            refused: read.err(),
            traced: GoTraced::default(),
            sampling: None,
            heap_aggregate: GoHeapAggregate::default(),
            heap: None,
            creations: Vec::new(),
            wait_watch: None,
            waits: None,
            memory: MemoryWatch::of(pid),
            holders: HeldWatch::default(),
        };
        one.place(space);
        one
    }

    /// Finds the files that its parts lie in.
    fn place(&mut self, space: &AddressSpace) {
        let Ok(program) = &self.program else { return };
        let place = |(at, part): (usize, &super::moduledata::Part)| match space.locate(part.text.0) {
            _ if at == 0 => Some(Place { module: self.module, bias: program.bias }),
            Location::Module(module, address) => {
                Some(Place { module, bias: part.text.0.wrapping_sub(address) })
            }
            _ => None,
        };
        self.places = program.parts.iter().enumerate().map(place).collect();
        let file = |(place, part): (&Option<Place>, &super::moduledata::Part)| {
            let place = place.as_ref()?;
            let module = space.module(place.module);
            Some(GoFile {
                path: module.path.display().to_string(),
                build_id: module.build_id_text(),
                bias: place.bias,
                text: part.text,
            })
        };
        self.plugins = self.places.iter().zip(&program.parts).skip(1).filter_map(file).collect();
    }

    pub(super) fn module(&self) -> ModuleId {
        self.module
    }

    /// Path of its file, as the target names it.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn is_late(&self) -> bool {
        self.options.late
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn is_read(&self) -> bool {
        self.program.is_ok()
    }

    /// Takes another try at what could not be read; whether it can be now.
    pub(super) fn try_again(&mut self, found: Found, space: &AddressSpace) -> bool {
        let Ok(program) = found.program else { return false };
        self.program = Ok(Rc::new(program));
        self.refused = None;
        self.place(space);
        true
    }

    /// Takes in plugins that it has loaded since; whether there are any.
    pub(super) fn take_new_plugins(&mut self, (pid, space): (u32, &AddressSpace), log: &mut dyn Log) -> bool {
        let layouts = self.options.go_layouts;
        let unplaced = |one: &Self| one.places.iter().filter(|place| place.is_none()).count();
        let missing = unplaced(self);
        if self.program.as_ref().is_ok_and(|program| program.has_more_parts()) {
            let again = program::find_in(pid, space, layouts, self.module);
            // Until the plugin is there whole it is no part.
            let more = |found: &Found| {
                found.program.as_ref().is_ok_and(|program| program.parts.len() > self.places.len())
            };
            if let Some(found) = again.filter(more) {
                let taken = self.try_again(found, space);
                // What the plugin's variables reach was not looked at.
                if self.leak_watch.take().is_some() {
                    self.watch_leaks(log);
                }
                return taken;
            }
        }
        // Its part may have been found before its file was seen mapped.
        if missing > 0 {
            self.place(space);
        }
        unplaced(self) < missing
    }

    /// Memory that it has, as its runtime accounts for it; `None` where that is not known.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        self.memory.account().map(|account| account.last.ready_bytes)
    }

    pub(super) fn seen(&self) -> GoRuntimeSeen {
        GoRuntimeSeen {
            file: self.path.clone(),
            version: self.version.clone(),
            late: self.options.late,
            goroutines: self.last.as_ref().map(|last| last.total),
            memory_bytes: self.memory_bytes(),
            sampled: self.traced.heap,
        }
    }

    /// The files of its code.
    pub(super) fn files(&self) -> Vec<GoFile> {
        let Ok(program) = &self.program else { return Vec::new() };
        let own = program.parts.first().map(|part| GoFile {
            path: program.path.clone(),
            build_id: program.build_id.clone(),
            bias: program.bias,
            text: part.text,
        });
        own.into_iter().chain(self.plugins.iter().cloned()).collect()
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
            others: &self.plugins,
        }
    }

    /// The unwind rows of its code, of each file once.
    pub(super) fn rows(&self) -> Vec<OwnRows> {
        let Ok(program) = &self.program else { return Vec::new() };
        let mut all: Vec<OwnRows> = Vec::new();
        for (part, place) in program.parts.iter().zip(&self.places) {
            let Some(place) = place.filter(|place| all.iter().all(|rows| rows.module != place.module)) else {
                continue;
            };
            let taken: usize = all.iter().map(|rows| rows.rows.len()).sum();
            if taken >= rows::MOST {
                break;
            }
            all.extend(rows::build(program, part, place));
        }
        all
    }

    /// What names its code, by file.
    pub(super) fn names(&self) -> Vec<(ModuleId, Box<dyn NamesCode>)> {
        let Ok(program) = &self.program else { return Vec::new() };
        let names = |place: &Place| -> (ModuleId, Box<dyn NamesCode>) {
            (place.module, Box::new(GoNames::new(Rc::clone(program), place.bias)))
        };
        self.places.iter().flatten().map(names).collect()
    }

    pub(super) fn load(tracing: Tracing) -> Load {
        let mut maps = if tracing.heap { HEAP_MAPS.to_vec() } else { Vec::new() };
        if tracing.follows_goroutines() {
            maps.extend(WAIT_MAPS);
        }
        Load { maps, ..Load::default() }
    }

    pub(super) fn attach(&mut self, probing: &mut Probing<'_>, log: &mut dyn Log) -> Result<(), BpfError> {
        let Ok(program) = &self.program else { return Ok(()) };
        let module = probing.space.module(self.module);
        self.traced = attach::attach(probing, program, module, log)?;
        if self.traced.heap
            && let Ok(heap) = spans::find(program)
        {
            let samples = probing.object.take_go_samples()?;
            let windows = attach::windows(probing, program, module, log);
            let places = probing.object.go_stacks().map(|stacks| Places::of(program, stacks));
            match GoHeapWatch::start(probing.process.through, heap, samples, windows, places) {
                Ok(sampling) => self.sampling = Some(sampling),
                Err(error) => log.warn(&format!("the Go heap is not followed: {error}")),
            }
        }
        if probing.tracing.follows_goroutines() {
            self.wait_watch = attach::waits(probing, program, module, log)?;
        }
        if probing.tracing.waits {
            self.watch_leaks(log);
        }
        // As near as can be to where the resident set is noted.
        self.read_memory(log);
        Ok(())
    }

    /// Begins to find out which goroutines can never run again.
    fn watch_leaks(&mut self, log: &mut dyn Log) {
        if let Ok(program) = &self.program {
            match LeakWatch::start(program, self.pid, self.options.go_layouts) {
                Ok(watch) => self.leak_watch = Some(watch),
                Err(why) => {
                    log.detail(&format!("goroutines that can never run again are not looked for: {why}"))
                }
            }
        }
    }

    /// Attaches what can be attached beside the probes in another runtime, which the kernel side was told of.
    pub(super) fn attach_beside(
        &mut self,
        other: &Self,
        probing: &mut Probing<'_>,
        log: &mut dyn Log,
    ) -> Result<(), BpfError> {
        let (Ok(program), Ok(loaded)) = (&self.program, &other.program) else { return Ok(()) };
        let module = probing.space.module(self.module);
        if other.traced.goroutines {
            self.traced = attach::attach_beside(probing, (program, module), loaded, log)?;
        }
        if probing.tracing.waits {
            self.watch_leaks(log);
        }
        Ok(())
    }

    /// Reads the account of its memory.
    pub(super) fn read_memory(&mut self, log: &mut dyn Log) {
        if let Ok(program) = &self.program {
            self.memory.read(program, log);
        }
    }

    /// Looks at what holds the heap.
    pub(super) fn read_holders(&mut self, limits: &held::Limits<'_>, log: &mut dyn Log) {
        if let Ok(program) = &self.program {
            self.holders.look(program, self.reader.frames(), limits, log);
        }
    }

    pub(super) fn read_tasks(&mut self, now_ns: u64, log: &mut dyn Log) {
        let Ok(program) = &self.program else { return };
        self.memory.read(program, log);
        let proof = self.leak_watch.as_ref().map(LeakWatch::latest);
        let asked = || self.options.prove_leaks.then(|| leaked::prove(program));
        let found = proof.or_else(asked).map(|found| {
            let whole = !program.has_more_parts();
            if whole { found } else { Err("a plugin has just been loaded".to_owned()) }
        });
        if let Some(found) = found {
            self.reader.believe(found.as_ref().ok().map(Arc::clone));
            self.leaks = Some(GoLeaks::of(&found));
        }
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

    pub(super) fn read_heap(&mut self, object: &Object, tracing: Tracing, log: &mut dyn Log) {
        let Ok(program) = &self.program else { return };
        let frames = self.reader.frames();
        if self.traced.goroutines
            && let Ok(totals) = object.goroutine_totals()
        {
            self.creations = creations::named(program, frames, &totals);
        }
        self.waits = self.wait_watch.as_ref().map(WaitWatch::told);
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

    pub(super) fn ended(&mut self, at_ns: u64) {
        self.holders.ended();
        if let Some(read_ns) = self.read_ns.filter(|_| self.last.is_some()) {
            let before = human::duration(at_ns.saturating_sub(read_ns));
            self.refused = Some(format!("the process has ended, and this is what they did {before} before"));
        }
    }

    /// What was read last.
    pub(super) fn observed(&self) -> Observed<'_> {
        Observed {
            code: self.code(),
            settings: &self.settings,
            snapshot: self.last.as_ref(),
            leaks: self.leaks.as_ref(),
            creations: self.traced.goroutines.then_some(&*self.creations),
            refused: self.refused.as_deref(),
            waits: self.waits.as_ref(),
            heap: self.heap.as_ref(),
            memory: self.memory.account(),
            memory_refused: self.memory.refused(),
            held: self.holders.last(),
            held_before: self.holders.first(),
            held_refused: self.holders.refused(),
            has_c: self.program.as_ref().is_ok_and(|program| program.function(CALLS_GO).is_some()),
            ..Observed::default()
        }
    }
}
