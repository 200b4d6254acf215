//! What was found, in words and numbers.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::super::frames::Frames;
use super::super::heap::buckets;
use super::holders::{Holder, HolderKind, Holders};
use super::kind::Kind;
use super::name::{Teller, called};
use super::paths::PathId;
use super::samples::{Places, Samples};
use super::walk::Walk;

/// Most holders and types that are told.
const MOST_HOLDERS: usize = 2000;
const MOST_TYPES: usize = 2000;
/// Most places of allocation of one holder.
const MOST_PLACES: usize = 8;

/// What holds the heap of a Go program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoHeld {
    /// Objects, dead ones included that no collection has found yet.
    pub bytes: u64,
    pub objects: u64,
    /// Of these, objects that were reached and whose type is known, and whose is not.
    pub typed_bytes: u64,
    pub untyped_bytes: u64,
    /// Objects that were not reached.
    pub unreached_bytes: u64,
    pub unreached_objects: u64,
    /// What the runtime itself counts (HeapAlloc).
    pub in_use_bytes: u64,
    /// What could not be read.
    pub unread_bytes: u64,
    pub goroutines: u64,
    /// Objects of which the runtime's memory profile tells where they were allocated; none where it keeps no profile.
    pub samples: Option<u64>,
    /// Whether variables have names: a stripped program has none.
    pub named: bool,
    /// Whether there were more ways than can be told apart.
    pub simplified: bool,
    pub took_ns: u64,
    /// How long ago that was as the report was made.
    #[serde(default)]
    pub age_ns: u64,
    /// The largest first.
    pub holders: Vec<HeldBy>,
    pub types: Vec<HeldType>,
    pub ways: Vec<Way>,
}

/// What one holder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBy {
    pub kind: HolderKind,
    /// The variable, or the function; empty if it has none.
    pub name: String,
    /// Functions that use the variable, where it has no name.
    pub users: Vec<String>,
    /// Where it lies, where it has no name.
    pub address: Option<u64>,
    /// Line of the frame.
    pub file: Option<String>,
    pub line: Option<u32>,
    /// Goroutines that have the frame.
    pub goroutines: Option<u64>,
    pub type_name: Option<String>,
    pub bytes: u64,
    pub objects: u64,
    /// The map, slice or channel that most of it is in.
    pub container: Option<Container>,
    /// Where most of it is, as code would name it.
    pub path: String,
    /// Where it was allocated, by the samples among it.
    pub allocated: Vec<Allocated>,
}

/// Maps, slices or channels that are held in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// As code would name it: `main.cache.shards[…].items`.
    pub path: String,
    pub type_name: String,
    /// How many there are, and entries of them all.
    pub objects: u64,
    pub entries: u64,
    /// What they hold.
    pub bytes: u64,
}

/// A place that allocated some of what is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocated {
    pub function: String,
    pub file: String,
    pub line: u32,
    pub samples: u64,
    /// What these stand for.
    pub bytes: u64,
}

/// Objects of a type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldType {
    /// Empty: not known.
    pub name: String,
    /// Whether it has pointers.
    pub pointers: bool,
    pub bytes: u64,
    pub objects: u64,
}

/// Objects that are held in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// From the objects to the holder.
    pub steps: Vec<String>,
    pub bytes: u64,
    pub objects: u64,
}

/// Adds up and names what was found.
pub(super) fn tell(walk: &mut Walk<'_>, holders: &Holders, samples: &Samples, frames: &mut Frames) -> GoHeld {
    let mut held = GoHeld::default();
    let by_kind = add_up(walk, &mut held);
    held.unread_bytes = walk.unread_bytes;
    held.named = holders.variables.iter().any(|variable| !variable.name.is_empty());
    held.simplified = walk.paths.full;
    held.types = types(walk, by_kind);
    let roots = walk.paths.roots();
    let sums = walk.paths.sums();
    let mut allocated = allocated(walk, &roots, samples, frames, &mut held);
    let mut order: Vec<&Holder> =
        holders.all.iter().filter(|holder| sums[holder.path as usize].0 > 0).collect();
    order.sort_by_key(|holder| (std::cmp::Reverse(sums[holder.path as usize].0), holder.path));
    order.truncate(MOST_HOLDERS);
    let mut teller = Teller::of(walk, holders, &sums);
    for holder in order {
        let mut one = teller.holder(holder);
        one.allocated = allocated.remove(&holder.path).unwrap_or_default();
        held.holders.push(one);
    }
    held.ways = teller.ways(&roots);
    held
}

