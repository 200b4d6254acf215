//! What goroutines wait for, by the runtime's notes (`runtime/runtime2.go`, `sudog`).

use std::collections::{HashMap, HashSet};

use super::goroutines::Goroutines;
use crate::runtime::go::bytes::u64_at;
use crate::runtime::go::code::references;
use crate::runtime::go::memory::Piece;
use crate::runtime::go::parked::NoteLayout;
use crate::runtime::go::program::Program;

/// Most notes that are read.
const MOST: usize = 1 << 24;
/// Notes read at once.
const AT_ONCE: usize = 1 << 16;
/// The table of semaphores (`runtime/sema.go`, `semTabSize`, `semTable`): cells of a cache line, each with the root of a
/// tree behind its lock.
const CELLS: usize = 251;
const CELL: usize = 64;
const ROOT: usize = 8;
/// Functions that refer to the table.
const READERS: [&str; 3] = ["runtime.semacquire1", "runtime.semrelease1", "runtime.(*semTable).rootFor"];

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    /// Whose it is.
    pub goroutine: u64,
    /// The semaphore, or the value that is sent.
    pub element: u64,
    pub channel: u64,
    next: u64,
    previous: u64,
    /// The next one of its goroutine, or of its semaphore.
    link: u64,
}

/// All notes of goroutines that wait.
#[derive(Debug, Default)]
pub(super) struct Notes {
    by_address: HashMap<u64, Note>,
    /// Addresses of the notes of a goroutine.
    of: HashMap<u64, Vec<u64>>,
    /// The semaphore that a goroutine waits for.
    semaphores: HashMap<u64, u64>,
    size: u64,
}

/// Reads notes.
struct Reader<'a> {
    program: &'a Program,
    layout: NoteLayout,
    next: usize,
    previous: usize,
}

impl<'a> Reader<'a> {
    fn of(program: &'a Program) -> Option<Self> {
        let layout = NoteLayout::of(program)?;
        let at = |member| program.offsets.find("sudog", member).filter(|at| at + 8 <= layout.size);
        Some(Self { program, layout, next: at("next")?, previous: at("prev")? })
    }

    fn read(&self, addresses: &[u64]) -> Vec<(u64, Note)> {
        let mut notes = Vec::with_capacity(addresses.len());
        for chunk in addresses.chunks(AT_ONCE) {
            let pieces: Vec<Piece> = chunk.iter().map(|address| (*address, self.layout.size)).collect();
            let read = self.program.memory().read_many(&pieces);
            let note = |at: usize| Some((chunk[at], self.note(read.get(at)?)?));
            notes.extend((0..chunk.len()).filter_map(note));
        }
        notes
    }

    fn note(&self, bytes: &[u8]) -> Option<Note> {
        Some(Note {
            goroutine: u64_at(bytes, self.layout.g)?,
            element: u64_at(bytes, self.layout.elem)?,
            channel: u64_at(bytes, self.layout.channel)?,
            next: u64_at(bytes, self.next)?,
            previous: u64_at(bytes, self.previous)?,
            link: u64_at(bytes, self.layout.next_case)?,
        })
    }

    /// The roots of the trees of waiters, in the table of semaphores.
    fn trees(&self, goroutines: &Goroutines) -> Option<Vec<u64>> {
        let part = self.program.parts.first()?;
        let tried = READERS.iter().flat_map(|reader| references(self.program, reader));
        let mut best: Option<(usize, Vec<u64>)> = None;
        for address in tried.filter(|address| part.is_variable(*address)) {
            let Some(table) = self.program.memory().bytes(address, CELLS * CELL) else { continue };
            let Some(roots) = roots(&table) else { continue };
            let known = |(_, note): &(u64, Note)| goroutines.at(note.goroutine).is_some();
            let right = self.read(&roots).iter().filter(|note| known(note)).count();
            // A waiter may go as it is read.
            if right + 2 >= roots.len() && best.as_ref().is_none_or(|(most, _)| right > *most) {
                best = Some((right, roots));
            }
        }
        best.map(|(_, roots)| roots)
    }
}

/// The trees of what may be the table: nothing lies behind lock, root and number of waiters of a cell.
fn roots(table: &[u8]) -> Option<Vec<u64>> {
    let mut roots = Vec::new();
    for cell in table.as_chunks::<CELL>().0 {
        let (lock, root) = (u64_at(cell, 0)?, u64_at(cell, ROOT)?);
        let padded = cell[24..].iter().all(|byte| *byte == 0);
        if !padded || lock >> 48 != 0 || root % 8 != 0 {
            return None;
        }
        roots.extend((root != 0).then_some(root));
    }
    Some(roots)
}

impl Notes {
    /// `None` if the layout is not known, or if who waits for semaphores cannot be found out.
    pub(super) fn read(program: &Program, goroutines: &Goroutines) -> Option<Self> {
        let reader = Reader::of(program)?;
        let mut notes = Self { size: reader.layout.size as u64, ..Self::default() };
        let parked = goroutines.all.iter().filter(|seen| seen.is_parked() && seen.waiting != 0);
        let mut todo: Vec<u64> = parked.map(|seen| seen.waiting).collect();
        while !todo.is_empty() && notes.by_address.len() < MOST {
            let read = reader.read(&todo);
            todo.clear();
            for (address, note) in read {
                let own = goroutines.at(note.goroutine).is_some_and(|at| goroutines.all[at].waiting != 0);
                if notes.add(address, note) && own && note.link != 0 {
                    todo.push(note.link);
                }
            }
        }
        let mut todo = reader.trees(goroutines)?;
        let mut met: HashSet<u64> = todo.iter().copied().collect();
        while !todo.is_empty() && met.len() < MOST {
            let read = reader.read(&todo);
            todo.clear();
            for (address, note) in read {
                notes.add(address, note);
                if goroutines.at(note.goroutine).is_some() {
                    notes.semaphores.insert(note.goroutine, note.element);
                }
                let linked = [note.next, note.previous, note.link].into_iter().filter(|next| *next != 0);
                todo.extend(linked.filter(|next| met.insert(*next)));
            }
        }
        Some(notes)
    }

    fn add(&mut self, address: u64, note: Note) -> bool {
        let new = self.by_address.insert(address, note).is_none();
        if new {
            self.of.entry(note.goroutine).or_default().push(address);
        }
        new
    }

    /// The notes of a goroutine.
    pub(super) fn of(&self, goroutine: u64) -> impl Iterator<Item = &Note> {
        let addresses = self.of.get(&goroutine).into_iter().flatten();
        addresses.filter_map(|address| self.by_address.get(address))
    }

    /// Where they lie.
    pub(super) fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        self.by_address.keys().copied()
    }

    /// Bytes of a note.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether a note lies there.
    pub(super) fn is_note(&self, address: u64) -> bool {
        self.by_address.contains_key(&address)
    }

    /// The semaphore that a goroutine waits for.
    pub(super) fn semaphore(&self, goroutine: u64) -> Option<u64> {
        self.semaphores.get(&goroutine).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_semaphores() {
        let mut table = vec![0u8; CELLS * CELL];
        assert_eq!(roots(&table), Some(Vec::new()));
        table[3 * CELL + ROOT..][..8].copy_from_slice(&0xc0_0001_0000u64.to_le_bytes());
        table[3 * CELL + 16] = 2;
        assert_eq!(roots(&table), Some(vec![0xc0_0001_0000]));
        for odd in [3 * CELL + ROOT, 7 * CELL + 7, 9 * CELL + 63] {
            let mut table = table.clone();
            table[odd] = 1;
            assert_eq!(roots(&table), None, "{odd}");
        }
    }
}
