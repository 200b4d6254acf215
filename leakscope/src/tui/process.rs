//! The state of the screen of one process.

use std::collections::{BTreeMap, HashMap};

use crate::processes::history::History;
use crate::report::Report;
use crate::section::stack::Stack;
use crate::section::view::{Tab, Viewed};

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Probes are being placed.
    Attaching,
    /// Reports come.
    Attached { probes: usize },
    /// It is over, and why.
    Ended(String),
    /// It may not be traced by this user, or not here at all; why.
    Denied(String),
}

/// Orders of sites of which something is tracked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SiteOrder {
    /// What they have now.
    #[default]
    Live,
    /// Growth a minute.
    Growth,
    /// Growth since the mark.
    SinceMark,
}

/// One process, as its reports tell it.
#[derive(Clone, Debug)]
pub struct ProcessView {
    /// The process.
    pub pid: u32,
    /// Its name, as far as known.
    pub comm: String,
    /// How far it is.
    pub phase: Phase,
    /// The latest report.
    pub report: Option<Report>,
    /// What is listed.
    pub tab: &'static Tab,
    pub order: SiteOrder,
    /// Something that went wrong, from the session.
    pub warning: Option<String>,
    /// The chosen row.
    pub at: usize,
    /// The first row on the screen.
    pub first: usize,
    /// Rows that the screen has.
    pub height: usize,
    /// Whether the details of the chosen row are shown, and from which of their lines.
    pub detail: Option<usize>,
    /// Lines of sources that were read, by file and line.
    pub sources: BTreeMap<(String, u32), String>,
    /// Shares of a core that the target (an estimate) and leakscope spent between the last two reports.
    pub cost: Option<(f64, f64)>,
    /// Time between the last two reports, ns.
    pub apart_ns: u64,
    /// What sites had when the mark was set.
    mark: Option<HashMap<String, u64>>,
    /// When the last report was made in which all stacks had names, since recording began.
    named_ns: Option<u64>,
    histories: HashMap<String, History>,
    rows: Vec<usize>,
    /// Site of the chosen row.
    selected: Option<String>,
    /// Whether the user has chosen a tab.
    chosen: bool,
}

impl ProcessView {
    /// A process that is about to be attached to.
    pub fn new(pid: u32, comm: String) -> Self {
        Self {
            pid,
            comm,
            phase: Phase::Attaching,
            report: None,
            tab: Report::tabs()[0],
            order: SiteOrder::default(),
            warning: None,
            at: 0,
            first: 0,
            height: 0,
            detail: None,
            sources: BTreeMap::new(),
            cost: None,
            apart_ns: 0,
            mark: None,
            named_ns: None,
            histories: HashMap::new(),
            rows: Vec::new(),
            selected: None,
            chosen: false,
        }
    }

    /// Takes a report in.
    pub fn update(&mut self, report: Report) {
        let at = report.window.duration_ns;
        // What places have grows with the stacks that have names.
        if let Some(view) = tracked(&report).filter(|_| report.unnamed_stacks == 0) {
            let mut histories = HashMap::with_capacity(view.len());
            for site in 0..view.len() {
                let mut history = self.histories.remove(view.id(site)).unwrap_or_default();
                // A site that is new had nothing before.
                if history.last().is_none()
                    && let Some(before) = self.named_ns
                {
                    history.push(before, 0);
                }
                history.push(at, view.tracked(site));
                histories.insert(view.id(site).to_owned(), history);
            }
            self.histories = histories;
            self.named_ns = Some(at);
        }
        let before = self.report.as_ref().map(|r| (r.window.duration_ns, r.overhead.clone()));
        if let Some((before_ns, before)) = before.filter(|(ns, _)| *ns < at) {
            let share = |now: u64, then: u64| now.saturating_sub(then) as f64 / (at - before_ns) as f64;
            self.apart_ns = at - before_ns;
            let now = &report.overhead;
            self.cost = Some((
                share(now.estimated_target_cpu_ns, before.estimated_target_cpu_ns),
                share(now.leakscope_cpu_ns, before.leakscope_cpu_ns),
            ));
        }
        self.comm.clone_from(&report.target.comm);
        self.report = Some(report);
        if let Some(tab) = self.tabs().into_iter().find(|tab| tab.leads && !self.chosen) {
            self.tab = tab;
        }
        self.arrange();
    }

    /// Sorts anew, and keeps the chosen site.
    pub fn arrange(&mut self) {
        if self.report.is_none() {
            return;
        }
        self.rows = self.arranged();
        let found = self
            .selected
            .as_ref()
            .zip(self.view())
            .and_then(|(id, view)| self.rows.iter().position(|&site| view.id(site) == id));
        if self.selected.is_some() && found.is_none() {
            // It is gone.
            self.detail = None;
        }
        self.at = found.unwrap_or(self.at).min(self.rows.len().saturating_sub(1));
        self.keep_in_sight();
    }

