//! Holders on the screen of `top`.

use super::model::{HolderKind, HolderSite, Holders};
use super::table::{most, subject};
use super::words::entries;
use crate::human::{bytes, count, counted, duration, file_name, signed_bytes};
use crate::layout::narrow::{growth, size};
use crate::section::stack::Stack;
use crate::section::view::{Around, Tab, Tabbed, Tone, Toned, Viewed, What, dash, number, text};

const HELD: u8 = 0;
const GROWTH: u8 = 1;
const ENTRIES: u8 = 2;
const HOLDER: u8 = 3;

impl Tabbed for Holders {
    const TAB: Option<&'static Tab> = Some(&Tab {
        section: "holders",
        title: "Held by",
        none: "not known",
        always: false,
        leads: false,
        tracks: None,
        columns: &[
            number("HELD", What::Own(HELD), 6, 0),
            number("GROWTH", What::Own(GROWTH), 7, 40),
            number("ENTRIES", What::Own(ENTRIES), 10, 70),
            text("HOLDER", What::Own(HOLDER), 0, 0),
        ],
        empty: "no holder is known",
    });
}

impl Viewed for Holders {
    fn count(&self) -> String {
        match &self.heap {
            Some(_) => counted(self.sites.len() as u64, "holder"),
            None => "not known".to_owned(),
        }
    }

    fn figure(&self, _: Around) -> Option<String> {
        None
    }

    fn len(&self) -> usize {
        self.sites.len()
    }

    fn why_empty(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    fn id(&self, at: usize) -> &str {
        let site = &self.sites[at];
        site.name.as_deref().unwrap_or(&site.path)
    }

    fn stack(&self, _: usize) -> Option<&Stack> {
        None
    }

    fn is_idle(&self, at: usize) -> bool {
        matches!(self.sites[at].kind, HolderKind::Runtime | HolderKind::Pool)
    }

    fn cell(&self, at: usize, number: u8) -> Toned {
        let site = &self.sites[at];
        match number {
            HELD => (size(site.held_bytes), Tone::Bold),
            GROWTH => match site.growth_bytes {
                None | Some(0) => dash(),
                Some(n) => (growth(n), if n > 0 { Tone::Accent } else { Tone::Plain }),
            },
            ENTRIES => site.container.as_ref().map_or_else(dash, |of| (count(of.entries), Tone::Plain)),
            _ => (holder(site), Tone::Plain),
        }
    }

    fn details(&self, at: usize, _: Option<i64>) -> Vec<Toned> {
        let site = &self.sites[at];
        let growth = site.growth_bytes.map(|n| format!(", {} since the first look", signed_bytes(n)));
        let held = format!(
            "{} in {} held by {}{}",
            bytes(site.held_bytes),
            counted(site.held_objects, "object"),
            subject(site),
            growth.unwrap_or_default()
        );
        let mut told = vec![(held, Tone::Bold)];
        told.extend(site.type_name.as_ref().map(|name| (format!("of the type {name}"), Tone::Plain)));
        if let Some(of) = &site.container {
            let text = format!(
                "{}: {} of {} with {} in all, {} held",
                of.path.trim_start_matches(" →").trim_start(),
                counted(of.objects, "value"),
                of.type_name,
                entries(of),
                bytes(of.held_bytes)
            );
            told.push((text, Tone::Plain));
        } else if !site.path.is_empty() {
            told.push((format!("most of it: {}", site.path), Tone::Plain));
        }
        if !site.used_by.is_empty() {
            told.push((format!("used by {}", site.used_by.join(", ")), Tone::Plain));
        }
        told.extend(site.allocated.iter().map(|at| {
            let samples = counted(at.samples, "sample");
            let text =
                format!("allocated at {} {}:{} ({samples})", at.function, file_name(&at.file), at.line);
            (text, Tone::Plain)
        }));
        told.extend(self.heap.as_ref().map(|heap| {
            let text = format!(
                "of {} on the Go heap, read in {}, {} ago",
                bytes(heap.live_bytes),
                duration(heap.took_ns),
                duration(heap.age_ns)
            );
            (text, Tone::Dim)
        }));
        told
    }
}

fn holder(site: &HolderSite) -> String {
    let most = most(site);
    let subject = subject(site);
    if most.is_empty() { subject } else { format!("{subject}: {most}") }
}
