//! The kernel side's account of Go programs.

use aya::maps::{Array, MapData, RingBuf, StackTraceMap};
use leakscope_common::go::{GoPlaces, GoSample, GoroutineTotals};

use super::attach::{Links, Role};
use super::object::Object;
use super::{BpfError, chain, sys};

/// The programs of its probes.
const PROBES: [Role; 3] = [Role::GoCreated, Role::GoExited, Role::GoAllocated];

impl Object {
    /// Loads the programs for a Go target, and tells them where things lie in it.
    pub fn load_go(&mut self, places: GoPlaces, links: Links) -> Result<(), BpfError> {
        self.load_probes(PROBES, links)?;
        let mut map: Array<_, GoPlaces> =
            Array::try_from(self.map_mut("GO_PLACES")?).map_err(|_| BpfError::Missing("GO_PLACES"))?;
        map.set(0, &places, 0).map_err(|e| BpfError::Map {
            what: "write a map of the kernel side",
            error: std::io::Error::other(chain(&e)),
        })
    }

    /// Goroutines by the address where the `go` statement goes on, as they are now.
    pub fn goroutine_totals(&self) -> Result<Vec<(u64, GoroutineTotals)>, BpfError> {
        sys::read_all(self.map_fd("GO_CREATIONS")?)
            .map_err(|error| BpfError::Map { what: "read the account of goroutines", error })
    }

    /// Takes the samples' end of the ring buffer; once.
    pub fn take_go_samples(&mut self) -> Result<GoSamples, BpfError> {
        let map = self.ebpf.take_map("GO_SAMPLES").ok_or(BpfError::Missing("GO_SAMPLES"))?;
        let ring = RingBuf::try_from(map).map_err(|_| BpfError::Missing("GO_SAMPLES"))?;
        Ok(GoSamples { ring })
    }

    /// The addresses of a sample's stack, innermost first: the first one is of an instruction, the
    /// others are return addresses.
    pub fn go_stack(&self, number: u32) -> Option<Vec<u64>> {
        let map = self.ebpf.map("GO_STACKS")?;
        let stacks: StackTraceMap<_> = StackTraceMap::try_from(map).ok()?;
        let stack = stacks.get(&number, 0).ok()?;
        Some(stack.frames().iter().map(|frame| frame.ip).collect())
    }
}

/// The samples of the Go heap, as they come.
pub struct GoSamples {
    ring: RingBuf<MapData>,
}

impl std::fmt::Debug for GoSamples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GoSamples")
    }
}

impl GoSamples {
    /// The next one, if there is one.
    pub fn take(&mut self) -> Option<GoSample> {
        let record = self.ring.next()?;
        (record.len() >= size_of::<GoSample>())
            // SAFETY: so many bytes are there, and every bit pattern is a sample.
            .then(|| unsafe { record.as_ptr().cast::<GoSample>().read_unaligned() })
    }
}
