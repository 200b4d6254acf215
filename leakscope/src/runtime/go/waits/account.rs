//! Adds up waits of goroutines: those of time in which all were counted, and those of windows, which are a sample of the
//! time that they were taken of.
//!
//! A window sees a wait that begins and ends in it. Of waits of a length `d` it misses those that begin in its last `d`:
//! so each stands for `L / (L - d)` of the length `L` of the window, which the kernel side has reckoned with already
//! ([`leakscope_common::go_wait::stands_for`]). How far the sum over windows can be off is told by how they differ.

use std::collections::HashMap;

use leakscope_common::go_wait::{GoWaitTotals, PARTS, kind};

use super::{GoWaitSite, GoWaits};

/// Quantiles of Student's distribution for an interval of 95 %, by degrees of freedom less 1.
const QUANTILES: [f64; 10] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23];
/// The same for more.
const QUANTILE: f64 = 2.1;

/// What was seen of one stack.
#[derive(Clone, Copy, Debug, Default)]
struct Site {
    kind: u64,
    /// Where all were counted: how many, and their time.
    counted: [u64; 2],
    /// In windows: sums of both and of their squares.
    sum: [f64; 2],
    squares: [f64; 2],
    max_ns: u64,
}

impl Site {
    /// Adds what a window has seen.
    fn add(&mut self, seen: [f64; 2]) {
        for (i, value) in seen.into_iter().enumerate() {
            self.sum[i] += value;
            self.squares[i] += value * value;
        }
    }
}

/// The account.
#[derive(Debug, Default)]
pub struct Account {
    sites: HashMap<u64, Site>,
    /// Of all waits and of all releases: how windows differ.
    all: [Site; 2],
    /// The kernel side's sums, as they were taken in last.
    before: HashMap<u64, GoWaitTotals>,
    counted_ns: u64,
    sampled_ns: u64,
    windows: u64,
    window_ns: u64,
    long_waits: u64,
}

impl Account {
    /// Takes in what was counted in a time in which the probes stood all the time. May be told in parts.
    pub fn counted(&mut self, now: &[(u64, GoWaitTotals)], ns: u64) {
        self.counted_ns = self.counted_ns.saturating_add(ns);
        for (stack, new, _) in self.since(now) {
            let site = self.sites.entry(stack).or_default();
            (site.kind, site.max_ns) = (new.kind, new.max_ns);
            site.counted[0] = site.counted[0].saturating_add(new.waits);
            site.counted[1] = site.counted[1].saturating_add(new.wait_ns);
        }
    }

    /// Leaves out what has come since the sums were taken in last.
    pub fn skip(&mut self, now: &[(u64, GoWaitTotals)]) {
        self.before.extend(now.iter().copied());
    }

    /// Takes in a window.
    pub fn window(&mut self, now: &[(u64, GoWaitTotals)], length_ns: u64) {
        self.windows += 1;
        self.window_ns = length_ns;
        let mut all = [[0.0; 2]; 2];
        for (stack, new, long) in self.since(now) {
            let site = self.sites.entry(stack).or_default();
            (site.kind, site.max_ns) = (new.kind, new.max_ns);
            let seen = [new.scaled_waits as f64 / PARTS as f64, new.scaled_ns as f64];
            site.add(seen);
            let of = usize::from(new.kind == kind::UNLOCK);
            all[of] = [all[of][0] + seen[0], all[of][1] + seen[1]];
            if new.kind != kind::UNLOCK {
                self.long_waits = self.long_waits.saturating_add(long);
            }
        }
        for (site, seen) in self.all.iter_mut().zip(all) {
            site.add(seen);
        }
    }

    /// Windows are a sample of so much more time.
    pub fn sampled(&mut self, ns: u64) {
        self.sampled_ns = self.sampled_ns.saturating_add(ns);
    }

    /// What has come since the sums were taken in last, by stack, and which of it took too long for a window.
    fn since(&mut self, now: &[(u64, GoWaitTotals)]) -> Vec<(u64, GoWaitTotals, u64)> {
        let mut all = Vec::with_capacity(now.len());
        for (stack, new) in now {
            let old = self.before.insert(*stack, *new).unwrap_or_default();
            let less = |of: fn(&GoWaitTotals) -> u64| of(new).saturating_sub(of(&old));
            let change = GoWaitTotals {
                waits: less(|t| t.waits),
                wait_ns: less(|t| t.wait_ns),
                scaled_waits: less(|t| t.scaled_waits),
                scaled_ns: less(|t| t.scaled_ns),
                ..*new
            };
            all.push((*stack, change, less(|t| t.long_waits)));
        }
        all
    }

