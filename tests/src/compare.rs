//! The comparison of a report with the truth.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::fixture::{Amount, Truth};
use crate::report::{Report, Site, names};

/// What a report must fulfil beside the truth of its sites.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The heap section calls itself exact, and nothing at all was lost.
    pub exact: bool,
    /// Losses that may have happened where `exact` is false; no others.
    pub losses: &'a [&'a str],
    /// Every stack of a site in the truth reaches the root.
    pub rooted: bool,
}

impl Default for Expect<'_> {
    fn default() -> Self {
        Self { exact: true, losses: &[], rooted: true }
    }
}

impl Report {
    /// Compares everything, and that nothing was lost and every stack reached the root.
    ///
    /// # Panics
    /// If anything differs; with all differences.
    #[track_caller]
    pub fn assert_exact(&self, truth: &Truth) {
        self.assert_matches(truth, Expect::default());
    }

    /// Compares under an own expectation.
    ///
    /// # Panics
    /// If anything differs; with all differences.
    #[track_caller]
    pub fn assert_matches(&self, truth: &Truth, expect: Expect<'_>) {
        if let Err(differences) = self.compare(truth, expect) {
            panic!("the report differs from the truth:\n{differences}");
        }
    }

    /// Compares under an own expectation.
    ///
    /// # Errors
    /// All differences, a line each.
    pub fn compare(&self, truth: &Truth, expect: Expect<'_>) -> Result<(), String> {
        let mut differences = String::new();
        let mut differ = |text: String| writeln!(differences, "- {text}").expect("a String takes all");

        let found = charge(self, truth);
        for (name, live) in &truth.live {
            let sites = found.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let reported = sum(sites.iter().map(Site::live));
            if reported != *live {
                differ(format!("live at {name}: reported {reported:?}, true {live:?}"));
            }
            // Stacks of which nothing is live may be left out of the report, so it may show less.
            if let Some(allocated) = truth.allocated.get(name) {
                let reported = sum(sites.iter().map(Site::allocated));
                if reported.objects > allocated.objects || reported.bytes > allocated.bytes {
                    differ(format!("allocated at {name}: reported {reported:?}, true {allocated:?}"));
                }
            }
            for site in sites.iter().filter(|site| expect.rooted && !site.is_rooted()) {
                differ(format!("a stack of {name} does not reach the root: {}", site.stack()));
            }
        }
        if let Some(total) = truth.total {
            let reported = Amount {
                objects: self.number("/heap/totals/live_objects"),
                bytes: self.number("/heap/totals/live_bytes"),
            };
            if reported != total {
                let others = self.sites().filter(|site| charged_to(site, truth).is_none());
                let others: Vec<_> =
                    others.map(|site| format!("{:?} {}", site.live(), site.stack())).collect();
                differ(format!(
                    "live in all: reported {reported:?}, true {total:?}; other sites: {others:#?}"
                ));
            }
        }
        for name in ["unknown_frees", "older_blocks", "older_bytes"] {
            let Some(known) = truth.numbers.get(name) else { continue };
            let reported = self.number(&format!("/heap/totals/{name}"));
            if reported != *known {
                differ(format!("{name}: reported {reported}, true {known}"));
            }
        }
        for site in self.sites() {
            let live = site.live();
            if live.objects < 0 || live.bytes < 0 {
                differ(format!("less than nothing is live at {}: {live:?}", site.stack()));
            }
        }
        for (name, number) in self.losses() {
            if expect.exact || !expect.losses.contains(&name) {
                differ(format!("lost: {name} {number}"));
            }
        }
        if expect.exact && !self.heap_exact() {
            differ("the heap section does not call itself exact".to_owned());
        }
        if differences.is_empty() { Ok(()) } else { Err(differences) }
    }
}

/// The sites of the report by the function of the truth that they belong to.
fn charge<'r>(report: &'r Report, truth: &'r Truth) -> BTreeMap<&'r str, Vec<Site<'r>>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for site in report.sites() {
        if let Some(name) = charged_to(&site, truth) {
            found.entry(name).or_default().push(site);
        }
    }
    found
}

/// The innermost function of the truth on the site's stack.
fn charged_to<'r>(site: &Site<'r>, truth: &'r Truth) -> Option<&'r str> {
    site.functions()
        .find_map(|function| truth.live.keys().find(|name| names(function, name)).map(String::as_str))
}

fn sum(amounts: impl Iterator<Item = Amount>) -> Amount {
    amounts.fold(Amount::default(), |sum, next| Amount {
        objects: sum.objects + next.objects,
        bytes: sum.bytes + next.bytes,
    })
}

#[cfg(test)]
mod tests;
