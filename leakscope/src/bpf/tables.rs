//! The unwind table in the kernel: rows, their index, and the mappings.

use leakscope_common::config::{MAX_MAPPINGS, state};
use leakscope_common::unwind::{MappingEntry, Row};

use super::BpfError;
use super::object::Object;
use super::sys::MappedArray;

/// The mapped arrays. Rows and buckets are append-only; mappings live in two halves of which the
/// kernel side uses the one that the generation selects.
#[derive(Debug)]
pub struct Tables {
    rows: MappedArray<Row>,
    buckets: MappedArray<u32>,
    mappings: MappedArray<MappingEntry>,
    generation: u32,
}

impl Tables {
    /// Maps the arrays of `object`, which has room for so many `rows` and `buckets`.
    pub fn map(object: &Object, rows: u32, buckets: u32) -> Result<Self, BpfError> {
        let failed = |error| BpfError::Map { what: "map the unwind tables", error };
        Ok(Self {
            rows: MappedArray::map(object.map_fd("ROWS")?, rows.max(1) as usize).map_err(failed)?,
            buckets: MappedArray::map(object.map_fd("BUCKETS")?, buckets.max(1) as usize).map_err(failed)?,
            mappings: MappedArray::map(object.map_fd("MAPPINGS")?, 2 * MAX_MAPPINGS as usize)
                .map_err(failed)?,
            generation: 0,
        })
    }

    /// Appends rows and buckets at their indexes.
    pub fn write_rows(
        &mut self,
        row_at: u32,
        rows: &[Row],
        bucket_at: u32,
        buckets: &[u32],
    ) -> Result<(), BpfError> {
        let failed = |error| BpfError::Map { what: "write unwind rows", error };
        self.rows.write(row_at as usize, rows).map_err(failed)?;
        self.buckets.write(bucket_at as usize, buckets).map_err(failed)
    }

    /// Makes `mappings` (sorted by address) the table in use. Returns how many did not fit.
    pub fn publish(&mut self, object: &mut Object, mappings: &[MappingEntry]) -> Result<usize, BpfError> {
        let used = &mappings[..mappings.len().min(MAX_MAPPINGS as usize)];
        let next = self.generation.wrapping_add(1);
        let half = (next & 1) * MAX_MAPPINGS;
        self.mappings
            .write(half as usize, used)
            .map_err(|error| BpfError::Map { what: "write the mapping table", error })?;
        object.set_state(state::TABLE, u64::from(next) << 32 | used.len() as u64)?;
        self.generation = next;
        // A program that began under the old generation may still read the old half; wait, so that
        // the next publish does not write under it.
        object.wait_for_programs()?;
        Ok(mappings.len() - used.len())
    }

    /// Lets the kernel side ask for a fresh look again.
    pub fn refreshed(object: &mut Object) -> Result<(), BpfError> {
        object.set_state(state::REFRESH_ASKED, 0)
    }
}
