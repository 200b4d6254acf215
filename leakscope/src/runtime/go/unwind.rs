//! Walks a goroutine's stack by the frame sizes of the function tables (`runtime/traceback.go`).

use super::bytes::u64_at;
use super::frames::{CodeAddress, Frames};
use super::goroutine::GoStackEnd;
use super::program::Program;

/// Most return addresses of a stack.
pub const DEEPEST: usize = 1024;

/// Where a walk begins, and the stack from its pointer upwards.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The address where the goroutine goes on.
    pub at: CodeAddress,
    /// The bytes from its stack pointer to the end of the stack (or as many as were read).
    pub stack: &'a [u8],
}

/// The addresses of a stack, innermost first, and why there are no more.
pub fn walk(program: &Program, frames: &mut Frames, start: Start<'_>) -> (Vec<CodeAddress>, GoStackEnd) {
    let (mut at, mut depth) = (start.at, 0usize);
    let mut addresses = Vec::with_capacity(16);
    while addresses.len() < DEEPEST {
        let Some(place) = frames.place(program, at) else {
            if !addresses.is_empty() {
                addresses.push(at);
            }
            return (addresses, GoStackEnd::UnknownCode);
        };
        addresses.push(at);
        if place.top {
            return (addresses, GoStackEnd::Root);
        }
        let Some(size) = place.frame_size else { return (addresses, GoStackEnd::UnknownCode) };
        depth += size as usize;
        let Some(pc) = u64_at(start.stack, depth) else { return (addresses, GoStackEnd::Unreadable) };
        depth += 8;
        at = CodeAddress { pc, exact: place.injected };
    }
    (addresses, GoStackEnd::TooDeep)
}
