//! Which sites the objects of a span class are of.
//!
//! In a window every object that is taken is seen, with its site. Between windows only the spans are seen that
//! the runtime takes: they tell how many objects of the class there were in the gap, and the windows next to it
//! what share of them a site had. So an object of a window stands for
//! (objects in the window + objects in the gaps) / objects in the window, of its class: a half of each gap goes to
//! the window before it and to the one after it that have seen the class. Windows that have seen few objects of
//! it are put together first.
//!
//! Of some batches it is known who took the first object. Where that is a site that neither of the windows around the gap
//! has seen, it came in a burst of its own: what such batches hold is not the windows' (`Split::strange`).

use std::collections::{BTreeMap, HashMap};

use super::super::QUANTILE;

/// A place where objects are taken: the number of a stack, and where the allocator's function returns to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stack {
    pub number: u32,
    /// 0: the stack has it.
    pub caller: u64,
}

/// `None`: the stack could not be taken.
pub type Site = Option<Stack>;

/// Objects that windows are put together for.
const FEW: u64 = 16;
/// Batches of a class that are worth a window.
const SOME: u64 = 8;
/// Most phases that are kept apart.
const MOST_PHASES: usize = 512;
/// Quantiles of Student's distribution for an interval of 95 %, by degrees of freedom from 1 on; then
/// it is about that of the normal one and 2.4 by their number.
const STUDENT: [f64; 9] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26];

/// A window or a gap.
#[derive(Clone, Debug, Default)]
struct Phase {
    /// Objects that were seen.
    seen: u64,
    /// Objects of the spans that were taken while no window was open.
    objects: f64,
    sites: HashMap<Site, u64>,
    /// Of these, objects of batches whose first object is known, by its site.
    firsts: HashMap<Site, f64>,
}

/// The objects of a span class.
#[derive(Clone, Debug, Default)]
pub(super) struct Mix {
    phases: BTreeMap<u64, Phase>,
    /// Sites of the first objects of batches, while no window has seen the class.
    firsts: HashMap<Site, u64>,
    /// First objects of batches that were followed, by site.
    followed: HashMap<Site, u64>,
    /// The last window that has seen a site, and any.
    latest: HashMap<Site, u64>,
    last: u64,
    /// Objects that were seen, and could not be followed.
    pub(super) unfollowed: HashMap<Site, u64>,
    /// Objects of all batches.
    objects: f64,
    /// Most objects of a batch.
    most: u64,
    /// Objects that windows have seen.
    seen: u64,
    /// Batches of several objects before that.
    unseen: u64,
}

/// Windows that are put together, and the gaps that they stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Group {
    /// The last phase.
    last: u64,
    /// Objects that were seen.
    pub(super) seen: f64,
    /// Objects that these stand for beside themselves.
    pub(super) unseen: f64,
    /// Gaps with such objects.
    gaps: f64,
}

/// What windows stand for, and what they don't.
#[derive(Clone, Debug, Default)]
pub(super) struct Split {
    pub(super) groups: Vec<Group>,
    /// Objects of batches in gaps that began with sites which the windows around have not seen.
    pub(super) strange: HashMap<Site, f64>,
}

impl Group {
    /// Objects that one that was seen stands for.
    pub(super) fn weight(&self) -> f64 {
        1.0 + self.unseen / self.seen.max(1.0)
    }
}

impl Mix {
    /// Whether a window has seen the class.
    pub(super) fn is_seen(&self) -> bool {
        self.seen > 0
    }

    /// Whether windows have seen so much of it that first objects of batches tell nothing more.
    pub(super) fn is_covered(&self) -> bool {
        self.seen >= FEW
    }

    /// Whether no window has seen it, though there were some batches.
    pub(super) fn is_unseen(&self) -> bool {
        self.seen == 0 && self.unseen >= SOME
    }

    /// An object was seen. What first objects of batches tell of sites is not needed any more.
    pub(super) fn see(&mut self, phase: u64, site: Site) {
        if self.seen == 0 {
            self.firsts = HashMap::new();
        }
        self.seen += 1;
        self.last = phase;
        self.latest.insert(site, phase);
        let phase = self.phase(phase);
        phase.seen += 1;
        *phase.sites.entry(site).or_insert(0) += 1;
    }

    /// The first object of a batch of so many was seen.
    pub(super) fn see_first(&mut self, site: Site, room: u64) {
        *self.firsts.entry(site).or_insert(0) += 1;
        self.unseen += u64::from(room > 1);
    }

