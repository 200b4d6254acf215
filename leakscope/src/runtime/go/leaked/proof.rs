//! Several looks, and what they agree in.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::goroutines::Seen;
use super::reasons;
use super::scan::{Found, Ground, Stop, scan};
use super::stack_maps::StackMaps;
use crate::runtime::go::heap::spans::{self, Heap};
use crate::runtime::go::program::Program;
use crate::runtime::go::scheduling::Scheduling;

/// Most looks that make a proof. Two in a row that find the same are enough.
const LOOKS: u32 = 6;
/// How many of them must find a goroutine.
const AGREE: u32 = 2;
/// How long to wait between two of them.
const APART: Duration = Duration::from_millis(250);
/// How long one may take.
const LONGEST: Duration = Duration::from_secs(20);
/// Looks that may come to nothing before no more are tried.
const MOST_FAILED: u32 = 4;

/// What several looks have found.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// By the address of the goroutine: as it was, and in how many looks.
    found: HashMap<u64, (Seen, u32)>,
    /// Addresses of those that the last look has found.
    last: HashSet<u64>,
    /// Whether the last two looks have found the same.
    settled: bool,
    /// Looks that were whole.
    pub looks: u32,
    /// Bytes of the heap that the goroutines of the last look alone reach.
    pub held_bytes: u64,
    /// Bytes of the heap that were read in the last one.
    pub read_bytes: u64,
}

impl Proof {
    fn add(&mut self, found: Found) {
        self.looks += 1;
        let now: HashSet<u64> = found.leaked.iter().map(|seen| seen.address).collect();
        self.settled = self.looks >= AGREE && now == self.last;
        self.last = now;
        (self.held_bytes, self.read_bytes) = (found.held_bytes, found.read_bytes);
        for seen in found.leaked {
            let known = self.found.entry(seen.address).or_insert((seen, 0));
            *known = if known.0 == seen { (seen, known.1 + 1) } else { (seen, 1) };
        }
    }

    /// Whether the goroutine at an address can never run again, as it is now.
    pub(in super::super) fn is_leaked(&self, address: u64, now: &Scheduling) -> bool {
        let found = self.found.get(&address);
        found.is_some_and(|(seen, times)| *times >= AGREE && seen.scheduling == *now)
    }

    /// Whether there were enough looks for an answer.
    pub fn is_complete(&self) -> bool {
        self.looks >= AGREE
    }
}

/// What a report is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoLeaks {
    /// Looks that were whole.
    pub looks: u32,
    /// Bytes of the heap that only goroutines reach that can never run again, at the last look.
    pub held_bytes: u64,
    /// Why there is no answer.
    pub unknown: Option<String>,
}

impl GoLeaks {
    pub fn of(found: &Result<Arc<Proof>, String>) -> Self {
        match found {
            Ok(proof) => Self { looks: proof.looks, held_bytes: proof.held_bytes, unknown: None },
            Err(why) => Self { looks: 0, held_bytes: 0, unknown: Some(why.clone()) },
        }
    }
}

/// What looks need to know of a program.
pub(super) struct Prover<'a> {
    program: &'a Program,
    heap: Heap,
    reasons: Vec<reasons::Waits>,
    maps: StackMaps,
}

impl<'a> Prover<'a> {
    /// Why not, if there is no way.
    pub(super) fn of(program: &'a Program) -> Result<Self, String> {
        if !program.offsets_known {
            return Err("the layout of this version of Go is not known".to_owned());
        }
        let heap = spans::find(program).map_err(|error| error.to_string())?;
        let reasons = reasons::by_number(program.wait_reasons());
        if reasons.is_empty() {
            return Err("the reasons to wait were not found".to_owned());
        }
        Ok(Self { program, heap, reasons, maps: StackMaps::default() })
    }

    pub(super) fn look(&mut self, rest: &dyn Fn(Duration) -> bool) -> Result<Found, Stop> {
        let until = Instant::now() + LONGEST;
        let ground = Ground { program: self.program, heap: &self.heap, reasons: &self.reasons, until, rest };
        scan(&ground, &mut self.maps)
    }

    /// All looks of a proof. Each whole one is told; `rest` waits, and says whether to go on.
    pub(super) fn series(
        &mut self,
        mut each: impl FnMut(&Proof),
        rest: &dyn Fn(Duration) -> bool,
    ) -> Result<(), String> {
        let (mut proof, mut failed) = (Proof::default(), 0);
        while proof.looks < LOOKS && !proof.settled {
            match self.look(rest) {
                Ok(found) => {
                    proof.add(found);
                    each(&proof);
                }
                Err(Stop::Late) => return Err(format!("it takes longer than {} s", LONGEST.as_secs())),
                Err(Stop::Unreadable) => failed += 1,
            }
            if failed == MOST_FAILED && !proof.is_complete() {
                return Err("its memory could not be read as a whole".to_owned());
            }
            if proof.settled || failed >= LOOKS || !rest(APART) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// One look, for tests: how many goroutines it finds, if it can be had.
#[cfg(any(test, feature = "test-support"))]
pub fn look(program: &Program) -> Option<usize> {
    Some(Prover::of(program).ok()?.look(&|_| true).ok()?.leaked.len())
}

/// Proves now, which takes some seconds. Why not, if it comes to nothing.
pub fn prove(program: &Program) -> Result<Arc<Proof>, String> {
    let mut last = Proof::default();
    let each = |proof: &Proof| last = proof.clone();
    let rest = |time| {
        std::thread::sleep(time);
        true
    };
    Prover::of(program)?.series(each, &rest)?;
    if last.is_complete() {
        Ok(Arc::new(last))
    } else {
        Err("its memory could not be read as a whole".to_owned())
    }
}
