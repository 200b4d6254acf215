//! One look at the whole: what goroutines that can run reach, and who of the rest can run because of that, until
//! nothing is added.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::goroutines::{Goroutines, Seen};
use super::notes::Notes;
use super::objects::Objects;
use super::reasons::Waits;
use super::roots;
use super::stack_maps::StackMaps;
use crate::runtime::go::bytes::u64_at;
use crate::runtime::go::heap::spans::Heap;
use crate::runtime::go::held::sizes;
use crate::runtime::go::memory::Piece;
use crate::runtime::go::program::Program;

/// Bytes of the heap that are read at once, and pieces of it.
const HEAP_AT_ONCE: u64 = 8 << 20;
const PIECES_AT_ONCE: usize = 1 << 10;
/// How often what has changed meanwhile is looked at again.
const REFRESHES: u32 = 3;
/// Bytes of an object that may be the one by which a program keeps a coroutine (`runtime/coro.go`, `coro`, 64 bytes at
/// most). Larger ones with addresses of goroutines are the scheduler's.
const LARGEST_COROUTINE: usize = 256;
/// The main goroutine. It may wait for ever because it has nothing else to do.
const MAIN: u64 = 1;

/// Why a look came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Something of it could not be read.
    Unreadable,
    /// It took too long, or nobody waits for it any more.
    Late,
}

/// What a look has found.
#[derive(Debug)]
pub(super) struct Found {
    /// Goroutines that nothing can wake, unless what was read was of different moments.
    pub leaked: Vec<Seen>,
    /// Bytes of the heap that only they reach.
    pub held_bytes: u64,
    /// Bytes of the heap that were read.
    pub read_bytes: u64,
}

/// What is needed for looks.
pub(super) struct Ground<'a> {
    pub program: &'a Program,
    pub heap: &'a Heap,
    pub reasons: &'a [Waits],
    pub until: Instant,
    /// Rests so long, and tells whether to go on.
    pub rest: &'a dyn Fn(Duration) -> bool,
}

pub(super) struct Scan<'a> {
    pub(super) ground: &'a Ground<'a>,
    pub(super) maps: &'a mut StackMaps,
    pub(super) objects: Objects,
    pub(super) goroutines: Goroutines,
    pub(super) notes: Notes,
    /// By goroutine.
    runs: Vec<bool>,
    /// Goroutines that can run, whose stacks are to be read.
    pub(super) todo: Vec<usize>,
    /// The others.
    left: Vec<usize>,
    /// Sizes of objects that notes lie in, and of those that goroutines do and the list of these.
    note_sizes: HashSet<u64>,
    own_sizes: HashSet<u64>,
    /// Goroutines whose address was met, and those whose note was.
    met: HashSet<usize>,
    noted: HashSet<usize>,
    /// Whether any of them is a coroutine, so that addresses of goroutines count.
    coroutines: bool,
    read_bytes: u64,
}

/// Looks once.
pub(super) fn scan(ground: &Ground<'_>, maps: &mut StackMaps) -> Result<Found, Stop> {
    let mut scan = Scan::begin(ground, maps)?;
    let mut refreshes = 0;
    loop {
        scan.settle()?;
        if refreshes == REFRESHES || !scan.refresh()? {
            break;
        }
        refreshes += 1;
    }
    scan.settle()?;
    let found: Vec<Seen> = scan.left.iter().map(|at| scan.goroutines.all[*at]).collect();
    let without = scan.objects.reached_bytes();
    scan.todo = std::mem::take(&mut scan.left);
    scan.settle()?;
    let held_bytes = scan.objects.reached_bytes().saturating_sub(without);
    let now = Goroutines::read(ground.program).ok_or(Stop::Unreadable)?;
    let stayed = |seen: &Seen| now.at(seen.address).is_some_and(|at| now.all[at] == *seen);
    let leaked = found.into_iter().filter(|seen| stayed(seen) && seen.scheduling.id() != MAIN).collect();
    Ok(Found { leaked, held_bytes, read_bytes: scan.read_bytes })
}