    /// Whether the last window that has seen objects of the class has seen some of a site.
    pub(super) fn knows(&self, site: Site) -> bool {
        self.latest.get(&site) == Some(&self.last)
    }

    /// The first object of a batch is followed.
    pub(super) fn follow_first(&mut self, site: Site) {
        *self.followed.entry(site).or_insert(0) += 1;
    }

    /// How many such objects of a site were followed.
    pub(super) fn followed(&self, site: Site) -> u64 {
        self.followed.get(&site).copied().unwrap_or(0)
    }

    /// A batch of so many objects was taken in this phase; the first of them by a site, where that is known.
    pub(super) fn add(&mut self, phase: u64, objects: u64, first: Site) {
        self.objects += objects as f64;
        self.most = self.most.max(objects);
        // What is taken in windows is seen there.
        if phase & 1 == 0 {
            let phase = self.phase(phase);
            phase.objects += objects as f64;
            if first.is_some() {
                *phase.firsts.entry(first).or_insert(0.0) += objects as f64;
            }
        }
    }

    fn phase(&mut self, number: u64) -> &mut Phase {
        if self.phases.len() >= MOST_PHASES && !self.phases.contains_key(&number) {
            self.merge();
        }
        self.phases.entry(number).or_default()
    }

    /// Puts each four phases together, under the number of the last one.
    fn merge(&mut self) {
        let phases: Vec<(u64, Phase)> = std::mem::take(&mut self.phases).into_iter().collect();
        for four in phases.chunks(4) {
            let Some((last, _)) = four.last() else { continue };
            let into = self.phases.entry(*last).or_default();
            for (_, phase) in four {
                into.seen += phase.seen;
                into.objects += phase.objects;
                for (site, seen) in &phase.sites {
                    *into.sites.entry(*site).or_insert(0) += seen;
                }
                for (site, objects) in &phase.firsts {
                    *into.firsts.entry(*site).or_insert(0.0) += objects;
                }
            }
        }
    }

    /// Groups of windows, in order, and what belongs to none.
    pub(super) fn split(&self) -> Split {
        let groups = self.groups(|_, phase| [phase.objects / 2.0; 2]);
        let seen = self.seen(&groups);
        let windows = || self.phases.iter().filter(|(_, phase)| phase.seen > 0).map(|(number, _)| *number);
        let mut after = windows().peekable();
        let mut before = None;
        let mut strange: HashMap<Site, f64> = HashMap::new();
        let mut parts: HashMap<u64, [f64; 2]> = HashMap::new();
        for (number, phase) in self.phases.iter().filter(|_| !groups.is_empty()) {
            while let Some(window) = after.next_if(|window| window <= number) {
                before = Some(window);
            }
            let around = [before, after.peek().copied()];
            let around = around.map(|window| window.and_then(|window| group_of(&groups, window)));
            let known: f64 = phase.firsts.values().sum();
            if known <= 0.0 {
                continue;
            }
            let part = parts.entry(*number).or_default();
            for (site, of_site) in &phase.firsts {
                let here = phase.objects * of_site / known;
                let counts = seen.get(site);
                let is_in = |at: usize| counts.and_then(|counts| counts.get(at)).is_some_and(|n| *n > 0.0);
                match around.map(|at| at.is_some_and(is_in)) {
                    [false, false] => *strange.entry(*site).or_insert(0.0) += here,
                    [true, false] => part[0] += here,
                    [false, true] => part[1] += here,
                    [true, true] => part.iter_mut().for_each(|side| *side += here / 2.0),
                }
            }
        }
        let half = |phase: &Phase| [phase.objects / 2.0; 2];
        let groups = self.groups(|number, phase| parts.get(&number).copied().unwrap_or_else(|| half(phase)));
        Split { groups, strange }
    }

