//! The state of the list of processes.

use crate::processes::model::{Process, matches};
use crate::processes::{Order, Snapshot};

/// The list, and where in it one is.
#[derive(Clone, Debug, Default)]
pub struct List {
    snapshot: Option<Snapshot>,
    /// Indices into the snapshot's processes, in the order of the screen.
    rows: Vec<usize>,
    /// What it is sorted by.
    pub order: Order,
    /// Whether the other way round.
    pub reversed: bool,
    /// What listed processes hold.
    pub filter: String,
    /// The chosen process; the first row if `None`, whatever that is.
    selected: Option<u32>,
    /// Where the chosen process is or was.
    at: usize,
    /// The first row on the screen.
    pub first: usize,
    /// Rows that the screen has.
    pub height: usize,
}

impl List {
    /// Takes a snapshot in.
    pub fn update(&mut self, snapshot: Snapshot) {
        self.snapshot = Some(snapshot);
        self.arrange();
    }

    /// The latest snapshot.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Sorts and filters anew, and keeps the chosen process in sight.
    pub fn arrange(&mut self) {
        let Some(snapshot) = &self.snapshot else { return };
        let all = &snapshot.processes;
        self.rows = (0..all.len()).filter(|&i| matches(&all[i], &self.filter)).collect();
        let (order, reversed) = (self.order, self.reversed);
        self.rows.sort_by(|&a, &b| {
            let compared = order.compare(&all[a], &all[b]);
            if reversed { compared.reverse() } else { compared }
        });
        match self.selected.and_then(|pid| self.position(pid)) {
            Some(at) => self.at = at,
            // It is gone: whatever is in its place now.
            None if self.selected.is_some() => {
                self.at = self.at.min(self.rows.len().saturating_sub(1));
                self.selected = self.process(self.at).map(|p| p.pid);
            }
            None => self.at = 0,
        }
        self.keep_in_sight();
    }

    fn position(&self, pid: u32) -> Option<usize> {
        (0..self.rows.len()).find(|&row| self.process(row).is_some_and(|p| p.pid == pid))
    }

    /// The process in a row.
    pub fn process(&self, row: usize) -> Option<&Process> {
        self.snapshot.as_ref()?.processes.get(*self.rows.get(row)?)
    }

    /// How many rows there are, on the screen or not.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The chosen row.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The chosen process.
    pub fn selected(&self) -> Option<&Process> {
        self.process(self.at)
    }

    /// The processes on the screen.
    pub fn shown(&self) -> Vec<u32> {
        let rows = self.first..self.len().min(self.first + self.height.max(1));
        rows.filter_map(|row| Some(self.process(row)?.pid)).collect()
    }

    /// Moves by so many rows.
    pub fn step(&mut self, by: isize) {
        self.go(self.at.saturating_add_signed(by));
    }

    /// Chooses a row.
    pub fn go(&mut self, row: usize) {
        self.at = row.min(self.len().saturating_sub(1));
        // Who stays at the top wants to see what comes to the top.
        self.selected = self.process(self.at).map(|p| p.pid).filter(|_| self.at > 0);
        self.keep_in_sight();
    }

    /// Sets how many rows the screen has.
    pub fn resize(&mut self, height: usize) {
        self.height = height;
        self.keep_in_sight();
    }

    /// Sorts by something else.
    pub fn sort(&mut self, order: Order) {
        // The same again: the other way round.
        self.reversed = order == self.order && !self.reversed;
        self.order = order;
        self.arrange();
    }

    fn keep_in_sight(&mut self) {
        let height = self.height.max(1);
        self.first = self.first.min(self.at).max((self.at + 1).saturating_sub(height));
        self.first = self.first.min(self.len().saturating_sub(height));
    }
}