    /// The sites that are listed, in their order.
    fn arranged(&self) -> Vec<usize> {
        let Some(view) = self.view() else { return Vec::new() };
        let mut rows: Vec<usize> = (0..view.len()).collect();
        if self.tab.tracks.is_some() && self.mark.is_some() && self.is_named() {
            // What did not grow since the mark is left out.
            rows.retain(|&site| self.since_mark(view, site).is_some_and(|n| n > 0));
        } else {
            rows.retain(|&site| view.is_listed(site));
        }
        if self.tab.tracks.is_some() {
            rows.sort_by_key(|&site| {
                let now = view.tracked(site).cast_signed();
                let growth = || self.growth_per_min(view.id(site)).unwrap_or(0);
                std::cmp::Reverse(match self.order {
                    SiteOrder::Live => (now, growth()),
                    SiteOrder::Growth => (growth(), now),
                    SiteOrder::SinceMark => (self.since_mark(view, site).unwrap_or(0), now),
                })
            });
        }
        rows
    }

    /// The section that is listed.
    pub fn view(&self) -> Option<&dyn Viewed> {
        self.report.as_ref()?.viewed(self.tab)
    }

    /// The number of the site in a row.
    pub fn site(&self, row: usize) -> Option<usize> {
        self.rows.get(row).copied()
    }

    /// The ID of the site in a row.
    pub fn site_id(&self, row: usize) -> Option<&str> {
        Some(self.view()?.id(self.site(row)?))
    }

    /// The stack of the chosen row.
    pub fn stack(&self) -> Option<&Stack> {
        self.view()?.stack(self.site(self.at)?)
    }

    /// Rows of the list.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Growth of a site a minute.
    pub fn growth_per_min(&self, site_id: &str) -> Option<i64> {
        Some((self.histories.get(site_id)?.slope()? * 60.0) as i64)
    }

    /// Latest sizes of a site.
    pub fn history(&self, site_id: &str) -> Option<&History> {
        self.histories.get(site_id)
    }

    /// Growth of a site since the mark; `None` without one.
    pub fn since_mark(&self, view: &dyn Viewed, site: usize) -> Option<i64> {
        let mark = self.mark.as_ref().filter(|_| self.is_named())?;
        let before = mark.get(view.id(site)).copied().unwrap_or(0);
        Some(view.tracked(site).cast_signed() - before.cast_signed())
    }

    /// Whether all stacks have their names: else what places have says nothing of their growth.
    pub fn is_named(&self) -> bool {
        self.report.as_ref().is_none_or(|report| report.unnamed_stacks == 0)
    }

    /// Whether there is a mark.
    pub fn marked(&self) -> bool {
        self.mark.is_some()
    }

    /// Sets the mark, or takes it away.
    pub fn toggle_mark(&mut self) {
        self.mark = match (&self.mark, self.report.as_ref().and_then(tracked)) {
            (None, Some(view)) => {
                let site = |site| (view.id(site).to_owned(), view.tracked(site));
                Some((0..view.len()).map(site).collect())
            }
            _ => None,
        };
        self.order = if self.mark.is_some() { SiteOrder::SinceMark } else { SiteOrder::Live };
        self.arrange();
    }

    /// The next order of sites.
    pub fn next_order(&mut self) {
        self.order = match self.order {
            SiteOrder::Live => SiteOrder::Growth,
            SiteOrder::Growth if self.marked() => SiteOrder::SinceMark,
            SiteOrder::Growth | SiteOrder::SinceMark => SiteOrder::Live,
        };
        self.arrange();
    }

    /// The tabs that there are.
    pub fn tabs(&self) -> Vec<&'static Tab> {
        let there = |tab: &Tab| tab.always || self.report.as_ref().is_some_and(|r| r.viewed(tab).is_some());
        Report::tabs().into_iter().filter(|tab| there(tab)).collect()
    }

    /// Another tab.
    pub fn turn(&mut self, forward: bool) {
        let tabs = self.tabs();
        let at = tabs.iter().position(|tab| tab.section == self.tab.section).unwrap_or(0);
        let next = if forward { at + 1 } else { at + tabs.len() - 1 } % tabs.len();
        self.tab = tabs[next];
        self.chosen = true;
        (self.at, self.first, self.selected, self.detail) = (0, 0, None, None);
        self.arrange();
    }

    /// Moves by so many rows, or lines of the details.
    pub fn step(&mut self, by: isize) {
        match &mut self.detail {
            // The drawing knows where they end.
            Some(line) => *line = line.saturating_add_signed(by),
            None => self.go(self.at.saturating_add_signed(by)),
        }
    }

    /// Chooses a row.
    pub fn go(&mut self, row: usize) {
        self.at = row.min(self.rows.len().saturating_sub(1));
        self.selected = self.site_id(self.at).map(str::to_owned).filter(|_| self.at > 0);
        self.keep_in_sight();
    }

    /// Shows the details of the chosen row.
    pub fn open(&mut self) -> bool {
        let Some(id) = self.site_id(self.at).map(str::to_owned) else { return false };
        // It stays what is shown, wherever it moves.
        self.selected = Some(id);
        self.detail = Some(0);
        true
    }

    /// Sets how many rows the screen has.
    pub fn resize(&mut self, height: usize) {
        self.height = height;
        self.keep_in_sight();
    }

    fn keep_in_sight(&mut self) {
        let height = self.height.max(1);
        self.first = self.first.min(self.at).max((self.at + 1).saturating_sub(height));
        self.first = self.first.min(self.rows.len().saturating_sub(height));
    }
}

/// The section of which something is tracked.
fn tracked(report: &Report) -> Option<&dyn Viewed> {
    report.viewed(Report::tabs().into_iter().find(|tab| tab.tracks.is_some())?)
}
