//! What changed of goroutines.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::build::judge;
use super::model::{GoroutineSite, Goroutines};
use super::words::{GoroutinesSaid, Since};
use super::{answer, growth as growth_of_sites};
use crate::human::{count, signed_count};
use crate::layout::grid::{Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::finding::{Code, Finding, Said};
use crate::section::growth::{Change, draw, growth, paint, place, told};
use crate::section::json::with_stack;
use crate::section::key::{Frames, Keys, StackKey};
use crate::section::label::name;
use crate::section::model::{Frame, Stack, StackEnd};
use crate::section::pairs::{Pair, matched, shares};
use crate::section::shared::SharedFrames;
use crate::section::site::{rank, ranked};
use crate::section::{Between, Changed, Compared, Part, Retold, Sides};

/// Goroutines, those of the runtime apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutinesDiff {
    /// Whether both reports have all of them.
    pub exact: bool,
    /// How many the old report has.
    pub old_total: u64,
    /// How many the new report has.
    pub new_total: u64,
    /// Change of their number.
    pub growth: i64,
    /// Sites, most growth first, idle ones and the runtime's own last.
    pub sites: Vec<GoroutineSiteDiff>,
}

with_stack! {
    /// Goroutines in the same place, in both reports or in one.
    pub struct GoroutineSiteDiff {
        /// Place, from 1.
        pub rank: u64,
        /// What happened to it.
        pub change: Change,
        /// Goroutines in the old report.
        pub old_count: u64,
        /// Goroutines in the new report.
        pub new_count: u64,
        /// Change of their number.
        pub growth: i64,
        /// What they do.
        pub state: String,
        /// Why they wait.
        pub wait_reason: Option<String>,
        /// Whether this looks like waiting for work, not like being stuck.
        pub idle: bool,
        /// Whether they are the runtime's own.
        pub system: bool,
        /// The `go` statement that created them.
        pub created_by: Option<Frame>,
        @
        /// The stack.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own; null if there is none.
            blame: Option<u64>,
            /// Frames of the new report, or of the old one if they are gone, innermost first.
            #[serde(alias = "stack")]
            frames: SharedFrames,
            /// Why the stack ended: `root`, or what cut it short.
            stack_end: StackEnd,
        },
    }
}

ranked!(GoroutineSiteDiff);

impl Compared for Goroutines {
    type Diff = GoroutinesDiff;
    const CALLED: Option<&'static str> = Some("goroutines");
    const CODES: &'static [&'static str] = GoroutinesSaid::CODES;

    fn compare<'a>(
        _: &Sides<'_>,
        old: Option<&'a Self>,
        new: Option<&'a Self>,
        keys: &mut Keys<'a>,
    ) -> Option<GoroutinesDiff> {
        let (old, new) = (old?, new?);
        let pairs = matched(&old.sites, &new.sites, |site, which| goroutine_key(site, keys, which));
        let mut sites: Vec<GoroutineSiteDiff> = pairs.iter().map(goroutine_site).collect();
        sites.sort_by_key(|site| (site.system, site.idle, Reverse(site.growth)));
        rank(&mut sites);
        Some(GoroutinesDiff {
            exact: old.exact && new.exact,
            old_total: old.total,
            new_total: new.total,
            growth: growth(old.total, new.total),
            sites,
        })
    }

    fn before<'a>(sides: &Sides<'_>, first: &'a Self, last: &'a Self, keys: &mut Keys<'a>) -> Vec<u64> {
        // Their labels are not compared: those of requests are new in each report.
        let key = |site: &'a GoroutineSite, which| {
            let lines = || site.stack.frames.iter().map(|frame| frame.line).collect::<Vec<_>>();
            (goroutine_key(site, keys, which), sides.one_build.then(lines))
        };
        shares(&first.sites, &last.sites, key, |site| site.count)
    }

    fn grow(&mut self, first: &Self, before: &[u64], between: Between) -> Option<Retold> {
        let between_ns = between.ns;
        let told = answer::all(self, Since::FirstLook).iter().map(Said::text).collect();
        self.growth = Some(growth(first.total, self.total));
        self.growth_since_first = self.growth;
        (self.since_first_ns, self.since_previous_ns) = (between_ns, between_ns);
        for (site, old) in self.sites.iter_mut().zip(before) {
            site.growth = Some(growth(*old, site.count));
            site.growth_since_first = site.growth;
        }
        let mut places: HashMap<String, i64> = HashMap::new();
        for site in &self.sites {
            let sum = places.entry(site.place_id.clone()).or_default();
            *sum = sum.saturating_add(site.growth.unwrap_or(0));
        }
        for site in &mut self.sites {
            let named = !site.place_id.is_empty();
            site.place_growth_since_first =
                if named { places.get(&site.place_id).copied() } else { site.growth };
        }
        growth_of_sites::between(first, self);
        judge(self);
        Some(Retold {
            replaces,
            told,
            answer: answer::goroutines(self, Since::FirstReport).map(Finding::from),
            calm: answer::calm(self, Since::FirstReport).into(),
            more: answer::findings(self, Since::FirstReport).into_iter().map(Finding::from).collect(),
        })
    }
}

