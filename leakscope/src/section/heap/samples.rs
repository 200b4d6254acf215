//! The heap as samples of a profile.

use crate::section::model::Heap;
use crate::section::profile::{ProfileKind, Sample, sample};

/// Adds the samples of the heap.
pub(super) fn samples<'a>(heap: &'a Heap, kind: ProfileKind, out: &mut Vec<Sample<'a>>) {
    // Where there is but one source, it need not be told.
    let told = heap.sources.len() > 1;
    for site in &heap.sites {
        let mut sample = sample(&site.stack);
        sample.values = [site.alloc_objects, site.alloc_bytes, site.live_objects, site.live_bytes];
        sample.weight = if kind == ProfileKind::Heap { site.live_bytes } else { site.alloc_bytes };
        if told {
            sample.labels.push(("source", site.source.as_str().into()));
        }
        out.push(sample);
    }
}
