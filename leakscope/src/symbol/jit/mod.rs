//! Names of code that the target makes at run time, as far as it tells them itself: in a perf map
//! (`/tmp/perf-PID.map`; node's `--perf-basic-prof`, Java's `jcmd PID Compiler.perfmap`, wasmtime) or a jitdump
//! (`jit-PID.dump`, which the target maps; node's `--perf-prof`, wasmtime).
//!
//! Both are looked up in the target's file system as its user sees it, and count only if that user or root owns them:
//! anybody can put a file into `/tmp`. What is in them is hostile all the same; how much is read and kept has limits.
//!
//! Neither tells when code goes. So a frame is named as soon as it is first seen, by what was written last until then, and
//! keeps that name. A jitdump has times, and is written late: what it says at the end of code that was made before the frame was seen
//! replaces what it said then. What is left is inherent: code that the target never tells of, in a place that it told
//! of once, has the name of before.

mod dump;
mod growing;
mod perf_map;
mod ranges;
mod v8;

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use rustix::time::{ClockId, clock_gettime};

use super::find::DebugSearch;
use super::{NoSymbol, SymbolFrame};
use crate::process::AddressSpace;
use dump::Dump;
pub use dump::is_named_so as is_jitdump;
use growing::Growing;
use ranges::Ranges;

/// The files are not read more often, while stacks come.
const PAUSE_NS: u64 = 50_000_000;
/// The most jitdumps that are read: one process writes one.
const MOST_DUMPS: usize = 4;

fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let ns = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(ns).unwrap_or(0)
}

/// The names that a target tells of its run-time code.
#[derive(Debug)]
pub(super) struct JitCode {
    search: Rc<DebugSearch>,
    /// The PID that the target knows itself by, as soon as it is known.
    own_pid: Option<u32>,
    map: Growing,
    map_ranges: Ranges,
    dumps: HashMap<PathBuf, Dump>,
    /// What was found for addresses as they were first seen, and when that was, CLOCK_MONOTONIC in ns.
    known: HashMap<(u64, bool), (Option<SymbolFrame>, u64)>,
    /// When the files were read last.
    read_ns: u64,
}

impl JitCode {
    pub(super) fn new(search: Rc<DebugSearch>) -> Self {
        Self {
            search,
            own_pid: None,
            map: Growing::default(),
            map_ranges: Ranges::default(),
            dumps: HashMap::new(),
            known: HashMap::new(),
            read_ns: 0,
        }
    }

    /// Looks for the name of an address now, so that it is known however the code changes.
    pub(super) fn note(&mut self, space: &AddressSpace, address: u64, exact: bool) {
        if self.known.contains_key(&(address, exact)) {
            return;
        }
        let now = now_ns();
        // Opening a file as another user takes its time, and most programs write none.
        if now.saturating_sub(self.read_ns) >= PAUSE_NS {
            self.read(space);
        }
        let found = self.found(address, exact, u64::MAX);
        self.known.insert((address, exact), (found, now));
    }

    /// What the target said of an address; why it is not known, if it said nothing.
    pub(super) fn name(&mut self, space: &AddressSpace, address: u64, exact: bool) -> SymbolFrame {
        self.note(space, address, exact);
        let noted = self.known.get(&(address, exact)).cloned();
        let (noted, at_ns) = noted.unwrap_or((None, 0));
        // Dumps are written late.
        let old = self.read_ns <= at_ns || now_ns().saturating_sub(self.read_ns) >= PAUSE_NS;
        if old && (noted.is_none() || !self.dumps.is_empty()) {
            self.read(space);
        }
        let later = match &noted {
            // A map has no times: what it says of an address that it said nothing of, is of that.
            None if self.dumps.is_empty() => self.found(address, exact, u64::MAX),
            _ => self.found(address, exact, at_ns),
        };
        let unknown = || SymbolFrame { why_unknown: Some(NoSymbol::Anonymous), ..SymbolFrame::default() };
        later.or(noted).unwrap_or_else(unknown)
    }

    /// What is told of an address: by jitdumps, of code that was made before `until_ns`; else by the perf map, which
    /// has no times. A return address lies behind the call.
    fn found(&self, address: u64, exact: bool, until_ns: u64) -> Option<SymbolFrame> {
        let at = if exact { address } else { address.wrapping_sub(1) };
        let dumped = self.dumps.values().find_map(|dump| dump.at(at, until_ns));
        let mapped = || self.map_ranges.at(at).filter(|_| until_ns == u64::MAX).map(|(frame, _)| frame);
        let frame = dumped.or_else(mapped)?;
        let offset = frame.offset_in_function.map(|offset| offset + u64::from(!exact));
        Some(SymbolFrame { offset_in_function: offset, ..frame })
    }

    /// Reads what was written since the last time.
    fn read(&mut self, space: &AddressSpace) {
        self.read_ns = now_ns();
        let Some(target) = &self.search.target else { return };
        if self.own_pid.is_none() {
            self.own_pid = target.own_pid();
        }
        if let Some(pid) = self.own_pid {
            let path = PathBuf::from(format!("/tmp/perf-{pid}.map"));
            let ranges = &mut self.map_ranges;
            self.map.read(|| target.open_own(&path), &mut |part| perf_map::parse(part, ranges));
        }
        for path in space.modules().map(|(_, module)| &module.path).filter(|path| is_jitdump(path)) {
            if !self.dumps.contains_key(path) && self.dumps.len() < MOST_DUMPS {
                self.dumps.insert(path.clone(), Dump::default());
            }
        }
        for (path, dump) in &mut self.dumps {
            dump.read(|| target.open_own(path));
        }
    }
}
