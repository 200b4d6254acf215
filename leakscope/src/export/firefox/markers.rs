//! Markers: what is said of the whole, allocations that are in use, threads that wait.

use fxprof_processed_profile::{
    CategoryHandle, MarkerFieldFlags, MarkerFieldFormat, MarkerTiming, Profile, StaticSchemaMarker,
    StaticSchemaMarkerField, StringHandle,
};

use super::{Track, at};
use crate::human::sanitize_for_files;
use crate::report::Report;
use crate::section::model::Site;
use crate::section::profile::sample;

/// Most markers of a kind; of further ones it is said how many there are.
const MOST: usize = 5000;
const NS_IN_MS: f64 = 1e6;

/// A sentence of the report.
struct Said {
    name: StringHandle,
    text: StringHandle,
    category: CategoryHandle,
}

impl StaticSchemaMarker for Said {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "leakscope";
    const CHART_LABEL: Option<&'static str> = Some("{marker.data.text}");
    const TABLE_LABEL: Option<&'static str> = Some("{marker.data.text}");
    const FIELDS: &'static [StaticSchemaMarkerField] = &[StaticSchemaMarkerField {
        key: "text",
        label: "Sentence",
        format: MarkerFieldFormat::String,
        flags: MarkerFieldFlags::SEARCHABLE,
    }];

    fn name(&self, _: &mut Profile) -> StringHandle {
        self.name
    }

    fn category(&self, _: &mut Profile) -> CategoryHandle {
        self.category
    }

    fn string_field_value(&self, _: u32) -> StringHandle {
        self.text
    }

    fn number_field_value(&self, _: u32) -> f64 {
        0.0
    }
}

/// Blocks of one stack that are in use, since the oldest of them was allocated.
struct Allocated {
    name: StringHandle,
    place: StringHandle,
    bytes: u64,
    blocks: u64,
    category: CategoryHandle,
}

impl StaticSchemaMarker for Allocated {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "Allocation in use";
    const DESCRIPTION: Option<&'static str> =
        Some("Blocks of one stack that are in use at the end, from the age of the oldest of them on.");
    const CHART_LABEL: Option<&'static str> = Some("{marker.data.place}: {marker.data.bytes}");
    const TABLE_LABEL: Option<&'static str> = Some("{marker.data.place}: {marker.data.bytes}");
    const FIELDS: &'static [StaticSchemaMarkerField] = &[
        StaticSchemaMarkerField {
            key: "place",
            label: "Allocated at",
            format: MarkerFieldFormat::String,
            flags: MarkerFieldFlags::SEARCHABLE,
        },
        StaticSchemaMarkerField {
            key: "bytes",
            label: "In use",
            format: MarkerFieldFormat::Bytes,
            flags: MarkerFieldFlags::empty(),
        },
        StaticSchemaMarkerField {
            key: "blocks",
            label: "Blocks",
            format: MarkerFieldFormat::Integer,
            flags: MarkerFieldFlags::empty(),
        },
    ];

    fn name(&self, _: &mut Profile) -> StringHandle {
        self.name
    }

    fn category(&self, _: &mut Profile) -> CategoryHandle {
        self.category
    }

    fn string_field_value(&self, _: u32) -> StringHandle {
        self.place
    }

    fn number_field_value(&self, field: u32) -> f64 {
        if field == 1 { self.bytes as f64 } else { self.blocks as f64 }
    }
}

/// A thread that waits, since it began to, or since recording began.
struct Waits {
    name: StringHandle,
    thread: StringHandle,
    waited_ns: u64,
    category: CategoryHandle,
}

impl StaticSchemaMarker for Waits {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "Wait";
    const DESCRIPTION: Option<&'static str> =
        Some("A thread that waits. What began before leakscope came begins with the window here.");
    const CHART_LABEL: Option<&'static str> = Some("{marker.data.thread}");
    const TABLE_LABEL: Option<&'static str> = Some("{marker.data.thread}");
    const FIELDS: &'static [StaticSchemaMarkerField] = &[
        StaticSchemaMarkerField {
            key: "thread",
            label: "Thread",
            format: MarkerFieldFormat::String,
            flags: MarkerFieldFlags::SEARCHABLE,
        },
        StaticSchemaMarkerField {
            key: "waited",
            label: "Waited for",
            format: MarkerFieldFormat::Duration,
            flags: MarkerFieldFlags::empty(),
        },
    ];

    fn name(&self, _: &mut Profile) -> StringHandle {
        self.name
    }

    fn category(&self, _: &mut Profile) -> CategoryHandle {
        self.category
    }

    fn string_field_value(&self, _: u32) -> StringHandle {
        self.thread
    }

    fn number_field_value(&self, _: u32) -> f64 {
        self.waited_ns as f64 / NS_IN_MS
    }
}

