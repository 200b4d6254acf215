//! What changed most.

use super::model::{Diff, Summary};
use super::words::DiffSaid;
use crate::section::Part;
use crate::section::finding::Finding;

/// The answer in short: what grew in each section, the first of them as headline.
pub(super) fn summary(diff: &Diff) -> Summary {
    let mut sections = diff.sections();
    sections.sort_by_key(|section| section.order(Part::Totals));
    let grown = sections.iter().filter_map(|section| section.finding());
    let told: Vec<Finding> = rss(diff).map(Finding::from).into_iter().chain(grown).collect();
    let beside = rss_beside(diff).filter(|_| !told.is_empty() || rss_grew(diff).is_some());
    let mut told = told.into_iter();
    let nothing = || {
        let compared: Vec<String> =
            sections.iter().filter_map(|section| Some(section.nothing()?.to_owned())).collect();
        if compared.is_empty() { DiffSaid::NothingInCommon {} } else { DiffSaid::NothingGrew { compared } }
    };
    let answer = told.next().unwrap_or_else(|| nothing().into());
    let details = told.chain(beside.map(Finding::from)).collect();
    Summary { answer: Some(answer), details }
}

/// A resident set that grew by less, or by a smaller part of it, says nothing.
const NOTABLE_RSS: (u64, u64) = (8 << 20, 100);

/// How large one process was at either end: what was allocated since an attach can take the place of older blocks.
fn rss_beside(diff: &Diff) -> Option<DiffSaid> {
    diff.heap.as_ref().filter(|heap| heap.separate_windows || heap.totals.unknown_frees.is_some())?;
    let memory = diff.memory.as_ref()?;
    Some(DiffSaid::Rss {
        growth_bytes: memory.growth_bytes,
        old_bytes: memory.old_rss_bytes,
        new_bytes: memory.new_rss_bytes,
    })
}

/// That memory grew, where no heap tells what of it.
fn rss(diff: &Diff) -> Option<DiffSaid> {
    let silent =
        diff.heap.as_ref().map(|heap| (heap.totals.old_alloc_objects, heap.totals.new_alloc_objects));
    let (growth_bytes, old_bytes, new_bytes) =
        rss_grew(diff).filter(|_| silent.is_none_or(|seen| seen == (0, 0)))?;
    Some(DiffSaid::RssGrew { growth_bytes, old_bytes, new_bytes, in_both: silent.is_some() })
}

/// By how much the resident set grew, from where and to where, if that is notable.
fn rss_grew(diff: &Diff) -> Option<(u64, u64, u64)> {
    let memory = diff.memory.as_ref()?;
    let growth_bytes = u64::try_from(memory.growth_bytes).ok()?;
    let (least, part) = NOTABLE_RSS;
    let (old_bytes, new_bytes) = (memory.old_rss_bytes, memory.new_rss_bytes);
    let notable = growth_bytes >= least && growth_bytes >= old_bytes / part;
    notable.then_some((growth_bytes, old_bytes, new_bytes))
}
