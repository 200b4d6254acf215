//! Reads the objects that were reached, in large pieces, and follows what lies in each by its type.

use super::entries::FIRST_WITH_GROUPS;
use super::kind::{Kind, Role};
use super::paths::PathId;
use super::types::TypeId;
use super::walk::{Found, Stop, Walk, Within};
use crate::runtime::go::bytes::u64_at;
use crate::runtime::go::heap::areas::Area;
use crate::runtime::go::memory::Piece;

/// Bytes that are read at once, and pieces of them.
const AT_ONCE: usize = 4 << 20;
const PIECES_AT_ONCE: usize = 1 << 10;
/// Objects that are no further apart are one piece.
const GAP: u64 = 512;
/// Offsets in the description of a channel (`runtime/chan.go`, `hchan`).
const CHANNEL_BUFFER: usize = 16;
/// Where the type of its elements is, which is no object.
const CHANNEL_WAITERS: usize = 40;
/// Offsets in that of a map up to Go 1.23 (`runtime/map.go`, `hmap`), and since (`internal/runtime/maps`, `Map`, `table`).
const BUCKETS: usize = 16;
const OLD_BUCKETS: usize = 24;
const EXTRA: usize = 40;
const DIRECTORY: usize = 16;
const DIRECTORY_LENGTH: usize = 24;
const TABLE_GROUPS: usize = 16;

/// Objects of one area that are read as one piece.
struct Run {
    area: Area,
    /// The first one's number, and the one's after the last.
    numbers: std::ops::Range<u64>,
    /// Which of the sorted list they are.
    listed: std::ops::Range<usize>,
}

impl Run {
    fn start(&self) -> u64 {
        self.area.start + (self.numbers.start - self.area.first) * self.area.size
    }

    fn bytes(&self) -> u64 {
        (self.numbers.end - self.numbers.start) * self.area.size
    }
}