/// Whether what a code says is told anew with the growth. That they could not be read again stays true.
fn replaces(code: &Code) -> bool {
    code.is_of::<GoroutinesSaid>() && *code != (GoroutinesSaid::Old { why: String::new() }).code()
}

impl Changed for GoroutinesDiff {
    fn order(&self, part: Part) -> u8 {
        super::order(part)
    }

    fn print(&self, part: Part, page: &mut Page<'_>) -> io::Result<()> {
        match part {
            Part::Totals => {
                let (old, new) = (count(self.old_total), count(self.new_total));
                let growth = signed_count(self.growth);
                page.sentences(Paint::Plain, &format!("Goroutines: {old} → {new} ({growth})"))
            }
            Part::Tables => table(self, page),
            Part::Urgent | Part::Stacks => Ok(()),
        }
    }

    fn finding(&self) -> Option<Finding> {
        if self.growth <= 0 {
            return None;
        }
        let top = self.sites.iter().filter(|site| !site.system).max_by_key(|site| site.growth)?;
        let said = GoroutinesSaid::More {
            growth: self.growth,
            total: self.new_total,
            most: top.growth,
            doing: top.wait_reason.clone().unwrap_or_else(|| top.state.clone()),
            place: place(&top.stack),
        };
        Some(said.into())
    }

    fn nothing(&self) -> Option<&'static str> {
        Some("no more goroutines")
    }
}

/// What is the same of goroutines in another build or run: state, creator, whether they are the runtime's,
/// stack.
fn goroutine_key<'a>(
    site: &'a GoroutineSite,
    keys: &mut Keys<'a>,
    which: Frames,
) -> (&'a str, Option<u32>, bool, StackKey) {
    let creator = site.created_by.as_ref().map(|frame| keys.frame(frame));
    (state(site), creator, site.system, keys.stack(&site.stack, which))
}

/// What goroutines do; running and waiting to run are the same moment seen twice.
fn state(site: &GoroutineSite) -> &str {
    match site.wait_reason.as_deref() {
        Some(reason) => reason,
        None if site.state == "runnable" => "running",
        None => &site.state,
    }
}

fn goroutine_site(pair: &Pair<'_, GoroutineSite>) -> GoroutineSiteDiff {
    let shown = pair.shown();
    let (old_count, new_count) = pair.sums(|site| site.count);
    let growth = growth(old_count, new_count);
    GoroutineSiteDiff {
        rank: 0,
        change: pair.change(growth),
        old_count,
        new_count,
        growth,
        state: shown.state.clone(),
        wait_reason: shown.wait_reason.clone(),
        idle: shown.idle,
        system: shown.system,
        created_by: shown.created_by.clone(),
        stack: shown.stack.clone(),
    }
}

fn table(all: &GoroutinesDiff, page: &mut Page<'_>) -> io::Result<()> {
    let changed: Vec<&GoroutineSiteDiff> =
        all.sites.iter().filter(|site| site.growth != 0 && !site.system).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let shown = &changed[..changed.len().min(page.style.top)];
    let state = |site: &GoroutineSiteDiff| site.wait_reason.as_ref().unwrap_or(&site.state).clone();
    let columns = vec![
        number("#", 0),
        number("growth", 0),
        number("was", 2),
        number("is", 0),
        text("", 1),
        text("state", 1),
        text("goroutines at", 0),
    ];
    let rows = shown.iter().map(|site| Row {
        cells: vec![
            site.rank.to_string(),
            signed_count(site.growth),
            count(site.old_count),
            count(site.new_count),
            told(site.change).to_owned(),
            state(site),
            site.stack.told(name),
        ],
        paint: paint(site.change, site.growth),
    });
    draw(columns, rows.collect(), changed.len(), page)?;
    for site in shown.iter().filter(|site| site.growth > 0) {
        let idle = if site.idle { " (idle)" } else { "" };
        let growth = signed_count(site.growth);
        page.title(Paint::Bold, site.rank, &format!("{}{idle}: {growth} goroutines", state(site)))?;
        page.stack(&site.stack, 2, Paint::Plain)?;
        if let Some(creator) = &site.created_by {
            page.line(Paint::Plain, &format!("  created by {}", name(creator)))?;
        }
    }
    Ok(())
}
