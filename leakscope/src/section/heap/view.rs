//! The heap on the screen of `top`.

use super::{GO, MALLOC};
use crate::human::{bytes, count, counted, duration, signed_bytes};
use crate::layout::narrow::{size, span};
use crate::section::label::name;
use crate::section::model::Heap;
use crate::section::site::StackSite as _;
use crate::section::stack::Stack;
use crate::section::view::{Around, Tab, Tabbed, Tone, Toned, Viewed, What, blamed, dash, number, text};

const LIVE: u8 = 0;
const BLOCKS: u8 = 1;
const OLDEST: u8 = 2;
const SITE: u8 = 3;

impl Tabbed for Heap {
    const TAB: Option<&'static Tab> = Some(&Tab {
        section: "heap",
        title: "Heap",
        none: "0 places",
        always: true,
        leads: false,
        tracks: Some("the heap"),
        columns: &[
            number("LIVE", What::Own(LIVE), 6, 40),
            number("MARK", What::SinceMark, 7, 40),
            number("+/MIN", What::PerMinute, 7, 0),
            number("HISTORY", What::History, 10, 70),
            number("BLOCKS", What::Own(BLOCKS), 9, 40),
            number("OLDEST", What::Own(OLDEST), 6, 70),
            text("PLACE", What::Own(SITE), 0, 0),
        ],
        empty: "nothing that was allocated since the attach is live",
    });
}

impl Viewed for Heap {
    fn count(&self) -> String {
        counted(self.places.iter().filter(|place| place.live_objects > 0).count() as u64, "place")
    }

    fn figure(&self, around: Around) -> Option<String> {
        // A report of a window that goes on is never called exact.
        let exact = match self.exact {
            true => "exact",
            false if around.goes_on && !around.lost => "no call missed so far",
            false => "not exact",
        };
        let live = self.live_of();
        if !self.has(GO) {
            return Some(format!("heap +{} since attach, {exact}", bytes(self.totals.live_bytes)));
        }
        let go = self
            .go_in_use_bytes
            .map_or_else(|| "Go heap".to_owned(), |n| format!("Go heap {} in use", bytes(n)));
        Some(format!("{go}, +{} known by place; C +{} since attach", bytes(live(GO)), bytes(live(MALLOC))))
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn id(&self, at: usize) -> &str {
        self.places[at].site_id()
    }

    fn stack(&self, at: usize) -> Option<&Stack> {
        Some(self.places[at].stack())
    }

    fn is_listed(&self, at: usize) -> bool {
        self.places[at].live_objects > 0
    }

    fn tracked(&self, at: usize) -> u64 {
        self.places[at].live_bytes
    }

    fn cell(&self, at: usize, number: u8) -> Toned {
        let site = &self.places[at];
        match number {
            LIVE => (size(site.live_bytes), Tone::Bold),
            BLOCKS => (count(site.live_objects), Tone::Plain),
            OLDEST => site.oldest_age_ns.map_or_else(dash, |ns| (span(ns), Tone::Plain)),
            _ => (blamed(site.stack()), Tone::Plain),
        }
    }

    fn details(&self, at: usize, per_min: Option<i64>) -> Vec<Toned> {
        let site = &self.places[at];
        let rate = per_min.map(|n| format!(", {}/min", signed_bytes(n))).unwrap_or_default();
        let blocks = counted(site.live_objects, "block");
        let mut told = vec![(format!("{} live in {blocks}{rate}", bytes(site.live_bytes)), Tone::Bold)];
        let mut say = |text: String| told.push((text, Tone::Plain));
        say(format!(
            "allocated {} in {} since attach · source {}",
            bytes(site.alloc_bytes),
            counted(site.alloc_objects, "block"),
            site.source
        ));
        if site.older_blocks > 0 {
            let older = counted(site.older_blocks, "older block");
            let held = bytes(site.older_bytes);
            say(format!("reallocated {older} ({held}): only what was added since is counted"));
        }
        if let Some((old, young)) = site.oldest_age_ns.zip(site.youngest_age_ns) {
            say(format!("ages: {} to {}", duration(young), duration(old)));
        }
        let largest = &self.sites[site.most.site];
        if let Some((low, high)) =
            largest.live_bytes_low.zip(largest.live_bytes_high).filter(|_| site.stacks == 1)
        {
            say(format!("an estimate: between {} and {}", bytes(low), bytes(high)));
        }
        if site.stacks == 1 {
            let by = largest.goroutine.map(|number| format!("all by goroutine {number}"));
            by.into_iter().for_each(&mut say);
        }
        if let Some(statement) = &largest.stack.created_by {
            say(format!("created by {}", name(statement)));
        }
        if site.stacks > 1 {
            let stacks = counted(site.stacks, "stack");
            say(format!("{stacks} lead here; the one below holds {} of it", bytes(largest.live_bytes)));
        }
        told
    }
}
