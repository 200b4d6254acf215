//! The state of the screen of one process.

use std::collections::{BTreeMap, HashMap};

use crate::processes::history::History;
use crate::report::Report;
use crate::report::model::{GoroutineSite, Site, Stack, WaitSite};

/// What is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Sites of the heap.
    #[default]
    Heap,
    /// Blocked threads.
    Threads,
    /// Goroutines.
    Goroutines,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Probes are being placed.
    Attaching,
    /// Reports come.
    Attached {
        /// Probes.
        probes: usize,
    },
    /// It is over, and why.
    Ended(String),
    /// It may not be traced by this user, or not here at all; why.
    Denied(String),
}

/// Orders of heap sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SiteOrder {
    /// Live bytes.
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
    pub tab: Tab,
    /// Order of the heap's sites.
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
    /// Live bytes of sites when the mark was set.
    mark: Option<HashMap<String, u64>>,
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
            tab: Tab::default(),
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
            histories: HashMap::new(),
            rows: Vec::new(),
            selected: None,
            chosen: false,
        }
    }

    /// Takes a report in.
    pub fn update(&mut self, report: Report) {
        let at = report.window.duration_ns;
        if let Some(heap) = &report.heap {
            let mut histories = HashMap::with_capacity(heap.sites.len());
            for site in &heap.sites {
                let mut history = self.histories.remove(&site.site_id).unwrap_or_default();
                // A site that is new had nothing before.
                if history.last().is_none() && self.report.is_some() {
                    let before = self.report.as_ref().map_or(0, |r| r.window.duration_ns);
                    history.push(before, 0);
                }
                history.push(at, site.live_bytes);
                histories.insert(site.site_id.clone(), history);
            }
            self.histories = histories;
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
        if !self.chosen
            && self
                .report
                .as_ref()
                .is_some_and(|r| r.target.runtime.runtime().is_some_and(|runtime| runtime.tasks().is_some()))
        {
            self.tab = Tab::Goroutines;
        }
        self.arrange();
    }

    /// Sorts anew, and keeps the chosen site.
    pub fn arrange(&mut self) {
        let Some(report) = &self.report else { return };
        let count = match self.tab {
            Tab::Heap => report.heap.as_ref().map_or(0, |h| h.sites.len()),
            Tab::Threads => report.waits.as_ref().map_or(0, |w| w.sites.len()),
            Tab::Goroutines => report.goroutines.as_ref().map_or(0, |g| g.sites.len()),
        };
        let mut rows: Vec<usize> = (0..count).collect();
        if let (Tab::Heap, Some(heap)) = (self.tab, &report.heap) {
            let sites = &heap.sites;
            if self.mark.is_some() {
                // What did not grow since the mark is left out.
                rows.retain(|&i| self.since_mark(&sites[i]).is_some_and(|n| n > 0));
            } else {
                rows.retain(|&i| sites[i].live_objects > 0);
            }
            rows.sort_by_key(|&i| {
                let site = &sites[i];
                let growth = || self.growth_per_min(site).unwrap_or(0);
                std::cmp::Reverse(match self.order {
                    SiteOrder::Live => (site.live_bytes.cast_signed(), growth()),
                    SiteOrder::Growth => (growth(), site.live_bytes.cast_signed()),
                    SiteOrder::SinceMark => {
                        (self.since_mark(site).unwrap_or(0), site.live_bytes.cast_signed())
                    }
                })
            });
        }
        self.rows = rows;
        let found = self.selected.as_ref().and_then(|id| {
            (0..self.rows.len()).find(|&row| self.site_id(row).is_some_and(|other| other == id))
        });
        if self.selected.is_some() && found.is_none() {
            // It is gone.
            self.detail = None;
        }
        self.at = found.unwrap_or(self.at).min(self.rows.len().saturating_sub(1));
        self.keep_in_sight();
    }

    fn site_id(&self, row: usize) -> Option<&str> {
        match self.tab {
            Tab::Heap => self.heap_site(row).map(|s| s.site_id.as_str()),
            Tab::Threads => self.wait_site(row).map(|s| s.site_id.as_str()),
            Tab::Goroutines => self.goroutine_site(row).map(|s| s.site_id.as_str()),
        }
    }

    /// The heap's site in a row.
    pub fn heap_site(&self, row: usize) -> Option<&Site> {
        self.report.as_ref()?.heap.as_ref()?.sites.get(*self.rows.get(row)?)
    }

    /// The wait site in a row.
    pub fn wait_site(&self, row: usize) -> Option<&WaitSite> {
        self.report.as_ref()?.waits.as_ref()?.sites.get(*self.rows.get(row)?)
    }

    /// The goroutines in a row.
    pub fn goroutine_site(&self, row: usize) -> Option<&GoroutineSite> {
        self.report.as_ref()?.goroutines.as_ref()?.sites.get(*self.rows.get(row)?)
    }

    /// The stack of the chosen row.
    pub fn stack(&self) -> Option<&Stack> {
        match self.tab {
            Tab::Heap => self.heap_site(self.at).map(|site| &site.stack),
            Tab::Threads => self.wait_site(self.at).map(|site| &site.stack),
            Tab::Goroutines => self.goroutine_site(self.at).map(|site| &site.stack),
        }
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
    pub fn growth_per_min(&self, site: &Site) -> Option<i64> {
        Some((self.histories.get(&site.site_id)?.slope()? * 60.0) as i64)
    }

    /// Latest sizes of a site.
    pub fn history(&self, site: &Site) -> Option<&History> {
        self.histories.get(&site.site_id)
    }

    /// Growth of a site since the mark; `None` without one.
    pub fn since_mark(&self, site: &Site) -> Option<i64> {
        let mark = self.mark.as_ref()?;
        let before = mark.get(&site.site_id).copied().unwrap_or(0);
        Some(site.live_bytes.cast_signed() - before.cast_signed())
    }

    /// Whether there is a mark.
    pub fn marked(&self) -> bool {
        self.mark.is_some()
    }

    /// Sets the mark, or takes it away.
    pub fn toggle_mark(&mut self) {
        self.mark = match (&self.mark, self.report.as_ref().and_then(|r| r.heap.as_ref())) {
            (None, Some(heap)) => {
                Some(heap.sites.iter().map(|s| (s.site_id.clone(), s.live_bytes)).collect())
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
    pub fn tabs(&self) -> Vec<Tab> {
        let go = self.report.as_ref().is_some_and(|r| r.goroutines.is_some());
        if go { vec![Tab::Heap, Tab::Threads, Tab::Goroutines] } else { vec![Tab::Heap, Tab::Threads] }
    }

    /// Another tab.
    pub fn turn(&mut self, forward: bool) {
        let tabs = self.tabs();
        let at = tabs.iter().position(|t| *t == self.tab).unwrap_or(0);
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