    /// Groups of windows, in order. So many objects of a gap belong to the window before it and to the one after it.
    fn groups(&self, parts: impl Fn(u64, &Phase) -> [f64; 2]) -> Vec<Group> {
        let mut cells: Vec<Group> = Vec::new();
        let (mut gap, mut gaps) = ([0.0; 2], 0.0);
        for (number, phase) in &self.phases {
            let [earlier, later] = parts(*number, phase);
            let objects = earlier + later;
            if phase.seen == 0 {
                (gap[0], gap[1]) = (gap[0] + earlier, gap[1] + later);
                gaps += f64::from(objects > 0.0);
                continue;
            }
            let half = if let Some(before) = cells.last_mut() {
                before.unseen += gap[0];
                before.gaps += gaps / 2.0;
                2.0
            } else {
                gap[1] += gap[0];
                1.0
            };
            cells.push(Group {
                last: *number,
                seen: phase.seen as f64,
                unseen: objects + gap[1],
                gaps: gaps / half + f64::from(objects > 0.0),
            });
            (gap, gaps) = ([0.0; 2], 0.0);
        }
        if let Some(last) = cells.last_mut() {
            last.unseen += gap[0] + gap[1];
            last.gaps += gaps;
            last.last = u64::MAX;
        }
        pool(cells)
    }

    /// Objects that were seen by group and site. What a site has of those that cannot be followed is told apart.
    pub(super) fn seen(&self, groups: &[Group]) -> HashMap<Site, Vec<f64>> {
        let mut sites: HashMap<Site, Vec<f64>> = HashMap::new();
        for (number, phase) in &self.phases {
            let Some(at) = group_of(groups, *number) else { continue };
            for (site, seen) in &phase.sites {
                let counts = sites.entry(*site).or_insert_with(|| vec![0.0; groups.len()]);
                if let Some(count) = counts.get_mut(at) {
                    *count += *seen as f64;
                }
            }
        }
        sites
    }

    /// First objects of batches by site; none if a window has seen the class.
    pub(super) fn firsts(&self) -> &HashMap<Site, u64> {
        &self.firsts
    }

    /// Objects that a first object of a batch stands for.
    pub(super) fn first_weight(&self) -> f64 {
        let firsts: u64 = self.firsts.values().sum();
        (self.objects / (firsts as f64).max(1.0)).max(1.0)
    }

    /// Half the width of the interval around the sum of objects that `found` has of those that were seen, by
    /// group, each times its weight.
    ///
    /// It is the larger one of two. One is that of draws without replacement (binomial), with a share that is
    /// never taken for 0 or 1 (Agresti and Coull). The other one is measured: how far a group's share is from that
    /// of its neighbours, by Student's distribution for so many groups; it is larger where objects of a site come in
    /// bursts. Sites by turns vary less than either. To both comes that a gap's objects are known only by whole
    /// batches.
    pub(super) fn error(&self, groups: &[Group], found: &[f64]) -> f64 {
        let found_at = |at: usize| found.get(at).copied().unwrap_or(0.0);
        let (mut seen, mut all, mut sum, mut spread, mut gaps) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (at, group) in groups.iter().enumerate() {
            let weight = group.weight();
            seen += group.seen;
            all += weight * group.seen;
            sum += weight * found_at(at);
            spread += group.seen * weight * (weight - 1.0);
            gaps += group.gaps;
        }
        if all <= 0.0 {
            return 0.0;
        }
        let share = ((sum / all * seen + 2.0) / (seen + 4.0)).clamp(0.0, 1.0);
        let drawn = QUANTILE * (share * (1.0 - share) * spread).sqrt();
        let mut measured = 0.0;
        for (at, group) in groups.iter().enumerate() {
            let near = at.saturating_sub(1)..(at + 2).min(groups.len());
            let (of, had) =
                near.clone().fold((0.0, 0.0), |(of, had), i| (of + groups[i].seen, had + found_at(i)));
            let off = found_at(at) - had / of.max(1.0) * group.seen;
            // Its own share is among those that it is compared with.
            let more = of / (of - group.seen).max(1.0);
            measured += group.weight() * (group.weight() - 1.0) * off * off * more.min(16.0);
        }
        let quantile = match groups.len() {
            0 | 1 => 0.0,
            n => STUDENT.get(n - 2).copied().unwrap_or(QUANTILE + 2.4 / (n - 1) as f64),
        };
        let mix = drawn.max(quantile * measured.sqrt());
        let edges = QUANTILE * sum / all * self.most as f64 * (gaps / 6.0).sqrt();
        mix.hypot(edges)
    }
}

/// The group that holds a phase.
pub(super) fn group_of(groups: &[Group], phase: u64) -> Option<usize> {
    let at = groups.partition_point(|group| group.last < phase);
    (at < groups.len()).then_some(at)
}

