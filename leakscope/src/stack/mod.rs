//! Interned stacks: each distinct stack once, its addresses normalised to (module, virtual address)
//! when it is first seen, while the mapping is certain to be there.

use std::collections::HashMap;

use leakscope_common::unwind::StackEnd;

use crate::process::Location;

/// Handle of an interned stack: the hash of its frames, and so its site's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackId(pub u64);

/// A frame as it was unwound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackFrame {
    /// Address in the target.
    pub address: u64,
    /// Whether it is the instruction itself; otherwise it is a return address, and the call lies
    /// before it.
    pub exact: bool,
}

/// A frame with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Address in the target.
    pub address: u64,
    /// Whether it is the instruction itself; otherwise a return address.
    pub exact: bool,
    /// Where it lies. Of a return address, where the call before it lies.
    pub location: Location,
}

/// A stack, innermost frame first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The frames.
    pub frames: Vec<Frame>,
    /// Why there are no more.
    pub end: StackEnd,
}

/// All stacks seen.
#[derive(Debug, Default)]
pub struct Stacks {
    by_id: HashMap<StackId, Stack>,
}

impl Stacks {
    /// Interns a stack; `locate` tells where an address lies now.
    pub fn insert(
        &mut self,
        id: StackId,
        frames: &[StackFrame],
        end: StackEnd,
        locate: impl Fn(u64) -> Location,
    ) {
        self.by_id.entry(id).or_insert_with(|| {
            let place = |f: &StackFrame| {
                // The call is the instruction before a return address; that one may even be the
                // first of the next function.
                let location = match locate(if f.exact { f.address } else { f.address.wrapping_sub(1) }) {
                    Location::Module(module, address) if !f.exact => {
                        Location::Module(module, address.wrapping_add(1))
                    }
                    other => other,
                };
                Frame { address: f.address, exact: f.exact, location }
            };
            Stack { frames: frames.iter().map(place).collect(), end }
        });
    }

    /// The stack, if its frames have arrived.
    pub fn get(&self, id: StackId) -> Option<&Stack> {
        self.by_id.get(&id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ModuleId;

    #[test]
    fn a_return_address_past_the_end_belongs_to_the_caller() {
        let mut stacks = Stacks::default();
        let locate = |a: u64| if a < 100 { Location::Module(ModuleId(0), a) } else { Location::Unmapped };
        let frames = [StackFrame { address: 100, exact: true }, StackFrame { address: 100, exact: false }];
        stacks.insert(StackId(1), &frames, StackEnd::Root, locate);
        let stack = stacks.get(StackId(1)).expect("interned");
        assert_eq!(stack.frames[0].location, Location::Unmapped);
        assert_eq!(stack.frames[1].location, Location::Module(ModuleId(0), 100));
        stacks.insert(StackId(1), &[], StackEnd::Truncated, locate);
        assert_eq!((stacks.len(), stacks.is_empty()), (1, false));
        assert_eq!(stacks.get(StackId(1)).map(|s| s.end), Some(StackEnd::Root));
    }
}