    /// What is known now.
    pub fn told(&self) -> GoWaits {
        let mut told = GoWaits {
            counted_ns: self.counted_ns,
            sampled_ns: self.sampled_ns,
            windows: self.windows,
            window_ns: self.window_ns,
            long_waits: self.long_waits,
            ..GoWaits::default()
        };
        for (stack, site) in &self.sites {
            let [(waits, waits_error), (wait_ns, wait_ns_error)] = [0, 1].map(|i| self.estimate(site, i));
            let one = GoWaitSite {
                stack: *stack,
                kind: site.kind,
                waits,
                wait_ns,
                waits_error,
                wait_ns_error,
                max_ns: site.max_ns,
                ..GoWaitSite::default()
            };
            if waits == 0 && wait_ns == 0 {
                continue;
            }
            if site.kind == kind::UNLOCK { told.releases.push(one) } else { told.waits.push(one) }
        }
        told.all_waits = self.sum(&told.waits, &self.all[0]);
        told.all_releases = self.sum(&told.releases, &self.all[1]);
        told
    }

    /// The sum of sites, and how far that can be off.
    fn sum(&self, sites: &[GoWaitSite], all: &Site) -> GoWaitSite {
        let sum = |of: fn(&GoWaitSite) -> u64| sites.iter().map(of).fold(0, u64::saturating_add);
        GoWaitSite {
            waits: sum(|site| site.waits),
            wait_ns: sum(|site| site.wait_ns),
            waits_error: self.estimate(all, 0).1,
            wait_ns_error: self.estimate(all, 1).1,
            max_ns: sites.iter().map(|site| site.max_ns).max().unwrap_or(0),
            ..GoWaitSite::default()
        }
    }

    /// One of both numbers of a site, and how far it can be off.
    fn estimate(&self, site: &Site, i: usize) -> (u64, Option<u64>) {
        if self.sampled_ns == 0 {
            return (site.counted[i], Some(0));
        }
        if self.windows == 0 {
            return (site.counted[i], None);
        }
        let n = self.windows as f64;
        let share = n * self.window_ns as f64 / self.sampled_ns as f64;
        let factor = 1.0 / share.min(1.0);
        let value = site.counted[i] as f64 + factor * site.sum[i];
        let error = (self.windows > 1).then(|| {
            let variance = (site.squares[i] - site.sum[i] * site.sum[i] / n).max(0.0) / (n - 1.0);
            let quantile = QUANTILES.get(self.windows as usize - 2).copied().unwrap_or(QUANTILE);
            // Windows that are most of the time leave little that can be off.
            let unseen = (1.0 - share).max(0.0);
            (quantile * factor * (n * variance * unseen).sqrt()) as u64
        });
        (value as u64, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(waits: u64, wait_ns: u64) -> GoWaitTotals {
        GoWaitTotals {
            kind: kind::RECEIVE,
            waits,
            wait_ns,
            scaled_waits: waits * PARTS,
            scaled_ns: wait_ns,
            ..GoWaitTotals::default()
        }
    }

    #[test]
    fn what_is_counted_is_exact() {
        let mut account = Account::default();
        account.counted(&[(7, totals(2, 20))], 1000);
        account.counted(&[(7, totals(5, 50)), (8, totals(1, 1))], 1000);
        let told = account.told();
        let site = told.waits.iter().find(|site| site.stack == 7).expect("the site");
        assert_eq!(
            (site.waits, site.wait_ns, site.waits_error, site.wait_ns_error),
            (5, 50, Some(0), Some(0))
        );
        assert_eq!((told.counted_ns, told.windows, told.waits.len()), (2000, 0, 2));
    }

    #[test]
    fn windows_are_a_sample_of_their_time() {
        let mut account = Account::default();
        let mut sum = (0, 0);
        for i in 0..20 {
            sum = (sum.0 + 10 + i % 2, sum.1 + 100);
            account.window(&[(7, totals(sum.0, sum.1))], 100);
        }
        account.sampled(20_000);
        let site = account.told().waits[0];
        assert_eq!((site.waits, site.wait_ns), (2100, 20_000));
        assert_eq!(site.wait_ns_error, Some(0), "all windows are alike");
        let error = site.waits_error.expect("an interval");
        assert!((20..70).contains(&error), "{error}");
    }

    #[test]
    fn counted_time_and_windows_add_up() {
        let mut account = Account::default();
        account.counted(&[(7, totals(4, 40))], 100);
        account.window(&[(7, totals(5, 50))], 10);
        account.sampled(100);
        let site = account.told().waits[0];
        assert_eq!((site.waits, site.wait_ns), (14, 140));
        assert_eq!(site.waits_error, None, "one window tells of no spread");
    }

    #[test]
    fn releases_stand_apart() {
        let mut account = Account::default();
        let release = GoWaitTotals { kind: kind::UNLOCK, long_waits: 3, ..totals(1, 9) };
        account.window(&[(1, release), (2, GoWaitTotals { long_waits: 2, ..totals(1, 1) })], 10);
        account.sampled(10);
        let told = account.told();
        assert_eq!((told.releases.len(), told.waits.len(), told.long_waits), (1, 1, 2));
    }
}
