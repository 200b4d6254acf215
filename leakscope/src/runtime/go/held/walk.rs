//! Follows pointers from holders through the heap. Each object is charged to who reaches it first, level by level, and
//! gets the type that the pointer says.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Instant;

use super::cells::Cells;
use super::entries::{EntryLayout, EntryLayouts};
use super::flat::What;
use super::kind::{Kind, Role};
use super::paths::{PathId, Paths, SOMEWHERE};
use super::sizes;
use super::types::{Shape, TypeId, Types};
use crate::runtime::go::heap::areas::{Area, Areas, Object};
use crate::runtime::go::heap::spans::Heap;
use crate::runtime::go::program::Program;

/// Bytes of a map's description (`runtime/map.go`, `hmap`; `internal/runtime/maps`, `Map`).
const MAP: u64 = 48;
/// Most places within objects that a pointer's type says more of than their own.
const MOST_WITHIN: usize = 1 << 20;
/// Pointers that are noted together.
const AT_ONCE: usize = 64;
/// Most bytes of one array that the linker made.
const MOST_STATIC: u64 = 1 << 20;
/// Most values that a slice is believed to have.
const MOST_VALUES: u64 = 1 << 40;

/// Most pointers to what has come meanwhile that are remembered, and how often the objects are counted again for them.
const MOST_MISSED: usize = 1 << 16;
const RENEWALS: u32 = 3;

/// Why a look ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Somebody does not want to wait any more.
    Asked,
    /// It takes too long.
    Late,
}

/// Where a pointer was found: the way to there, and its offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub path: PathId,
    pub step: u32,
}

/// A place within an object that values of a type lie at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Within {
    pub address: u64,
    pub id: TypeId,
    pub count: u64,
    pub path: PathId,
}

/// A pointer to what was not there yet as the objects were counted.
#[derive(Clone, Copy, Debug)]
enum Missed {
    /// Nothing of its page was known.
    Page(Found, What, [u64; 3]),
    /// Its place was free.
    Place(Pending),
}

/// A pointer to an object.
#[derive(Clone, Copy, Debug)]
struct Pending {
    number: u64,
    /// Whether the object has no pointers.
    plain: bool,
    found: Found,
    kind: Kind,
    /// Entries, if it is the array of a slice.
    entries: u64,
}

