//! Reads stacks, and what else a goroutine that can run keeps.

use super::goroutines::Seen;
use super::scan::{Scan, Stop};
use super::stack_maps::Stack;
use crate::runtime::go::allgs::LARGEST_STACK;
use crate::runtime::go::memory::Piece;

/// Bytes of stacks that are read at once.
const AT_ONCE: usize = 16 << 20;
/// `g` begins with its stack's bounds, which are no pointers into the heap.
const AFTER_BOUNDS: usize = 16;

impl Scan<'_> {
    /// Reads the stacks of goroutines that can run.
    pub(super) fn read_stacks(&mut self) -> Result<(), Stop> {
        let todo: Vec<Seen> = self.todo.drain(..).map(|at| self.goroutines.all[at]).collect();
        self.each_stack(&todo, in_use, |scan, seen, stack, g| {
            scan.reach_stack(seen, stack, g);
            for note in scan.notes.of(seen.address) {
                scan.objects.reach(note.element);
                scan.objects.reach(note.channel);
            }
        })
    }

    /// Reaches all words of the stacks of these, whatever lies where.
    pub(super) fn reach_whole_stacks(&mut self, goroutines: &[Seen]) -> Result<(), Stop> {
        let whole = |seen: &Seen| {
            let (low, high) = seen.scheduling.stack();
            (low, length(low, high))
        };
        self.each_stack(goroutines, whole, |scan, seen, stack, _| scan.reach_words(seen, stack))
    }

    /// Hands each stack to `take`, with its `g`, whose words are reached. Of one that is too large to be read at once,
    /// all words are reached.
    fn each_stack(
        &mut self,
        goroutines: &[Seen],
        piece: impl Fn(&Seen) -> Piece,
        mut take: impl FnMut(&mut Self, &Seen, &[u8], &[u8]),
    ) -> Result<(), Stop> {
        let mut rest = goroutines;
        while !rest.is_empty() {
            self.ground.in_time()?;
            let mut bytes = 0;
            let fit = rest.iter().take_while(|seen| {
                bytes += piece(seen).1;
                bytes <= AT_ONCE
            });
            let (now, later) = rest.split_at(fit.count().max(1));
            rest = later;
            let large = piece(&now[0]).1 > AT_ONCE;
            if large {
                self.reach_large_stack(&now[0], piece(&now[0]))?;
            }
            let size = self.ground.program.layout.size;
            let both =
                |seen: &Seen| [if large { (seen.address, 0) } else { piece(seen) }, (seen.address, size)];
            let pieces: Vec<Piece> = now.iter().flat_map(both).collect();
            let read = self.ground.program.memory().read_many(&pieces);
            for (n, seen) in now.iter().enumerate() {
                let (Some(stack), Some(g)) = (read.get(2 * n), read.get(2 * n + 1)) else {
                    return Err(Stop::Unreadable);
                };
                if !large {
                    take(self, seen, stack, g);
                }
                self.objects.reach_all(g.get(AFTER_BOUNDS..).unwrap_or_default());
            }
        }
        Ok(())
    }

    fn reach_large_stack(&mut self, seen: &Seen, (mut from, length): Piece) -> Result<(), Stop> {
        let end = from.saturating_add(length as u64);
        while from < end {
            self.ground.in_time()?;
            let some = ((end - from) as usize).min(AT_ONCE);
            let bytes = self.ground.program.memory().bytes(from, some).ok_or(Stop::Unreadable)?;
            self.reach_words(seen, &bytes);
            from += some as u64;
        }
        Ok(())
    }

    fn reach_stack(&mut self, seen: &Seen, bytes: &[u8], g: &[u8]) {
        let (sp, pc) = seen.scheduling.resumes();
        let stack = Stack { pc, sp, bounds: seen.scheduling.stack(), bytes, g };
        let mapped = seen.is_parked()
            && !seen.scheduling.is_in_syscall()
            && self.maps.reach(self.ground.program, stack, &mut |_, word| self.objects.reach(word)).is_some();
        if !mapped {
            self.objects.reach_all(bytes);
        }
        self.meet(bytes, Some(seen.address));
    }

    fn reach_words(&mut self, seen: &Seen, bytes: &[u8]) {
        self.objects.reach_all(bytes);
        self.meet(bytes, Some(seen.address));
    }
}

fn length(low: u64, high: u64) -> usize {
    high.checked_sub(low).filter(|length| *length <= LARGEST_STACK).unwrap_or(0) as usize
}

/// The part of a stack that is in use: all of it, where that is not known.
pub(in super::super) fn in_use(seen: &Seen) -> Piece {
    let (low, high) = seen.scheduling.stack();
    let (sp, _) = seen.scheduling.resumes();
    let from = if seen.scheduling.is_running() || !(low..high).contains(&sp) { low } else { sp & !7 };
    (from, length(from, high))
}
