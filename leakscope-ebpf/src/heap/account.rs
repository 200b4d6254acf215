//! The account in maps: live blocks, and totals by site.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use leakscope_common::config::state;
use leakscope_common::counter::{Loss, Tally};
use leakscope_common::heap::{LiveBlock, SEVERAL, SiteTotals};
use leakscope_common::pairing::{Account, Charge, Inserted, LastFree, Removed, Resized};

use super::calls::Calls;
use super::{frees, live};
use crate::counters;
use crate::shared::{Value, Word, word};
use crate::stack::Scratch;
use crate::state::slot;
use crate::task;

#[map]
static SITES: HashMap<u64, SiteTotals> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// What a site starts with.
static NEW_SITE: SiteTotals = SiteTotals::ZERO;

/// The site of the stack in the slot: creates it and sends its frames on first sight.
///
/// Returns 0, the site without a stack, where the map of sites is full.
#[inline(always)]
pub(super) fn site(s: &mut Scratch) -> u64 {
    let id = s.identity();
    let new: &SiteTotals = &NEW_SITE;
    let Some(totals) = Value::entry(&SITES, &id, new) else {
        counters::lose(Loss::SitesFull);
        return 0;
    };
    if s.goroutine != 0 {
        note_goroutine(word!(totals, goroutine), s.goroutine);
    }
    s.send_once(id, word!(totals, sent));
    id
}

/// Notes at a site who called there. Of several that come at once all but one find another's number in their own's
/// place.
#[inline(always)]
fn note_goroutine(known: Word, goroutine: u64) {
    let before = known.load();
    if before == goroutine || before == SEVERAL {
        return;
    }
    let before = known.swap(goroutine);
    if before != 0 && before != goroutine {
        known.store(SEVERAL);
    }
}

/// The maps as the account that calls are booked in.
pub(super) struct Maps;

impl Account for Maps {
    #[inline(always)]
    fn block(&mut self, address: u64) -> Option<LiveBlock> {
        let block = live::find(address)?;
        Some(LiveBlock {
            size: word!(block, size).load(),
            site: word!(block, site).load(),
            at_ns: word!(block, at_ns).load(),
            base: word!(block, base).load(),
        })
    }

    #[inline(always)]
    fn remove(&mut self, address: u64) -> Removed {
        live::remove(address)
    }

    #[inline(always)]
    fn insert(&mut self, address: u64, block: &LiveBlock) -> Inserted {
        live::insert(address, block)
    }

    #[inline(always)]
    fn resize(&mut self, address: u64, size: u64) -> Option<Resized> {
        let block = live::find(address)?;
        let before = word!(block, size).load();
        word!(block, size).store(size);
        if size < word!(block, base).load() {
            word!(block, base).store(size);
        }
        Some(Resized { before, site: word!(block, site).load() })
    }

    #[inline(always)]
    fn charge(&mut self, site: u64, charge: Charge) {
        let Some(totals) = Value::find(&SITES, &site) else { return };
        match charge {
            Charge::Allocated(bytes) => {
                word!(totals, alloc_objects).add(1);
                word!(totals, alloc_bytes).add(bytes);
            }
            Charge::Freed(bytes) => {
                word!(totals, free_objects).add(1);
                word!(totals, free_bytes).add(bytes);
            }
            Charge::Grown(bytes) => word!(totals, alloc_bytes).add(bytes),
            Charge::Shrunk(bytes) => word!(totals, free_bytes).add(bytes),
        }
    }

    #[inline(always)]
    fn pending(&mut self) -> u64 {
        Calls::noted().map_or(0, Calls::depth)
    }

    #[inline(always)]
    fn free_before(&mut self, free: LastFree) -> LastFree {
        frees::note(free)
    }

    #[inline(always)]
    fn word(&mut self, address: u64) -> Option<u64> {
        task::user_word(address)
    }

    #[inline(always)]
    fn in_linker(&mut self, address: u64) -> bool {
        address >= slot(state::LINKER_START) && address < slot(state::LINKER_END)
    }

    #[inline(always)]
    fn lose(&mut self, loss: Loss) {
        counters::lose(loss);
    }

    #[inline(always)]
    fn tally(&mut self, tally: Tally) {
        counters::tally(tally);
    }
}