pub(super) struct Walk<'a> {
    pub program: &'a Program,
    pub types: Types<'a>,
    pub areas: Areas,
    pub cells: Cells,
    pub paths: Paths,
    pub layouts: EntryLayouts,
    /// Objects to be read, by number: those whose type is known first.
    pub(super) typed: Vec<u32>,
    pub(super) untyped: Vec<u32>,
    pub(super) within: Vec<Within>,
    /// Pointers that are yet to be noted.
    pending: Vec<Pending>,
    /// What has come meanwhile.
    missed: Vec<Missed>,
    met_within: HashSet<(u64, TypeId), foldhash::fast::RandomState>,
    heap: Heap,
    /// Where variables lie, and those of them that are holders by themselves, by their addresses.
    pub statics: Vec<(u64, u64)>,
    pub named: Vec<(u64, u64)>,
    /// Bytes that could not be read.
    pub unread_bytes: u64,
    pub until: Instant,
    /// Whether to go on.
    pub go_on: &'a dyn Fn() -> bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        program: &'a Program,
        types: Types<'a>,
        (heap, areas, cells): (Heap, Areas, Cells),
        (until, go_on): (Instant, &'a dyn Fn() -> bool),
    ) -> Self {
        Self {
            program,
            types,
            areas,
            cells,
            paths: Paths::default(),
            layouts: EntryLayouts::default(),
            typed: Vec::new(),
            untyped: Vec::new(),
            within: Vec::new(),
            pending: Vec::with_capacity(AT_ONCE),
            missed: Vec::new(),
            met_within: HashSet::default(),
            heap,
            statics: program.parts.iter().flat_map(|part| part.pointer_variables()).collect(),
            named: Vec::new(),
            unread_bytes: 0,
            until,
            go_on,
        }
    }

    pub(super) fn in_time(&self) -> Result<(), Stop> {
        match Instant::now() > self.until {
            true => Err(Stop::Late),
            false if (self.go_on)() => Ok(()),
            false => Err(Stop::Asked),
        }
    }

    /// Follows until nothing new is reached, that included which has come since the objects were counted: what grows is
    /// reached by its newest part.
    pub(super) fn catch_up(&mut self) -> Result<(), Stop> {
        for _ in 0..RENEWALS {
            self.settle()?;
            let missed = std::mem::take(&mut self.missed);
            if missed.is_empty() || !self.cells.renew(self.program, &self.heap, &mut self.areas) {
                break;
            }
            let before = missed.len();
            for one in missed {
                match one {
                    Missed::Page(found, what, words) => self.visit(found, what, words),
                    Missed::Place(pending) => self.note_one(pending),
                }
            }
            self.note();
            // Those that are left point to what is gone.
            if self.missed.len() >= before {
                break;
            }
        }
        self.settle()?;
        self.missed.clear();
        Ok(())
    }

    /// Remembers what may lie in a page that the heap has taken since.
    fn miss(&mut self, found: Found, what: What, words: [u64; 3]) {
        if self.missed.len() < MOST_MISSED && self.areas.is_close(words[0]) {
            self.missed.push(Missed::Page(found, what, words));
        }
    }

    /// Bytes before the first value of an object.
    pub(super) fn before(&self, area: &Area) -> u64 {
        sizes::before(area.size, !area.plain, area.large, self.program.minor)
    }

    /// The object that holds an address, and how far behind its first value that is.
    fn locate(&self, address: u64) -> Option<(Object, Area, u64)> {
        let object = self.areas.find(address)?;
        let area = self.areas.all()[object.0];
        let offset = address - area.start - object.1 * area.size;
        Some((object, area, offset.wrapping_sub(self.before(&area))))
    }

    /// What counts for more as the type of an object that several pointers are to.
    fn rank(&self, kind: Kind) -> u64 {
        match kind.role() {
            Role::Unknown => 0,
            Role::Text => 1,
            Role::One => self.types.at(kind.id()).size.saturating_add(1),
            _ => u64::MAX,
        }
    }

    /// Notes that a pointer leads to an object, as soon as some more have come.
    fn put(&mut self, object: Object, plain: bool, found: Found, kind: Kind, entries: u64) {
        let number = self.areas.all()[object.0].first + object.1;
        self.cells.fetch(number);
        self.pending.push(Pending { number, plain, found, kind, entries });
        if self.pending.len() >= AT_ONCE {
            self.note();
        }
    }

    /// Notes all pointers that have come.
    pub(super) fn note(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.drain(..).for_each(|one| self.note_one(one));
        self.pending = pending;
    }

    fn note_one(&mut self, pending: Pending) {
        let Pending { number, plain, found, kind, entries } = pending;
        let Some(cell) = self.cells.get(number) else {
            if self.missed.len() < MOST_MISSED && self.cells.is_free(number) {
                self.missed.push(Missed::Place(pending));
            }
            return;
        };
        let known = cell.kind;
        if cell.path.is_none() {
            let path = self.paths.step(found.path, found.step, kind);
            self.cells.reach(number, path);
            if let Some(path) = self.paths.get_mut(path) {
                path.objects += 1;
                path.entries = path.entries.saturating_add(entries);
                path.example = number;
            }
        } else if known == kind || self.rank(kind) <= self.rank(known) {
            return;
        }
        if kind.is_known() && known != kind {
            self.describe(number, kind);
        }
        if !plain {
            let queue = if kind.is_known() { &mut self.typed } else { &mut self.untyped };
            queue.push(number as u32);
        }
    }

    /// Takes an object for what it is known to be from now on.
    pub(super) fn describe(&mut self, number: u64, kind: Kind) {
        let Some(cell) = self.cells.describe(number, kind) else { return };
        // If it is alone, its way is known, too.
        let path = cell.path.and_then(|path| self.paths.get_mut(path));
        if let Some(path) = path.filter(|path| path.objects == 1 && !path.kind.is_known()) {
            path.kind = kind;
        }
    }

    /// A word that may point to anything.
    pub(super) fn untyped(&mut self, found: Found, address: u64) {
        if let Some(object) = self.areas.find(address) {
            let plain = self.areas.all()[object.0].plain;
            self.put(object, plain, found, Kind::UNKNOWN, 0);
        } else {
            self.miss(found, What::Raw, [address, 0, 0]);
        }
    }

    /// A pointer to a value of a type.
    pub(super) fn value(&mut self, found: Found, address: u64, id: TypeId) {
        let Some((object, area, offset)) = self.locate(address) else {
            self.miss(found, What::Pointer(id), [address, 0, 0]);
            return self.static_value(found, address, Kind::new(Role::One, id), 1);
        };
        let size = self.types.at(id).size;
        let tiny = area.plain && area.size == 16 && size < 16;
        let fits = offset == 0 && sizes::taken(size, !area.plain, self.program.minor) == area.size || tiny;
        let kind = if fits && id != 0 { Kind::new(Role::One, id) } else { Kind::UNKNOWN };
        self.put(object, area.plain, found, kind, 0);
        if !fits {
            self.look_within(object, area, Within { address, id, count: 1, path: found.path });
        }
    }

    /// The array of a slice.
    pub(super) fn slice(&mut self, found: Found, address: u64, id: TypeId, length: u64, capacity: u64) {
        let Some((object, area, offset)) = self.locate(address) else {
            self.miss(found, What::Slice(id), [address, length, capacity]);
            return self.static_value(found, address, Kind::new(Role::Several, id), length);
        };
        let size = self.types.at(id).size;
        if id == 0 || size == 0 || length > capacity || capacity > MOST_VALUES {
            return self.untyped(found, address);
        }
        let bytes = offset.wrapping_add(capacity.saturating_mul(size));
        let whole = offset < area.size
            && offset.is_multiple_of(size)
            && sizes::taken(bytes, !area.plain, self.program.minor) == area.size;
        let kind =
            if whole || area.plain && size == 1 { Kind::new(Role::Several, id) } else { Kind::UNKNOWN };
        self.put(object, area.plain, found, kind, length);
        if !whole {
            self.look_within(object, area, Within { address, id, count: length, path: found.path });
        }
    }

    /// Values that the linker made, which have no name of their own: what they lead to is their holder's.
    fn static_value(&mut self, found: Found, address: u64, kind: Kind, count: u64) {
        let id = kind.id();
        let pointers = self.types.at(id).pointers > 0 && count > 0;
        if pointers
            && self.is_unnamed_static(address)
            && self.met_within.len() < MOST_WITHIN
            && self.met_within.insert((address, id))
        {
            let path = self.paths.step(found.path, found.step, kind);
            let count = count.min(MOST_STATIC / self.types.at(id).size.max(1)).max(1);
            self.within.push(Within { address, id, count, path });
        }
    }

    /// Whether the linker put something at an address that is no holder by itself.
    pub(super) fn is_unnamed_static(&self, address: u64) -> bool {
        if !self.statics.iter().any(|(low, high)| (*low..*high).contains(&address)) {
            return false;
        }
        let at = self.named.partition_point(|(low, _)| *low <= address).checked_sub(1);
        at.is_none_or(|at| address >= self.named[at].1)
    }

    /// Has a place within an object read by its type, where the object's own is not known.
    fn look_within(&mut self, object: Object, area: Area, within: Within) {
        self.note();
        let number = area.first + object.1;
        let unknown = self.cells.get(number).is_some_and(|cell| !cell.kind.is_known());
        let pointers = self.types.at(within.id).pointers > 0;
        if unknown && pointers && !area.plain && self.met_within.len() < MOST_WITHIN {
            let left = area.size.saturating_sub(within.address - area.start - object.1 * area.size);
            let count = within.count.min(left / self.types.at(within.id).size.max(1));
            if count > 0 && self.met_within.insert((within.address, within.id)) {
                let path = self.cells.get(number).and_then(|cell| cell.path).unwrap_or(within.path);
                self.within.push(Within { count, path, ..within });
            }
        }
    }

    /// The beginning of a part of something that the runtime made.
    pub(super) fn part(&mut self, found: Found, address: u64, kind: Kind) {
        let Some((object, area, offset)) = self.locate(address) else {
            let what = match kind.role() {
                Role::Map => What::Map(kind.id()),
                Role::Channel => What::Channel(kind.id()),
                _ => What::Raw,
            };
            return self.miss(found, what, [address, 0, 0]);
        };
        let sized = kind.role() != Role::Map || area.size == MAP;
        let kind = if offset == 0 && sized && kind.id() != 0 { kind } else { Kind::UNKNOWN };
        self.put(object, area.plain, found, kind, 0);
    }

    fn closure(&mut self, found: Found, address: u64) {
        let Some((object, area, offset)) = self.locate(address) else {
            return self.miss(found, What::Function, [address, 0, 0]);
        };
        let kind = if offset == 0 { Kind::new(Role::Closure, 0) } else { Kind::UNKNOWN };
        self.put(object, area.plain, found, kind, 0);
    }

    fn text(&mut self, found: Found, address: u64, length: u64) {
        let Some((object, area, _)) = self.locate(address) else {
            return self.miss(found, What::Text, [address, length, 0]);
        };
        let kind = if area.plain && length > 0 { Kind::new(Role::Text, 0) } else { Kind::UNKNOWN };
        self.put(object, area.plain, found, kind, 0);
    }

    /// What an interface holds: a pointer, or the address of a value.
    pub(super) fn boxed(&mut self, found: Found, id: TypeId, data: u64) {
        if data == 0 {
            return;
        }
        let of = self.types.at(id);
        // One pointer in a structure or an array is kept as itself.
        let alone = of.size == 8 && of.pointers == 8;
        match &of.shape {
            _ if id == 0 => self.untyped(found, data),
            Shape::Pointer(to) => {
                let to = *to;
                let to = self.types.find(to);
                self.value(found, data, to);
            }
            Shape::Map { .. } => self.part(found, data, Kind::new(Role::Map, id)),
            Shape::Channel(_) => self.part(found, data, Kind::new(Role::Channel, id)),
            Shape::Function => self.closure(found, data),
            Shape::Raw => self.untyped(found, data),
            Shape::Structure(_) | Shape::Array { .. } if alone => {
                match self.types.flat(id).slots.first().map(|slot| slot.what) {
                    Some(What::Interface { .. }) | None => self.untyped(found, data),
                    Some(what) => self.visit(found, what, [data, 0, 0]),
                }
            }
            _ => self.value(found, data, id),
        }
    }

    /// Follows what lies at a place: the word there and the two behind it.
    pub(super) fn visit(&mut self, found: Found, what: What, [first, second, third]: [u64; 3]) {
        match what {
            What::Interface { empty } => {
                let id = if empty { self.types.find(first) } else { self.types.of_table(first) };
                self.boxed(found, id, second);
            }
            _ if first == 0 => {}
            What::Pointer(id) => self.value(found, first, id),
            What::Slice(id) => self.slice(found, first, id, second, third),
            What::Text => self.text(found, first, second),
            What::Map(id) => self.part(found, first, Kind::new(Role::Map, id)),
            What::Channel(id) => self.part(found, first, Kind::new(Role::Channel, id)),
            What::Function => self.closure(found, first),
            What::Raw => self.untyped(found, first),
        }
    }

    /// Follows words of which nothing is known, but what interfaces among them tell. The step of each is its offset
    /// where `steps`.
    pub(super) fn words(&mut self, path: PathId, bytes: &[u8], from: u32, steps: bool) {
        let mut before = 0;
        for (at, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            if self.areas.is_close(word) {
                let step = if steps { from.saturating_add(8 * at as u32) } else { SOMEWHERE };
                let found = Found { path, step };
                match self.told_by(before) {
                    0 => self.untyped(found, word),
                    id => self.boxed(found, id, word),
                }
            }
            before = word;
        }
    }

    /// The type that a word before a pointer tells, if they are an interface.
    fn told_by(&mut self, word: u64) -> TypeId {
        if !self.types.is_in_image(word) {
            return 0;
        }
        match self.types.of_table(word) {
            0 if self.types.is_static(word) => self.types.find(word),
            id => id,
        }
    }

    /// How the entries of a map lie.
    pub(super) fn entries(&mut self, map: TypeId) -> Option<Rc<EntryLayout>> {
        self.layouts.of(&mut self.types, map, self.program.minor)
    }
}
