//! The kernel side's account of Go programs.

use leakscope_common::go::{GoPlaces, GoSample, GoroutineTotals};

use super::attach::{Links, ProbeProgram};
use super::events::Ring;
use super::maps::MapSize;
use super::object::Object;
use super::{BpfError, sys};

/// Where a goroutine is created.
pub const GO_CREATED: ProbeProgram = ProbeProgram { perf: "go_created", multi: "go_created_m", rank: 5 };
/// Where one ends.
pub const GO_EXITED: ProbeProgram = ProbeProgram { perf: "go_exited", multi: "go_exited_m", rank: 5 };
/// Where a span is taken from the Go heap.
pub const GO_ALLOCATED: ProbeProgram =
    ProbeProgram { perf: "go_allocated", multi: "go_allocated_m", rank: 5 };

/// Sizes of the maps where the heap is sampled: a ring buffer for about 24,000 samples, and their stacks of
/// 1 KiB each.
pub const HEAP_MAPS: [MapSize; 2] =
    [MapSize { name: "GO_SAMPLES", entries: 1 << 23 }, MapSize { name: "GO_STACKS", entries: 1 << 13 }];

impl Object {
    /// Loads the programs for a Go target, and tells them where things lie in it.
    pub fn load_go(&mut self, places: GoPlaces, links: Links) -> Result<(), BpfError> {
        self.load_probes([GO_CREATED, GO_EXITED, GO_ALLOCATED], links)?;
        self.set("GO_PLACES", 0, &places)
    }

    /// Goroutines by the address where the `go` statement goes on, as they are now.
    pub fn goroutine_totals(&self) -> Result<Vec<(u64, GoroutineTotals)>, BpfError> {
        self.read_map("GO_CREATIONS")
    }

    /// Takes the samples' end of the ring buffer; once.
    pub fn take_go_samples(&mut self) -> Result<GoSamples, BpfError> {
        self.take_ring("GO_SAMPLES").map(GoSamples)
    }

    /// The addresses of a sample's stack, innermost first: the first one is of an instruction, the
    /// others are return addresses.
    pub fn go_stack(&self, number: u32) -> Option<Vec<u64>> {
        self.stack_trace("GO_STACKS", number)
    }
}

/// The samples of the Go heap, as they come.
#[derive(Debug)]
pub struct GoSamples(Ring);

impl GoSamples {
    /// The next one, if there is one.
    pub fn take(&mut self) -> Option<GoSample> {
        self.0.next(sys::value_of).flatten()
    }
}
