//! The `ret` instructions by which a function returns, and those of the functions it ends by jumping
//! to.
//!
//! Each function is read from its first to its last byte instead of along its branches: the handlers
//! of an exception and the arms of a jump table are reached by no direct branch.

use std::collections::BTreeSet;
use std::ops::Range;

use iced_x86::{Code, FlowControl};

use super::callee::{Callee, callee};
use super::image::Image;
use super::place::Exit;
use super::x86;

const MAX_INSTRUCTIONS: usize = 20_000;
const MAX_FUNCTIONS: usize = 16;
/// A probe takes 0.1 s to detach; past this many the function is not worth it.
const MAX_RETURNS: usize = 64;

/// The exits of the function at `address..end`.
pub(crate) fn instructions(image: &dyn Image, address: u64, end: u64) -> Exit {
    let mut search = Search {
        image,
        queue: Vec::new(),
        seen: BTreeSet::from([address]),
        left: MAX_INSTRUCTIONS,
        offsets: BTreeSet::new(),
        complete: Ok(()),
    };
    let mut next = Some(address..end);
    while let Some(range) = next {
        search.read(range);
        next = search.queue.pop();
    }
    let Search { mut offsets, mut complete, .. } = search;
    if offsets.len() > MAX_RETURNS {
        complete = Err(format!("it returns in {} places, of which {MAX_RETURNS} are probed", offsets.len()));
        offsets = offsets.into_iter().take(MAX_RETURNS).collect();
    }
    Exit::Instructions { offsets: offsets.into_iter().collect(), complete }
}

struct Search<'a> {
    image: &'a dyn Image,
    queue: Vec<Range<u64>>,
    /// Starts of the ranges that were queued.
    seen: BTreeSet<u64>,
    left: usize,
    offsets: BTreeSet<u64>,
    complete: Result<(), String>,
}

impl Search<'_> {
    fn incomplete(&mut self, why: String) {
        if self.complete.is_ok() {
            self.complete = Err(why);
        }
    }

    fn read(&mut self, range: Range<u64>) {
        let length =
            usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(MAX_INSTRUCTIONS * 15);
        let image = self.image;
        for instruction in x86::decoder(image.code(range.start, length), range.start).iter() {
            if self.left == 0 {
                return self.incomplete(format!("more than {MAX_INSTRUCTIONS} instructions to read"));
            }
            self.left -= 1;
            if instruction.is_invalid() {
                return self.incomplete(format!("undecodable bytes at {:#x}", instruction.ip()));
            }
            if x86::is_return(&instruction) {
                match image.offset(instruction.ip()) {
                    Some(offset) => _ = self.offsets.insert(offset),
                    None => self.incomplete(format!("no file offset for {:#x}", instruction.ip())),
                }
            }
            let leaves = match instruction.flow_control() {
                FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                    !range.contains(&instruction.near_branch_target())
                }
                FlowControl::IndirectBranch => true,
                _ => false,
            };
            if leaves {
                match callee(image, &instruction) {
                    Callee::Local(target) | Callee::Named { address: Some(target), .. } => {
                        self.enqueue(target)
                    }
                    Callee::Named { name, address: None } => {
                        self.incomplete(format!("it ends by jumping to {name} of another file"));
                    }
                    Callee::Unknown if instruction.code() == Code::Jmp_rm64 => {
                        self.incomplete(format!("`{}` may leave it", x86::text(&instruction)));
                    }
                    Callee::Unknown => {
                        self.incomplete(format!("`{}` can't be followed", x86::text(&instruction)));
                    }
                }
            }
        }
    }

    fn enqueue(&mut self, target: u64) {
        let Some(extent) = self.image.extent(target) else {
            return self.incomplete(format!("the extent of the function at {target:#x} is unknown"));
        };
        if self.seen.contains(&extent.start) {
            return;
        }
        if self.seen.len() >= MAX_FUNCTIONS {
            return self.incomplete(format!("it jumps through more than {MAX_FUNCTIONS} functions"));
        }
        self.seen.insert(extent.start);
        self.queue.push(extent);
    }
}