/// Puts neighbours together until each has seen enough.
fn pool(cells: Vec<Group>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut rest: Option<Group> = None;
    let join = |a: Group, b: Group| Group {
        last: b.last,
        seen: a.seen + b.seen,
        unseen: a.unseen + b.unseen,
        gaps: a.gaps + b.gaps,
    };
    for cell in cells {
        let group = rest.take().map_or(cell, |rest| join(rest, cell));
        if group.seen < FEW as f64 {
            rest = Some(group);
        } else {
            groups.push(group);
        }
    }
    if let Some(rest) = rest {
        let group = groups.pop().map_or(rest, |last| join(last, rest));
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(number: u32) -> Site {
        Some(Stack { number, caller: 0 })
    }

    /// Windows of so many objects, and a gap of so many after each.
    fn mix(windows: &[(u64, u64)]) -> Mix {
        let mut mix = Mix::default();
        for (at, (seen, gap)) in windows.iter().enumerate() {
            let phase = 2 * at as u64 + 1;
            for i in 0..*seen {
                mix.see(phase, site((i % 2) as u32));
            }
            mix.add(phase, 999, None);
            mix.add(phase + 1, *gap, None);
        }
        mix
    }

    #[test]
    fn a_gap_belongs_to_the_windows_around_it() {
        let groups = mix(&[(20, 100), (0, 60), (30, 40)]).split().groups;
        let unseen: Vec<(f64, f64)> = groups.iter().map(|g| (g.seen, g.unseen)).collect();
        assert_eq!(unseen, [(20.0, 80.0), (30.0, 120.0)]);
        assert_eq!(groups[0].weight(), 5.0);
        assert_eq!(
            (group_of(&groups, 1), group_of(&groups, 5), group_of(&groups, 99)),
            (Some(0), Some(1), Some(1))
        );
    }

    #[test]
    fn a_burst_in_a_gap_is_not_the_windows() {
        let mut mix = mix(&[(20, 100), (20, 0)]);
        mix.add(2, 300, site(7));
        mix.add(2, 100, site(1));
        let Split { groups, strange } = mix.split();
        // A quarter of the gap began with a site that windows have seen, and so may those that nothing is known of.
        assert_eq!(strange, HashMap::from([(site(7), 375.0)]));
        assert_eq!(groups.iter().map(|group| group.unseen).collect::<Vec<_>>(), [62.5, 62.5]);
        assert!(mix.knows(site(0)) && !mix.knows(site(7)));
    }

    #[test]
    fn windows_that_saw_little_are_put_together() {
        let few = mix(&[(3, 10), (5, 10), (20, 10), (2, 10)]);
        let groups = few.split().groups;
        assert_eq!(groups.iter().map(|g| (g.seen, g.unseen)).collect::<Vec<_>>(), [(30.0, 40.0)]);
        assert_eq!(few.seen(&groups)[&site(0)], [16.0]);
        assert!(!Mix::default().is_seen() && Mix::default().split().groups.is_empty());
    }

    #[test]
    fn phases_are_bounded_and_sums_stay() {
        let windows = vec![(20, 100); 4 * MOST_PHASES];
        let mix = mix(&windows);
        assert!(mix.phases.len() <= MOST_PHASES);
        let groups = mix.split().groups;
        let sum = |of: fn(&Group) -> f64| groups.iter().map(of).sum::<f64>();
        assert_eq!(sum(|g| g.seen), 20.0 * windows.len() as f64);
        assert_eq!(sum(|g| g.unseen), 100.0 * windows.len() as f64);
        assert_eq!(mix.seen(&groups)[&site(1)].iter().sum::<f64>(), 10.0 * windows.len() as f64);
    }

    #[test]
    fn an_error_is_0_only_if_all_was_seen() {
        let seen = mix(&[(50, 0), (50, 0)]);
        assert_eq!(seen.error(&seen.split().groups, &[25.0, 25.0]), 0.0);
        let lockstep = mix(&[(50, 500), (50, 500)]);
        let groups = lockstep.split().groups;
        assert!(lockstep.error(&groups, &[25.0, 25.0]) > 50.0);
        assert!(lockstep.error(&groups, &[50.0, 50.0]) > 10.0, "one site alone, and yet");
        let bursts = lockstep.error(&groups, &[50.0, 0.0]);
        assert!(bursts > 2.0 * lockstep.error(&groups, &[25.0, 25.0]), "{bursts}");
    }
}