impl Walk<'_> {
    /// Follows until nothing new is reached: what has a known type first, so that as much as can be gets one.
    pub(super) fn settle(&mut self) -> Result<(), Stop> {
        loop {
            self.note();
            if !self.typed.is_empty() {
                let list = std::mem::take(&mut self.typed);
                self.read_objects(list)?;
            } else if !self.within.is_empty() {
                let list = std::mem::take(&mut self.within);
                self.read_within(&list)?;
            } else if !self.untyped.is_empty() {
                let mut list = std::mem::take(&mut self.untyped);
                let unknown = |number: &u32| {
                    self.cells.get(u64::from(*number)).is_some_and(|cell| !cell.kind.is_known())
                };
                list.retain(unknown);
                self.read_objects(list)?;
            } else {
                return Ok(());
            }
        }
    }

    fn read_objects(&mut self, mut list: Vec<u32>) -> Result<(), Stop> {
        list.sort_unstable();
        list.dedup();
        let mut at = 0;
        while at < list.len() {
            self.in_time()?;
            let (mut runs, mut bytes) = (Vec::new(), 0);
            while at < list.len() && runs.len() < PIECES_AT_ONCE && bytes < AT_ONCE as u64 {
                let run = self.run(&list, at);
                at = run.listed.end;
                if run.area.size > AT_ONCE as u64 {
                    self.read_large(&run)?;
                    continue;
                }
                bytes += run.bytes();
                runs.push(run);
            }
            let pieces: Vec<Piece> = runs.iter().map(|run| (run.start(), run.bytes() as usize)).collect();
            let read = self.program.memory().read_many(&pieces);
            for (n, run) in runs.iter().enumerate() {
                let Some(bytes) = read.get(n) else {
                    self.unread_bytes = self.unread_bytes.saturating_add(run.bytes());
                    continue;
                };
                for number in &list[run.listed.clone()] {
                    let number = u64::from(*number);
                    let from = ((number - run.numbers.start) * run.area.size) as usize;
                    if let Some(own) = bytes.get(from..from + run.area.size as usize) {
                        self.read_object(number, &run.area, own);
                    }
                }
            }
        }
        Ok(())
    }

    /// The objects from a place of the list on that are read together.
    fn run(&self, list: &[u32], from: usize) -> Run {
        let first = u64::from(list[from]);
        let area = self.areas.all()[self.areas.object(first).0];
        let most = (AT_ONCE as u64 / area.size.max(1)).max(1);
        let mut end = from + 1;
        while let Some(next) = list.get(end).map(|number| u64::from(*number)) {
            let gap = (next - u64::from(list[end - 1]) - 1) * area.size;
            if next >= area.first + area.count || next - first >= most || gap > GAP {
                break;
            }
            end += 1;
        }
        Run { area, numbers: first..u64::from(list[end - 1]) + 1, listed: from..end }
    }

    /// One object that is too large to be read at once: in pieces of whole values.
    fn read_large(&mut self, run: &Run) -> Result<(), Stop> {
        let (number, area) = (run.numbers.start, run.area);
        let Some(cell) = self.cells.get(number) else { return Ok(()) };
        let size = self.element_size(cell.kind).filter(|size| *size <= AT_ONCE as u64).unwrap_or(8);
        let piece = AT_ONCE as u64 / size * size;
        let mut done = 0;
        while done < area.size {
            self.in_time()?;
            let length = piece.min(area.size - done);
            match self.program.memory().bytes(run.start() + done, length as usize) {
                Some(bytes) => self.read_object(number, &area, &bytes),
                None => self.unread_bytes = self.unread_bytes.saturating_add(length),
            }
            done += length;
        }
        Ok(())
    }

    fn element_size(&mut self, kind: Kind) -> Option<u64> {
        let size = match kind.role() {
            Role::One | Role::Several => self.types.at(kind.id()).size,
            Role::Buffer => {
                let element = self.element(kind.id());
                self.types.at(element).size
            }
            Role::Entries => self.entries(kind.id())?.size as u64,
            _ => return None,
        };
        (size > 0).then_some(size)
    }

    /// The type of a channel's elements.
    pub(super) fn element(&mut self, channel: TypeId) -> TypeId {
        match self.types.at(channel).shape {
            super::types::Shape::Channel(of) => self.types.find(of),
            _ => 0,
        }
    }

    fn read_object(&mut self, number: u64, area: &Area, bytes: &[u8]) {
        let Some(cell) = self.cells.get(number) else { return };
        let Some(path) = cell.path else { return };
        let before = self.before(area) as usize;
        let kind = self.by_header(number, area, cell.kind, (before, bytes));
        let values = bytes.get(before..).unwrap_or_default();
        match kind.role() {
            Role::Unknown => self.words(path, bytes, 0, false),
            Role::Closure => self.read_closure(number, path, bytes),
            Role::Text => {}
            Role::One => self.values(path, kind.id(), values, 1),
            Role::Several => self.values(path, kind.id(), values, u64::MAX),
            Role::Buffer => {
                let element = self.element(kind.id());
                self.values(path, element, values, u64::MAX);
            }
            Role::Channel => self.read_channel(path, kind.id(), bytes),
            _ => self.read_map_part(path, kind, values),
        }
    }

    /// What an object is, where its type stands before it or in its span: that counts for more than what pointers say,
    /// but does not tell parts of maps and buffers.
    fn by_header(&mut self, number: u64, area: &Area, kind: Kind, (before, bytes): (usize, &[u8])) -> Kind {
        let told = match before {
            0 if area.large => area.large_type,
            0 => return kind,
            _ => u64_at(bytes, 0).unwrap_or(0),
        };
        if told == 0 || !matches!(kind.role(), Role::Unknown | Role::One | Role::Several) {
            return kind;
        }
        let id = self.types.find(told);
        let size = self.types.at(id).size;
        if id == 0 || size == 0 {
            return kind;
        }
        let alone = (area.size - before as u64) / size < 2 || kind == Kind::new(Role::One, id);
        let told = Kind::new(if alone { Role::One } else { Role::Several }, id);
        if told != kind {
            self.describe(number, told);
        }
        told
    }

    /// Follows values of a type that lie behind each other.
    fn values(&mut self, path: PathId, id: TypeId, bytes: &[u8], most: u64) {
        let flat = self.types.flat(id);
        let size = flat.size as usize;
        if size == 0 {
            return;
        }
        let count = (bytes.len() / size).min(usize::try_from(most).unwrap_or(usize::MAX));
        for value in bytes.chunks_exact(size).take(count) {
            for slot in &flat.slots {
                let at = slot.offset as usize;
                let Some(first) = u64_at(value, at) else { continue };
                let word = |n: usize| u64_at(value, at + 8 * n).unwrap_or(0);
                self.visit(Found { path, step: slot.step }, slot.what, [first, word(1), word(2)]);
            }
            if !flat.whole {
                self.words(path, value, 0, true);
            }
        }
    }

    fn read_closure(&mut self, number: u64, path: PathId, bytes: &[u8]) {
        let entry = u64_at(bytes, 0).unwrap_or(0);
        if let Some((part, function)) = self.program.function_at(entry).filter(|(_, f)| f.entry == entry)
            && self.program.parts.first().is_some_and(|first| std::ptr::eq(first, part))
        {
            self.describe(number, Kind::new(Role::Closure, function.index as u32 + 1));
        }
        self.words(path, bytes, 0, false);
    }

    fn read_channel(&mut self, path: PathId, id: TypeId, bytes: &[u8]) {
        let entries = u64_at(bytes, 0).unwrap_or(0);
        if let Some(path) = self.paths.get_mut(path) {
            path.entries = path.entries.saturating_add(entries);
        }
        if let Some(buffer) = u64_at(bytes, CHANNEL_BUFFER) {
            let found = Found { path, step: CHANNEL_BUFFER as u32 };
            self.part(found, buffer, Kind::new(Role::Buffer, id));
        }
        self.words(path, bytes.get(CHANNEL_WAITERS..).unwrap_or_default(), CHANNEL_WAITERS as u32, false);
    }

    fn read_map_part(&mut self, path: PathId, kind: Kind, bytes: &[u8]) {
        let word = |at: usize| u64_at(bytes, at).unwrap_or(0);
        let of = |role| Kind::new(role, kind.id());
        let groups = self.program.minor >= FIRST_WITH_GROUPS;
        let mut parts: Vec<(usize, Role)> = Vec::new();
        match kind.role() {
            Role::Map => {
                if let Some(path) = self.paths.get_mut(path) {
                    path.entries = path.entries.saturating_add(word(0));
                }
                match groups {
                    true if word(DIRECTORY_LENGTH) == 0 => parts.push((DIRECTORY, Role::Entries)),
                    true => parts.push((DIRECTORY, Role::Directory)),
                    false => parts.extend([
                        (BUCKETS, Role::Entries),
                        (OLD_BUCKETS, Role::Entries),
                        (EXTRA, Role::Extra),
                    ]),
                }
            }
            Role::Directory => return self.each_word(path, bytes, of(Role::Table)),
            Role::Overflow => return self.each_word(path, bytes, of(Role::Entries)),
            Role::Table => parts.push((TABLE_GROUPS, Role::Entries)),
            Role::Extra => parts.extend([(0, Role::OverflowList), (8, Role::OverflowList)]),
            Role::OverflowList => parts.push((0, Role::Overflow)),
            _ => return self.read_entries(path, kind, bytes),
        }
        for (at, role) in parts {
            if word(at) != 0 {
                self.part(Found { path, step: at as u32 }, word(at), of(role));
            }
        }
    }

    fn each_word(&mut self, path: PathId, bytes: &[u8], kind: Kind) {
        let mut last = 0;
        for word in bytes.as_chunks::<8>().0 {
            let word = u64::from_le_bytes(*word);
            if word != 0 && word != last {
                self.part(Found { path, step: 0 }, word, kind);
            }
            last = word;
        }
    }

    fn read_entries(&mut self, path: PathId, kind: Kind, bytes: &[u8]) {
        let Some(layout) = self.entries(kind.id()) else { return self.words(path, bytes, 0, false) };
        for group in bytes.chunks_exact(layout.size) {
            for slot in &layout.slots {
                let word = |n: usize| u64_at(group, slot.offset + 8 * n).unwrap_or(0);
                let found = Found { path, step: slot.step };
                match slot.entry {
                    // The bucket that follows.
                    None if word(0) != 0 => self.part(found, word(0), kind),
                    Some(entry) if layout.has(group, entry) => {
                        self.visit(found, slot.what, [word(0), word(1), word(2)]);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Reads places within objects by the type of a pointer to them.
    fn read_within(&mut self, list: &[Within]) -> Result<(), Stop> {
        for chunk in list.chunks(PIECES_AT_ONCE) {
            self.in_time()?;
            let length = |within: &Within| {
                let all = within.count.saturating_mul(self.types.at(within.id).size);
                all.min(AT_ONCE as u64 / chunk.len() as u64) as usize
            };
            let pieces: Vec<Piece> = chunk.iter().map(|within| (within.address, length(within))).collect();
            let read = self.program.memory().read_many(&pieces);
            for (n, within) in chunk.iter().enumerate() {
                if let Some(bytes) = read.get(n) {
                    self.values(within.path, within.id, bytes, within.count);
                }
            }
        }
        Ok(())
    }
}