impl<'a> Scan<'a> {
    fn begin(ground: &'a Ground<'a>, maps: &'a mut StackMaps) -> Result<Self, Stop> {
        let program = ground.program;
        let mut objects = Objects::default();
        let spans = ground.heap.spans(program).ok_or(Stop::Unreadable)?;
        objects.add(&spans).ok_or(Stop::Unreadable)?;
        let goroutines = Goroutines::read(program).ok_or(Stop::Unreadable)?;
        let notes = Notes::read(program, &goroutines).ok_or(Stop::Unreadable)?;
        let waits = |seen: &Seen| ground.waits(seen);
        let own = goroutines.all.iter().map(|seen| seen.address).chain([goroutines.list]);
        let own_sizes = own.filter_map(|at| objects.size_of(at)).collect();
        let mut note_sizes: HashSet<u64> = notes.addresses().filter_map(|at| objects.size_of(at)).collect();
        // Up to Go 1.25 those that wait for a condition are met on the heap, and may be the only ones.
        note_sizes.insert(sizes::taken(notes.size(), true, program.minor));
        let mut scan = Self {
            coroutines: goroutines.all.iter().any(|seen| waits(seen) == Waits::Coroutine),
            runs: goroutines.all.iter().map(|seen| waits(seen) == Waits::Other).collect(),
            ground,
            maps,
            objects,
            goroutines,
            notes,
            todo: Vec::new(),
            left: Vec::new(),
            note_sizes,
            own_sizes,
            met: HashSet::new(),
            noted: HashSet::new(),
            read_bytes: 0,
        };
        for (at, seen) in scan.goroutines.all.iter().enumerate() {
            match scan.runs[at] {
                _ if seen.is_dead() => {}
                true => scan.todo.push(at),
                false => scan.left.push(at),
            }
        }
        if !roots::variables(program, &mut scan.objects) || !roots::specials(program, &mut scan.objects) {
            return Err(Stop::Unreadable);
        }
        roots::queues(program, &mut scan.objects);
        Ok(scan)
    }

    /// Goes on until nothing that is reached makes another goroutine run.
    fn settle(&mut self) -> Result<(), Stop> {
        loop {
            self.read_stacks()?;
            self.read_heap()?;
            let mut still = Vec::with_capacity(self.left.len());
            for at in std::mem::take(&mut self.left) {
                if self.can_run(at) {
                    self.runs[at] = true;
                    self.todo.push(at);
                } else {
                    still.push(at);
                }
            }
            self.left = still;
            if self.todo.is_empty() {
                return Ok(());
            }
        }
    }

    /// Whether anything that was reached can make a goroutine go on (`runtime/mgc.go`, Go 1.27,
    /// `(*g).isMaybeRunnable`), which is extended to semaphores and to what lies on stacks.
    fn can_run(&self, at: usize) -> bool {
        let seen = &self.goroutines.all[at];
        let semaphore = || self.notes.semaphore(seen.address);
        match self.ground.waits(seen) {
            Waits::Never => false,
            Waits::Channel | Waits::Select if seen.waiting == 0 => self.ground.waits(seen) == Waits::Channel,
            Waits::Channel | Waits::Select => {
                let mut channels = self.notes.of(seen.address).map(|note| note.channel).peekable();
                let reached =
                    |channel| self.objects.find(channel).is_none_or(|object| self.objects.is_reached(object));
                channels.peek().is_none() || channels.any(|channel| channel == 0 || reached(channel))
            }
            Waits::Condition => {
                let element = self.notes.of(seen.address).map(|note| note.element).max().unwrap_or(0);
                if element != 0 { self.is_shared(element) } else { self.noted.contains(&at) }
            }
            Waits::Coroutine => self.met.contains(&at),
            Waits::Semaphore => semaphore().is_none_or(|semaphore| self.is_shared(semaphore)),
            Waits::Other => true,
        }
    }

    /// Whether somebody who can run may reach what is waited for.
    fn is_shared(&self, address: u64) -> bool {
        match self.objects.find(address) {
            Some(object) => self.objects.is_reached(object),
            None => self.goroutines.owner(address).is_none_or(|owner| self.runs[owner]),
        }
    }