impl Track<'_> {
    fn text(&mut self, text: &str) -> StringHandle {
        self.profile.intern_string(&sanitize_for_files(text))
    }

    pub(super) fn note(&mut self, name: &str, text: &str) {
        let said = Said { name: self.text(name), text: self.text(text), category: self.categories.said };
        self.profile.add_marker(self.thread, MarkerTiming::Instant(at(self.end_ns)), said);
    }

    /// The answer, what else there is to say, and what was lost.
    pub(super) fn said(&mut self, report: &Report) {
        self.note("Answer", report.summary.headline());
        report.summary.texts().for_each(|text| self.note("Finding", text));
        for (loss, n) in &report.losses {
            self.note("Lost", &format!("{n} × {loss}: {}", crate::losses::meaning(loss)));
        }
    }

    fn more(&mut self, all: usize, what: &str) {
        if let Some(more @ 1..) = all.checked_sub(MOST) {
            self.note(
                "Not shown",
                &format!("{more} more {what} have no markers; their stacks are among the samples"),
            );
        }
    }

    /// Blocks that are in use, those of most bytes first.
    pub(super) fn allocations(&mut self, report: &Report) {
        let Some(heap) = &report.heap else { return };
        let mut live: Vec<&Site> = heap.sites.iter().filter(|site| site.live_objects > 0).collect();
        live.sort_by_key(|site| std::cmp::Reverse(site.live_bytes));
        for site in live.iter().take(MOST) {
            let stack = self.stack(&sample(&site.stack));
            let marker = Allocated {
                name: self.text(&site.source),
                place: self.text(&site.label),
                bytes: site.live_bytes,
                blocks: site.live_objects,
                category: self.categories.program,
            };
            let from = self.end_ns.saturating_sub(site.oldest_age_ns.unwrap_or(0));
            let timing = MarkerTiming::Interval(at(from), at(self.end_ns));
            let marker = self.profile.add_marker(self.thread, timing, marker);
            self.profile.set_marker_stack(self.thread, marker, stack);
        }
        self.more(live.len(), "stacks");
    }

    /// Threads that wait at the end, and the longest waits that ended.
    pub(super) fn waits(&mut self, report: &Report) {
        let Some(waits) = &report.waits else { return };
        let now = waits.sites.iter().flat_map(|site| {
            let ends = self.end_ns;
            site.threads.iter().filter_map(move |thread| {
                let waited = thread.blocked_ns?;
                let who = format!("{} ({})", thread.name, thread.tid);
                Some((site, who, ends.saturating_sub(waited)..ends, waited))
            })
        });
        let ended = waits.long_waits.iter().filter_map(|long| {
            let site = waits.sites.iter().find(|site| site.site_id == long.site_id)?;
            let end = long.start_ns.saturating_add(long.wait_ns).min(self.end_ns);
            Some((site, format!("thread {}", long.tid), long.start_ns.min(end)..end, long.wait_ns))
        });
        let all: Vec<_> = now.chain(ended).collect();
        for (site, who, span, waited_ns) in all.iter().take(MOST) {
            let stack = self.stack(&sample(&site.stack));
            let kind = site.primitive.as_deref().or(site.operation.as_deref()).unwrap_or("wait");
            let marker = Waits {
                name: self.text(kind),
                thread: self.text(who),
                waited_ns: *waited_ns,
                category: self.categories.program,
            };
            let timing = MarkerTiming::Interval(at(span.start), at(span.end));
            let marker = self.profile.add_marker(self.thread, timing, marker);
            self.profile.set_marker_stack(self.thread, marker, stack);
        }
        self.more(all.len(), "waits");
    }
}