/// Objects and bytes by what they are; `true`: with pointers.
type ByKind = HashMap<(Kind, bool), (u64, u64), foldhash::fast::RandomState>;

fn add_up(walk: &mut Walk<'_>, held: &mut GoHeld) -> ByKind {
    let mut by_kind = ByKind::default();
    for (at, area) in walk.areas.all().iter().enumerate() {
        // Its pages may serve others by now.
        if walk.areas.at(area.start) != Some(at) {
            continue;
        }
        for number in area.first..area.first + area.count {
            let Some(cell) = walk.cells.get(number).filter(|_| !walk.cells.is_late(number)) else { continue };
            held.objects += 1;
            held.bytes = held.bytes.saturating_add(area.size);
            let Some(path) = cell.path else {
                held.unreached_objects += 1;
                held.unreached_bytes = held.unreached_bytes.saturating_add(area.size);
                continue;
            };
            let sum = if cell.kind.is_known() { &mut held.typed_bytes } else { &mut held.untyped_bytes };
            *sum = sum.saturating_add(area.size);
            let by = by_kind.entry((cell.kind, !area.plain)).or_default();
            *by = (by.0.saturating_add(area.size), by.1 + 1);
            if let Some(path) = walk.paths.get_mut(path) {
                path.bytes = path.bytes.saturating_add(area.size);
            }
        }
    }
    by_kind
}

fn types(walk: &mut Walk<'_>, by_kind: ByKind) -> Vec<HeldType> {
    let mut by_name: HashMap<(String, bool), (u64, u64)> = HashMap::new();
    for ((kind, pointers), (bytes, objects)) in by_kind {
        let name = called(walk, kind);
        // What has a name is one row, with pointers or not.
        let key = (name.clone(), pointers && name.is_empty());
        let sum = by_name.entry(key).or_default();
        *sum = (sum.0.saturating_add(bytes), sum.1 + objects);
    }
    let row = |((name, pointers), (bytes, objects))| HeldType { name, pointers, bytes, objects };
    let mut all: Vec<HeldType> = by_name.into_iter().map(row).collect();
    all.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    all.truncate(MOST_TYPES);
    all
}

/// Where what each holder holds was allocated, by the holder's way.
fn allocated(
    walk: &Walk<'_>,
    roots: &[PathId],
    samples: &Samples,
    frames: &mut Frames,
    held: &mut GoHeld,
) -> HashMap<PathId, Vec<Allocated>> {
    let found = buckets::find(walk.program).ok().flatten();
    let Some(rate) =
        found.and_then(|places| buckets::rate(walk.program, places).ok()).filter(|rate| *rate > 0)
    else {
        return HashMap::new();
    };
    let (mut places, mut sums) = (Places::default(), HashMap::<(PathId, u64), (u64, u64)>::new());
    held.samples = Some(0);
    for (object, bucket) in samples.all() {
        let Some((area, index)) = walk.areas.find(*object) else { continue };
        let area = walk.areas.all()[area];
        let path = walk.cells.get(area.first + index).and_then(|cell| cell.path);
        held.samples = held.samples.map(|n| n + 1);
        if let Some(root) = path.and_then(|path| roots.get(path as usize)) {
            let sum = sums.entry((*root, *bucket)).or_default();
            *sum = (sum.0 + 1, sum.1.saturating_add(buckets::scale(1, area.size, rate).1));
        }
    }
    let mut by_place: HashMap<(PathId, String, String, u32), (u64, u64)> = HashMap::new();
    for ((root, bucket), (samples, bytes)) in sums {
        let Some(frame) = places.of(walk.program, frames, bucket) else { continue };
        let key = (root, frame.function.to_string(), frame.file.to_string(), frame.line);
        let sum = by_place.entry(key).or_default();
        *sum = (sum.0 + samples, sum.1.saturating_add(bytes));
    }
    let mut all: HashMap<PathId, Vec<Allocated>> = HashMap::new();
    for ((root, function, file, line), (samples, bytes)) in by_place {
        all.entry(root).or_default().push(Allocated { function, file, line, samples, bytes });
    }
    for places in all.values_mut() {
        places.sort_by(|a, b| {
            b.bytes.cmp(&a.bytes).then_with(|| (&a.function, a.line).cmp(&(&b.function, b.line)))
        });
        places.truncate(MOST_PLACES);
    }
    all
}