    /// Notes whose addresses these are, where that counts.
    pub(super) fn meet(&mut self, bytes: &[u8], besides: Option<u64>) {
        if !self.coroutines {
            return;
        }
        for word in bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)) {
            if Some(word) != besides
                && let Some(at) = self.goroutines.at(word)
            {
                self.met.insert(at);
            }
        }
    }

    /// Reads what was reached of the heap.
    fn read_heap(&mut self) -> Result<(), Stop> {
        while !self.objects.is_settled() {
            self.ground.in_time()?;
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while batch.len() < PIECES_AT_ONCE && bytes < HEAP_AT_ONCE {
                let Some((area, first, last)) = self.objects.next() else { break };
                let at = self.objects.areas()[area];
                let length = (last - first) * at.size;
                if length > HEAP_AT_ONCE {
                    self.read_in_pieces(area, first..last)?;
                    continue;
                }
                batch.push((area, first, last));
                bytes += length;
            }
            self.read_bytes += bytes;
            let piece = |(area, first, last): &(usize, u64, u64)| {
                let area = self.objects.areas()[*area];
                (area.start + first * area.size, ((last - first) * area.size) as usize)
            };
            let pieces: Vec<Piece> = batch.iter().map(piece).collect();
            let read = self.ground.program.memory().read_many(&pieces);
            for (n, (area, first, last)) in batch.into_iter().enumerate() {
                let bytes = read.get(n).ok_or(Stop::Unreadable)?;
                self.take(area, first..last, bytes);
            }
        }
        Ok(())
    }

    /// Objects of a span that are more than is read at once: one large one, mostly.
    fn read_in_pieces(&mut self, area: usize, indexes: std::ops::Range<u64>) -> Result<(), Stop> {
        let at = self.objects.areas()[area];
        for index in indexes {
            if !self.objects.waits((area, index)) {
                continue;
            }
            self.objects.done((area, index));
            let start = at.start + index * at.size;
            if start == self.goroutines.list {
                continue;
            }
            self.read_bytes += at.size;
            let mut done = 0;
            while done < at.size {
                self.ground.in_time()?;
                let length = (at.size - done).min(HEAP_AT_ONCE);
                let bytes = self.ground.program.memory().bytes(start + done, length as usize);
                self.reach_object(&bytes.ok_or(Stop::Unreadable)?);
                done += length;
            }
        }
        Ok(())
    }

    fn take(&mut self, area: usize, indexes: std::ops::Range<u64>, bytes: &[u8]) {
        let at = self.objects.areas()[area];
        let first = indexes.start;
        for index in indexes {
            if !self.objects.waits((area, index)) {
                continue;
            }
            self.objects.done((area, index));
            let offset = ((index - first) * at.size) as usize;
            let Some(own) = bytes.get(offset..offset + at.size as usize) else { return };
            let address = at.start + index * at.size;
            let own_size = self.own_sizes.contains(&at.size);
            if own_size && (self.goroutines.at(address).is_some() || address == self.goroutines.list) {
                continue;
            }
            if self.note_sizes.contains(&at.size) && self.is_note(address, own) {
                continue;
            }
            self.reach_object(own);
        }
    }

    /// Whether an object is a note in use: its links are not the program's. Those of waiters for a condition lead to
    /// each other.
    fn is_note(&mut self, address: u64, bytes: &[u8]) -> bool {
        let goroutine = u64_at(bytes, 0).unwrap_or(0);
        let waiter = self.goroutines.at(goroutine);
        if let Some(at) = waiter {
            self.noted.insert(at);
            if self.ground.waits(&self.goroutines.all[at]) == Waits::Condition {
                self.objects.reach(u64_at(bytes, 8).unwrap_or(0));
            }
        }
        waiter.is_some() || self.notes.is_note(address)
    }

    fn reach_object(&mut self, bytes: &[u8]) {
        self.objects.reach_all(bytes);
        if bytes.len() <= LARGEST_COROUTINE {
            self.meet(bytes, None);
        }
    }

    /// Looks at what has changed since it was read. Returns whether there is more to follow.
    fn refresh(&mut self) -> Result<bool, Stop> {
        let program = self.ground.program;
        let spans = self.ground.heap.spans(program).ok_or(Stop::Unreadable)?;
        self.objects.add(&spans).ok_or(Stop::Unreadable)?;
        self.objects.retry();
        let now = Goroutines::read(program).ok_or(Stop::Unreadable)?;
        let same =
            |seen: &Seen| self.goroutines.at(seen.address).is_some_and(|at| self.goroutines.all[at] == *seen);
        let changed = |seen: &&Seen| !seen.is_dead() && (!same(seen) || !seen.is_parked());
        let changed: Vec<Seen> = now.all.iter().filter(changed).copied().collect();
        self.reach_whole_stacks(&changed)?;
        if !roots::variables(program, &mut self.objects) {
            return Err(Stop::Unreadable);
        }
        Ok(!self.objects.is_settled())
    }
}

impl Ground<'_> {
    fn waits(&self, seen: &Seen) -> Waits {
        if !seen.is_parked() || seen.scheduling.is_in_syscall() || seen.scheduling.id() == MAIN {
            return Waits::Other;
        }
        self.reasons.get(usize::from(seen.reason)).copied().unwrap_or(Waits::Other)
    }

    pub(super) fn in_time(&self) -> Result<(), Stop> {
        if Instant::now() > self.until || !(self.rest)(Duration::ZERO) { Err(Stop::Late) } else { Ok(()) }
    }
}
