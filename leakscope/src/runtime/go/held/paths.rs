//! The ways by which objects are held: from a holder through members of types. Objects that are held in the same way
//! share one, so that millions of objects need few.

use std::collections::HashMap;

use super::kind::Kind;

/// Most ways; what comes after is charged to where it hangs.
const MOST: usize = 1 << 18;
/// Most steps of one.
const DEEPEST: u32 = 96;
/// The step through a word of which nothing is known.
pub(super) const SOMEWHERE: u32 = u32::MAX;

/// The number of a way.
pub(super) type PathId = u32;

#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// The way that it goes on from; its own number: it is a holder's.
    pub parent: PathId,
    /// The offset of the pointer in what is there, or the number of the holder.
    pub step: u32,
    /// What the objects are that it leads to.
    pub kind: Kind,
    depth: u32,
    /// Objects, and bytes of them, that it leads to.
    pub objects: u64,
    pub bytes: u64,
    /// Entries of all of these that are maps, slices or channels.
    pub entries: u64,
    /// Some object that it leads to.
    pub example: u64,
}

#[derive(Debug, Default)]
pub(super) struct Paths {
    all: Vec<Path>,
    known: HashMap<(PathId, u32, Kind), PathId, foldhash::fast::RandomState>,
    /// The one that was asked for last: objects of one kind mostly come one after the other.
    last: Option<((PathId, u32, Kind), PathId)>,
    /// Whether there were more than can be told apart.
    pub full: bool,
}

impl Paths {
    pub(super) fn all(&self) -> &[Path] {
        &self.all
    }

    pub(super) fn get_mut(&mut self, id: PathId) -> Option<&mut Path> {
        self.all.get_mut(id as usize)
    }

    /// The way of a holder itself.
    pub(super) fn holder(&mut self, number: u32) -> PathId {
        let id = self.all.len() as PathId;
        self.push(id, number, Kind::UNKNOWN, 0)
    }

    fn push(&mut self, parent: PathId, step: u32, kind: Kind, depth: u32) -> PathId {
        let path = Path { parent, step, kind, depth, objects: 0, bytes: 0, entries: 0, example: 0 };
        self.all.push(path);
        (self.all.len() - 1) as PathId
    }

    /// Where a step leads to. What repeats itself, as a list does, stays where it was.
    pub(super) fn step(&mut self, from: PathId, step: u32, kind: Kind) -> PathId {
        let key = (from, step, kind);
        if let Some((_, known)) = self.last.filter(|(last, _)| *last == key) {
            return known;
        }
        let id = match self.known.get(&key) {
            Some(known) => *known,
            None => {
                let id = self.new_step(from, step, kind);
                if self.known.len() < 4 * MOST {
                    self.known.insert(key, id);
                }
                id
            }
        };
        self.last = Some((key, id));
        id
    }

    fn new_step(&mut self, from: PathId, step: u32, kind: Kind) -> PathId {
        let Some(start) = self.all.get(from as usize).copied() else { return from };
        let (mut at, mut path) = (from, start);
        while path.parent != at {
            let Some(before) = self.all.get(path.parent as usize) else { break };
            if path.step == step
                && path.kind == kind
                && before.kind == start.kind
                && before.parent != path.parent
            {
                return at;
            }
            (at, path) = (path.parent, *before);
        }
        if self.all.len() >= MOST || start.depth >= DEEPEST {
            self.full = true;
            return from;
        }
        self.push(from, step, kind, start.depth + 1)
    }

    /// The way of the holder that each begins with.
    pub(super) fn roots(&self) -> Vec<PathId> {
        let mut roots: Vec<PathId> = Vec::with_capacity(self.all.len());
        for (at, path) in self.all.iter().enumerate() {
            // What it goes on from stands before it.
            roots.push(if path.parent as usize == at { at as PathId } else { roots[path.parent as usize] });
        }
        roots
    }

    /// Bytes and objects of each with all that goes on from it.
    pub(super) fn sums(&self) -> Vec<(u64, u64)> {
        let mut sums: Vec<(u64, u64)> = self.all.iter().map(|path| (path.bytes, path.objects)).collect();
        for at in (0..self.all.len()).rev() {
            let parent = self.all[at].parent as usize;
            if parent < at {
                let (bytes, objects) = sums[at];
                sums[parent].0 = sums[parent].0.saturating_add(bytes);
                sums[parent].1 = sums[parent].1.saturating_add(objects);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::Role;
    use super::*;

    #[test]
    fn lists_are_one_way() {
        let mut paths = Paths::default();
        let holder = paths.holder(7);
        let node = Kind::new(Role::One, 3);
        let first = paths.step(holder, 0, node);
        let next = paths.step(first, 8, node);
        assert_eq!(paths.step(next, 8, node), next, "the next one's next");
        assert_ne!(next, first);
        assert_eq!(paths.step(holder, 0, node), first);
        let value = paths.step(next, 16, Kind::UNKNOWN);
        assert_eq!(paths.step(next, 16, Kind::UNKNOWN), value);
        for (id, bytes) in [(first, 10), (next, 100), (value, 1000)] {
            let path = paths.get_mut(id).expect("it is known");
            (path.bytes, path.objects) = (bytes, 1);
        }
        assert_eq!(paths.sums(), [(1110, 3), (1110, 3), (1100, 2), (1000, 1)]);
        assert_eq!(paths.roots(), [holder; 4]);
    }

    #[test]
    fn ways_are_bounded() {
        let mut paths = Paths::default();
        let holder = paths.holder(0);
        let mut at = holder;
        for n in 0..1000 {
            at = paths.step(at, n, Kind::new(Role::One, n));
        }
        assert!(paths.full && paths.all().len() < 100);
        for n in 0..2 * MOST as u32 {
            paths.step(holder, n, Kind::UNKNOWN);
        }
        assert_eq!(paths.all().len(), MOST);
    }
}
