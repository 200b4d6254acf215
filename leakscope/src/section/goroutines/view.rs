//! Goroutines on the screen of `top`.

use super::table::{place, stuck};
use crate::human::{count, counted, duration};
use crate::layout::narrow::span;
use crate::section::label::name;
use crate::section::model::Goroutines;
use crate::section::site::StackSite as _;
use crate::section::stack::Stack;
use crate::section::view::{Around, Tab, Tabbed, Tone, Toned, Viewed, What, dash, number, text};

const COUNT: u8 = 0;
const GROWTH: u8 = 1;
const LONGEST: u8 = 2;
const STATE: u8 = 3;
const AT: u8 = 4;

impl Tabbed for Goroutines {
    const TAB: Option<&'static Tab> = Some(&Tab {
        section: "goroutines",
        title: "Goroutines",
        none: "0",
        always: false,
        leads: true,
        tracks: None,
        columns: &[
            number("COUNT", What::Own(COUNT), 7, 0),
            number("GROWTH", What::Own(GROWTH), 7, 40),
            number("LONGEST", What::Own(LONGEST), 7, 40),
            text("STATE", What::Own(STATE), 18, 40),
            text("AT", What::Own(AT), 0, 0),
        ],
        empty: "no goroutines",
    });
}

impl Viewed for Goroutines {
    fn count(&self) -> String {
        count(self.total)
    }

    fn figure(&self, _: Around) -> Option<String> {
        None
    }

    fn len(&self) -> usize {
        self.sites.len()
    }

    fn id(&self, at: usize) -> &str {
        self.sites[at].site_id()
    }

    fn stack(&self, at: usize) -> Option<&Stack> {
        Some(self.sites[at].stack())
    }

    fn is_idle(&self, at: usize) -> bool {
        self.sites[at].idle || self.sites[at].system
    }

    fn cell(&self, at: usize, number: u8) -> Toned {
        let site = &self.sites[at];
        match number {
            COUNT => (count(site.count), Tone::Bold),
            GROWTH => match site.growth_since_first {
                None | Some(0) => dash(),
                Some(n) => (format!("{n:+}"), if site.piling_up { Tone::Warn } else { Tone::Plain }),
            },
            LONGEST => site.longest_blocked_ns.map_or_else(dash, |ns| (span(ns), Tone::Plain)),
            STATE => (site.wait_reason.clone().unwrap_or_else(|| site.state.clone()), Tone::Plain),
            _ => (place(site), Tone::Plain),
        }
    }

    fn details(&self, at: usize, _: Option<i64>) -> Vec<Toned> {
        let site = &self.sites[at];
        let why = site.wait_reason.as_deref().unwrap_or(&site.state);
        let since = site.growth_since_first.map(|n| format!(", {n:+} since attach")).unwrap_or_default();
        let mut told = vec![(format!("{}: {why}{since}", counted(site.count, "goroutine")), Tone::Bold)];
        told.extend(site.longest_blocked_ns.map(|ns| {
            let least = if site.blocked_at_least { "at least " } else { "" };
            (format!("the longest waits for {least}{}", duration(ns)), Tone::Plain)
        }));
        told.extend(stuck(site).map(|stuck| (stuck, Tone::Plain)));
        told.extend(site.idle_rule.as_ref().map(|rule| (format!("idle: {rule}"), Tone::Dim)));
        told.extend(
            site.created_by.as_ref().map(|frame| (format!("created by {}", name(frame)), Tone::Plain)),
        );
        told
    }
}
