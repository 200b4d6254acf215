//! What was found, in words and numbers.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::super::frames::Frames;
use super::super::heap::buckets;
use super::flat::What;
use super::holders::{Holder, HolderKind, Holders};
use super::kind::{Kind, Role};
use super::paths::{Path, PathId, SOMEWHERE};
use super::samples::{Places, Samples};
use super::types::Types;
use super::variables::{LeafType, Variable};
use super::walk::Walk;

/// Most holders, types and ways that are told.
const MOST_HOLDERS: usize = 2000;
const MOST_TYPES: usize = 2000;
const MOST_WAYS: usize = 4000;
/// Most places of allocation of one holder.
const MOST_PLACES: usize = 5;
/// Most steps of a way that are told.
const MOST_STEPS: usize = 24;

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
    let mut teller = Teller { walk, holders, children: HashMap::new(), sums: &sums };
    teller.find_children();
    for holder in order {
        let mut one = teller.holder(holder);
        one.allocated = allocated.remove(&holder.path).unwrap_or_default();
        held.holders.push(one);
    }
    held.ways = teller.ways(&roots);
    held
}

/// Objects and bytes by what they are; `true`: with pointers.
type ByKind = HashMap<(Kind, bool), (u64, u64)>;

fn add_up(walk: &mut Walk<'_>, held: &mut GoHeld) -> ByKind {
    let mut by_kind = ByKind::new();
    for area in walk.areas.all() {
        for number in area.first..area.first + area.count {
            let Some(cell) = walk.cells.get(number) else { continue };
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

/// What an object of a kind is called; empty if that is not known.
fn called(walk: &Walk<'_>, kind: Kind) -> String {
    let name = &walk.types.at(kind.id()).name;
    match kind.role() {
        Role::Unknown => String::new(),
        Role::Text => "string".to_owned(),
        Role::Several => several(name),
        Role::Closure => match kind.id().checked_sub(1) {
            Some(number) => format!("func {}", super::code_use::name(walk.program, number)),
            None => "func".to_owned(),
        },
        _ => name.to_string(),
    }
}

/// Values behind each other. Those of maps' tables are the map's.
fn several(name: &str) -> String {
    let table = ["map.group[", "map.bucket["].iter().find_map(|prefix| name.strip_prefix(prefix));
    table.map_or_else(|| format!("[]{name}"), |rest| format!("map[{rest}"))
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

/// Names ways.
struct Teller<'w, 'a> {
    walk: &'w mut Walk<'a>,
    holders: &'w Holders,
    /// The way with most that goes on from each.
    children: HashMap<PathId, PathId>,
    sums: &'w [(u64, u64)],
}

impl Teller<'_, '_> {
    fn find_children(&mut self) {
        for (at, path) in self.walk.paths.all().iter().enumerate() {
            if path.parent as usize == at {
                continue;
            }
            let heaviest = self.children.entry(path.parent).or_insert(at as PathId);
            if self.sums[at].0 > self.sums[*heaviest as usize].0 {
                *heaviest = at as PathId;
            }
        }
    }

    fn path(&self, id: PathId) -> Option<Path> {
        self.walk.paths.all().get(id as usize).copied()
    }

    fn variable(&self, holder: &Holder) -> Option<&Variable> {
        self.holders.variables.get(holder.variable?)
    }

    /// What a holder is called.
    fn name(&self, holder: &Holder) -> String {
        match (&holder.frame, self.variable(holder)) {
            (Some(frame), _) => frame.function.to_string(),
            (None, Some(variable)) => variable.name.clone(),
            (None, None) => String::new(),
        }
    }

    fn holder(&mut self, holder: &Holder) -> HeldBy {
        let (bytes, objects) = self.sums[holder.path as usize];
        let variable = self.variable(holder);
        let (users, address) = match variable {
            Some(variable) if variable.name.is_empty() => (variable.users.clone(), Some(variable.address)),
            _ => (Vec::new(), None),
        };
        let type_name = variable.and_then(|variable| type_of(&self.walk.types, variable));
        let heavy = self.heavy(holder.path);
        let mut told = self.name(holder);
        let mut container: Option<(u64, Container)> = None;
        for id in heavy {
            told.push_str(&self.step(id));
            if let Some((fan, found)) = self.container(id, &told)
                && container.as_ref().is_none_or(|(most, _)| fan > *most)
            {
                container = Some((fan, found));
            }
        }
        let frame = holder.frame.as_ref();
        HeldBy {
            kind: holder.kind,
            name: self.name(holder),
            users,
            address,
            file: frame.map(|frame| frame.file.to_string()),
            line: frame.map(|frame| frame.line),
            goroutines: frame.map(|_| holder.goroutines),
            type_name,
            bytes,
            objects,
            container: container.map(|(_, container)| container),
            path: told,
            allocated: Vec::new(),
        }
    }

    /// The way from a holder on as long as one step leads to at least half of all.
    fn heavy(&self, from: PathId) -> Vec<PathId> {
        let (mut at, all, mut steps) = (from, self.sums[from as usize].0, Vec::new());
        while let Some(next) = self.children.get(&at).copied()
            && self.sums[next as usize].0 >= all.div_ceil(2)
            && steps.len() < MOST_STEPS
        {
            steps.push(next);
            at = next;
        }
        steps
    }

    /// What a way leads to, if these are maps, slices or channels: with the entries that one has on average. What leads
    /// to other objects counts for more than numbers.
    fn container(&self, id: PathId, told: &str) -> Option<(u64, Container)> {
        let path = self.path(id)?;
        let types = &self.walk.types;
        let leads_on = match path.kind.role() {
            Role::Map | Role::Channel => true,
            Role::Several => types.at(path.kind.id()).pointers > 0,
            _ => return None,
        };
        let mut entries = path.entries;
        if path.kind.role() == Role::Channel && path.objects == 1 && entries == 0 {
            entries = self.first_word(path.example).unwrap_or(0);
        }
        if path.kind.role() == Role::Several && entries == 0 {
            return None;
        }
        let fan = (entries / path.objects.max(1)).saturating_add(1);
        let fan = if leads_on { fan.saturating_mul(1 << 20) } else { u64::from(path.objects == 1) };
        let container = Container {
            path: told.to_owned(),
            type_name: called(self.walk, path.kind),
            objects: path.objects,
            entries,
            bytes: self.sums[id as usize].0,
        };
        (fan > 0).then_some((fan, container))
    }

    fn first_word(&self, number: u64) -> Option<u64> {
        let (area, index) = self.walk.areas.object(number);
        let area = self.walk.areas.all().get(area)?;
        self.walk.program.memory().u64(area.start + index * area.size)
    }

    /// A step as code would write it.
    fn step(&mut self, id: PathId) -> String {
        let Some(path) = self.path(id) else { return String::new() };
        let Some(parent) = self.path(path.parent) else { return String::new() };
        if parent.parent == path.parent {
            return self.member_of_holder(parent.step as usize, path.step);
        }
        let (kind, step) = (parent.kind, path.step);
        let types = &mut self.walk.types;
        match kind.role() {
            _ if step == SOMEWHERE && kind.role() != Role::Closure => " → …".to_owned(),
            Role::Unknown => " → …".to_owned(),
            Role::One => types.member(kind.id(), step.into()),
            Role::Several => format!("[…]{}", types.member(kind.id(), step.into())),
            Role::Buffer => {
                let element = self.walk.element(kind.id());
                format!("[…]{}", self.walk.types.member(element, step.into()))
            }
            Role::Entries => self.entry(kind, step),
            Role::Closure => " (captured)".to_owned(),
            _ => String::new(),
        }
    }

    fn entry(&mut self, kind: Kind, step: u32) -> String {
        let Some(layout) = self.walk.entries(kind.id()) else { return "[…]".to_owned() };
        match step.checked_sub(layout.value.0) {
            // The bucket that follows, or a value.
            Some(inside) if layout.slots.iter().any(|slot| slot.step == step && slot.entry.is_some()) => {
                format!("[…]{}", self.walk.types.member(layout.value.1, inside.into()))
            }
            Some(_) => String::new(),
            None => " (keys)".to_owned(),
        }
    }

    fn member_of_holder(&mut self, holder: usize, step: u32) -> String {
        let Some(variable) = self.holders.all.get(holder).and_then(|holder| self.variable(holder)) else {
            return String::new();
        };
        let leaf = variable.leaves.iter().rev().find(|leaf| leaf.offset <= u64::from(step)).cloned();
        match leaf {
            Some(leaf) => match leaf.of {
                LeafType::Value(id) => {
                    leaf.member + &self.walk.types.member(id, u64::from(step) - leaf.offset)
                }
                LeafType::Slot(_) => leaf.member,
            },
            None if step == 0 || step == SOMEWHERE || variable.name.is_empty() => String::new(),
            None => format!("+{step:#x}"),
        }
    }

    /// The ways with most in them, from the objects to the holder.
    fn ways(&mut self, roots: &[PathId]) -> Vec<Way> {
        let all = self.walk.paths.all();
        let mut order: Vec<usize> = (0..all.len()).filter(|at| all[*at].bytes > 0).collect();
        order.sort_by_key(|at| std::cmp::Reverse(all[*at].bytes));
        order.truncate(MOST_WAYS);
        let mut named: HashMap<PathId, String> = HashMap::new();
        let mut ways = Vec::with_capacity(order.len());
        for at in order {
            let Some(path) = self.path(at as PathId) else { continue };
            let (mut steps, mut id) = (Vec::new(), at as PathId);
            while id != roots[at] {
                let step = match named.get(&id) {
                    Some(known) => known.clone(),
                    None => {
                        let step = self.labelled(id);
                        named.insert(id, step.clone());
                        step
                    }
                };
                // The parts of a map are one step.
                if steps.last() != Some(&step) && !step.is_empty() {
                    steps.push(step);
                }
                let Some(path) = self.path(id) else { break };
                id = path.parent;
            }
            let root = self.path(id).and_then(|path| self.holders.all.get(path.step as usize));
            steps.push(root.map(|holder| self.label(holder)).unwrap_or_default());
            ways.push(Way { steps, bytes: path.bytes, objects: path.objects });
        }
        ways
    }

    /// A step with the type of what it leads to.
    fn labelled(&mut self, id: PathId) -> String {
        let Some(path) = self.path(id) else { return String::new() };
        let inner =
            self.path(path.parent).is_some_and(|parent| path.kind.is_of_map() && parent.kind.is_of_map());
        if inner {
            return String::new();
        }
        let step = self.step(id);
        let name = match called(self.walk, path.kind) {
            name if name.is_empty() => "(type unknown)".to_owned(),
            name => name,
        };
        format!("{} {name}", step.trim()).trim().to_owned()
    }

    /// A holder in a word or two.
    fn label(&self, holder: &Holder) -> String {
        match (holder.kind, self.variable(holder)) {
            (HolderKind::Special, _) => "finalizers, cleanups and weak pointers".to_owned(),
            (_, Some(variable)) if variable.name.is_empty() => {
                format!("a variable used by {}", variable.users.first().map_or("nobody", String::as_str))
            }
            (_, None) if holder.frame.is_none() => "variables without a name".to_owned(),
            _ => self.name(holder),
        }
    }
}

/// The type of a variable, if it is known as a whole.
fn type_of(types: &Types<'_>, variable: &Variable) -> Option<String> {
    let leaf = variable.leaves.first().filter(|leaf| leaf.offset == 0 && leaf.member.is_empty())?;
    let name = |id| types.at(id).name.to_string();
    Some(match leaf.of {
        LeafType::Value(id) => name(id),
        LeafType::Slot(What::Pointer(id)) => format!("*{}", name(id)),
        LeafType::Slot(What::Slice(id)) => format!("[]{}", name(id)),
        LeafType::Slot(What::Text) => "string".to_owned(),
        LeafType::Slot(_) => return None,
    })
}
