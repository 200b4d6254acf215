//! The uploaded table: which rule holds at an address.
//!
//! Userspace writes it through its own mapping of these maps while programs read it. Rows and buckets are only
//! ever appended; of the mappings it writes the half that no program uses.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use leakscope_common::config::MAX_MAPPINGS;
use leakscope_common::unwind::{MappingEntry, Row, RowIndex, StackEnd, cfa, find_row, hash_frame};

use super::{Scratch, files, known};
use crate::events;
use crate::shared::{Value, Word, word};

/// Entries of the per-CPU cache of rows.
const CACHED_ROWS: u32 = 4096;

#[map]
static ROWS: Array<Row> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static BUCKETS: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static MAPPINGS: Array<MappingEntry> = Array::with_max_entries(2 * MAX_MAPPINGS, BPF_F_MMAPABLE);
#[map]
static ROW_CACHE: PerCpuArray<CachedRow> = PerCpuArray::with_max_entries(CACHED_ROWS, 0);

/// A remembered row. `key ^ row` is the address and generation it was found for, so a pair that was
/// torn by preemption does not match.
#[repr(C)]
struct CachedRow {
    key: u64,
    row: u64,
}

/// The row that holds at `ip`; `hidden` is a word of map memory to hide values in.
#[inline(always)]
pub(super) fn row_of(s: &mut Scratch, hidden: Word, ip: u64) -> Result<Row, StackEnd> {
    let generation = s.table >> 32;
    let wanted = ip ^ (generation << 48);
    let slot = ((ip >> 1) as u32).wrapping_mul(0x9E37_79B1) >> (32 - CACHED_ROWS.trailing_zeros());
    let Some(cached) = Value::of_cpu(&ROW_CACHE, slot) else { return Err(StackEnd::NoRows) };
    let (key, bits) = (word!(cached, key).load(), word!(cached, row).load());
    if key ^ bits == wanted {
        return Ok(Row::from_bits(bits));
    }
    let Some(mapping) = find_mapping(s, hidden, ip) else {
        events::ask_refresh();
        // The next one may find another mapping.
        s.words = known::TOO_MANY;
        return match files::mapped(ip) {
            Ok(mapping) => Ok(row_in(&mapping, hidden, ip)),
            Err(file) => {
                // Another file's stack may have these very addresses.
                s.hash = hash_frame(s.hash, file);
                Err(StackEnd::NoMapping)
            }
        };
    };
    let row = row_in(&mapping, hidden, ip);
    let bits = row.to_bits();
    word!(cached, key).store(wanted ^ bits);
    word!(cached, row).store(bits);
    Ok(row)
}

#[inline(always)]
fn row_in(mapping: &MappingEntry, hidden: Word, ip: u64) -> Row {
    let relative = mapping.relative(ip);
    let row = relative.and_then(|relative| find_row(&Uploaded(hidden), mapping, relative));
    row.unwrap_or(Row::new(0, cfa::NO_INFO, 0, 0, 0))
}

/// The uploaded table, and a word of map memory to hide values in.
pub(super) struct Uploaded(pub(super) Word);

/// Passes a value through map memory, whose content the verifier knows nothing about.
#[inline(always)]
fn hide(through: Word, value: u32) -> u32 {
    through.store(value as u64);
    through.load() as u32
}

impl RowIndex for Uploaded {
    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<u32> {
        let bucket = Value::at(&BUCKETS, index)?.pointer();
        // SAFETY: an element of the array, valid and aligned while the program runs. Userspace may write the
        // array meanwhile: a raw and volatile read, and no reference.
        Some(unsafe { core::ptr::read_volatile(bucket) })
    }

    #[inline(always)]
    fn row(&self, index: u32) -> Option<Row> {
        let row = Value::at(&ROWS, index)?.pointer();
        // SAFETY: as above; elements of an array are aligned to 8 bytes, and a row has as many.
        Some(Row::from_bits(unsafe { core::ptr::read_volatile(row.cast::<u64>()) }))
    }

    #[inline(always)]
    fn hide(&self, value: u32) -> u32 {
        hide(self.0, value)
    }
}

/// A copy of an entry of the mapping table that spans `start` to `end`.
#[inline(always)]
fn copy(entry: Value<MappingEntry>, start: u64, end: u64) -> MappingEntry {
    let at = entry.pointer();
    // SAFETY: members of an element of the array, as in `Uploaded::bucket`.
    let (bucket_base, buckets) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*at).bucket_base),
            core::ptr::read_volatile(&raw const (*at).buckets),
        )
    };
    MappingEntry { start, end, bias: word!(entry, bias).load(), bucket_base, buckets }
}

/// The mapping that holds `ip`: the one of the last frame, or one found by halves.
#[inline(always)]
fn find_mapping(s: &mut Scratch, hidden: Word, ip: u64) -> Option<MappingEntry> {
    let base = ((s.table >> 32) as u32 & 1) * MAX_MAPPINGS;
    if s.mapping < s.table & 0xffff_ffff
        && let Some(last) = Value::at(&MAPPINGS, base.wrapping_add(s.mapping as u32))
    {
        let (start, end) = (word!(last, start).load(), word!(last, end).load());
        if start <= ip && ip < end {
            return Some(copy(last, start, end));
        }
    }
    let (mut low, mut high) = (0u32, s.table as u32);
    let mut round = 0;
    while round < 14 {
        if low >= high {
            break;
        }
        let middle = (low + high) >> 1;
        let entry = Value::at(&MAPPINGS, base.wrapping_add(middle))?;
        let (start, end) = (word!(entry, start).load(), word!(entry, end).load());
        if ip < start {
            high = middle;
        } else if ip >= end {
            low = middle + 1;
        } else {
            s.mapping = middle as u64;
            return Some(copy(entry, start, end));
        }
        low = hide(hidden, low);
        high = hide(hidden, high);
        round += 1;
    }
    None
}
