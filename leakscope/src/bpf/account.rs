//! Freezes and reads the maps of the heap account.

use aya::maps::PerCpuArray;
use leakscope_common::config::RunState;
use leakscope_common::counter::COUNTERS;
use leakscope_common::heap::{Inflight, LiveBlock, SiteTotals};

use super::object::Object;
use super::{BpfError, chain, sys};

/// The maps as they were read.
#[derive(Clone, Debug, Default)]
pub struct RawAccount {
    /// Live blocks by address.
    pub live: Vec<(u64, LiveBlock)>,
    /// Totals by site.
    pub sites: Vec<(u64, SiteTotals)>,
    /// Pending allocator calls by thread.
    pub inflight: Vec<(u32, Inflight)>,
    /// Counters by number, summed over CPUs.
    pub counters: Vec<u64>,
    /// Times the kernel skipped a program.
    pub recursion_misses: u64,
}

impl Object {
    /// Stops recording and waits until no program changes the account any more.
    pub fn freeze(&mut self) -> Result<(), BpfError> {
        self.set_run_state(RunState::Frozen)?;
        self.wait_for_programs()
    }

    /// Reads the account.
    pub fn read_account(&mut self) -> Result<RawAccount, BpfError> {
        let failed = |error| BpfError::Map { what: "read the account", error };
        Ok(RawAccount {
            live: sys::read_all(self.map_fd("LIVE")?).map_err(failed)?,
            sites: sys::read_all(self.map_fd("SITES")?).map_err(failed)?,
            inflight: sys::read_all(self.map_fd("INFLIGHT")?).map_err(failed)?,
            counters: self.counters()?,
            recursion_misses: self.recursion_misses(),
        })
    }

    /// The counters by number, summed over CPUs.
    pub fn counters(&mut self) -> Result<Vec<u64>, BpfError> {
        let map: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.map_mut("COUNTERS")?).map_err(|_| BpfError::Missing("COUNTERS"))?;
        (0..COUNTERS)
            .map(|i| {
                map.get(&i, 0).map(|values| values.iter().sum()).map_err(|e| BpfError::Map {
                    what: "read the counters",
                    error: std::io::Error::other(chain(&e)),
                })
            })
            .collect()
    }
}
