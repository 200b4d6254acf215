//! Sites of two reports, matched.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::growth::Change;
use super::key::Frames;

/// Sites of both reports that have the same key.
pub(crate) struct Pair<'a, S> {
    pub(crate) old: Vec<&'a S>,
    pub(crate) new: Vec<&'a S>,
}

impl<'a, S> Pair<'a, S> {
    /// The one to show: the first of the new report, else of the old one.
    pub(crate) fn shown(&self) -> &'a S {
        // There is no pair without a site.
        self.new.first().unwrap_or_else(|| &self.old[0])
    }

    pub(crate) fn sums(&self, of: impl Fn(&S) -> u64) -> (u64, u64) {
        let sum = |sites: &[&S]| sites.iter().map(|site| of(site)).fold(0, u64::saturating_add);
        (sum(&self.old), sum(&self.new))
    }

    /// Sums of what is known; none where nothing is.
    pub(crate) fn known(&self, of: impl Fn(&S) -> Option<u64>) -> (Option<u64>, Option<u64>) {
        let sum = |sites: &[&S]| sites.iter().filter_map(|site| of(site)).reduce(u64::saturating_add);
        (sum(&self.old), sum(&self.new))
    }

    pub(crate) fn change(&self, growth: i64) -> Change {
        match growth {
            _ if self.old.is_empty() => Change::New,
            _ if self.new.is_empty() => Change::Gone,
            1.. => Change::Grown,
            0 => Change::Same,
            _ => Change::Shrunk,
        }
    }
}

/// Matches sites by their keys: by that of the whole stack, and what is left by that without inlined frames,
/// as builds differ in what is inlined, and in whether debug info tells of it.
pub(crate) fn matched<'a, S, K: Hash + Eq>(
    old: &'a [S],
    new: &'a [S],
    mut key: impl FnMut(&'a S, Frames) -> K,
) -> Vec<Pair<'a, S>> {
    let whole = new.iter().map(|site| Pair { old: Vec::new(), new: vec![site] });
    let whole = whole.chain(old.iter().map(|site| Pair { old: vec![site], new: Vec::new() }));
    let merged = merge(whole, |site| key(site, Frames::All));
    let (mut pairs, left): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|pair| !pair.old.is_empty() && !pair.new.is_empty());
    // Of these, only what finds its other side is added up.
    let mut sides: HashMap<K, (bool, bool)> = HashMap::new();
    for pair in &left {
        let side = sides.entry(key(pair.shown(), Frames::NotInlined)).or_default();
        side.0 |= !pair.old.is_empty();
        side.1 |= !pair.new.is_empty();
    }
    let (found, alone): (Vec<_>, Vec<_>) = left
        .into_iter()
        .partition(|pair| sides.get(&key(pair.shown(), Frames::NotInlined)) == Some(&(true, true)));
    pairs.extend(merge(found.into_iter(), |site| key(site, Frames::NotInlined)));
    pairs.extend(alone);
    pairs
}

/// Adds up pairs that have the same key.
fn merge<'a, S, K: Hash + Eq>(
    pairs: impl Iterator<Item = Pair<'a, S>>,
    mut key: impl FnMut(&'a S) -> K,
) -> Vec<Pair<'a, S>> {
    let mut known: HashMap<K, usize> = HashMap::new();
    let mut merged: Vec<Pair<'a, S>> = Vec::new();
    for pair in pairs {
        match known.entry(key(pair.shown())) {
            Entry::Occupied(at) => {
                let sum = &mut merged[*at.get()];
                sum.old.extend(pair.old);
                sum.new.extend(pair.new);
            }
            Entry::Vacant(at) => {
                at.insert(merged.len());
                merged.push(pair);
            }
        }
    }
    merged
}

/// What tells sites apart.
#[derive(PartialEq, Eq, Hash)]
pub(crate) enum Name<'a, K> {
    /// In one account.
    Id(&'a str),
    /// In others.
    Functions(K),
}

pub(crate) fn name<K>(named: bool, id: &str, functions: impl FnOnce() -> K) -> Name<'_, K> {
    if named { Name::Id(id) } else { Name::Functions(functions()) }
}

/// What each site of `is` had in `was`; sites that match the same ones share what these had.
pub(crate) fn shares<'a, S, K: Eq + Hash>(
    was: &'a [S],
    is: &'a [S],
    mut key: impl FnMut(&'a S, Frames) -> K,
    value: impl Fn(&S) -> u64,
) -> Vec<u64> {
    let numbered = |sites: &'a [S]| sites.iter().enumerate().collect::<Vec<(usize, &'a S)>>();
    let (was, is) = (numbered(was), numbered(is));
    let mut shares = vec![0; is.len()];
    for pair in matched(&was, &is, |(_, site), which| key(site, which)) {
        let (mut left, _) = pair.sums(|(_, site)| value(site));
        let Some((last, others)) = pair.new.split_last() else { continue };
        for (at, site) in others {
            shares[*at] = value(site).min(left);
            left -= shares[*at];
        }
        shares[last.0] = left;
    }
    shares
}
