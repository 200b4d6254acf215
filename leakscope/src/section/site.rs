//! What sites of all sections have in common.

use super::stack::Stack;
use crate::stack::StackId;

/// Finds the names of a stack; `None` if its frames never arrived.
pub type NameStack<'a> = dyn FnMut(StackId) -> Option<Stack> + 'a;

/// A stack's name in the report; zeros for what has none.
pub(crate) fn site_id(stack: Option<StackId>) -> String {
    format!("{:016x}", stack.map_or(0, |s| s.0))
}

/// Something that has a place in a list.
pub trait Ranked {
    /// Sets its place, from 1.
    fn set_rank(&mut self, rank: u64);
}

/// A stack with its numbers.
pub trait StackSite: Ranked {
    /// Identifies it within a run.
    fn site_id(&self) -> &str;

    fn stack(&self) -> &Stack;

    /// The same, to be changed.
    fn stack_mut(&mut self) -> &mut Stack;
}

/// Says of structures with the fields `rank`, `site_id` and `stack` that they are sites.
macro_rules! sites {
    ($($site:ty),*) => {
        $(
            $crate::section::site::ranked!($site);

            impl $crate::section::site::StackSite for $site {
                fn site_id(&self) -> &str {
                    &self.site_id
                }

                fn stack(&self) -> &$crate::section::stack::Stack {
                    &self.stack
                }

                fn stack_mut(&mut self) -> &mut $crate::section::stack::Stack {
                    &mut self.stack
                }
            }
        )*
    };
}
pub(crate) use sites;

/// The same of structures with the field `rank` alone.
macro_rules! ranked {
    ($($site:ty),*) => {
        $(impl $crate::section::site::Ranked for $site {
            fn set_rank(&mut self, rank: u64) {
                self.rank = rank;
            }
        })*
    };
}
pub(crate) use ranked;

/// Numbers sites anew, from 1.
pub(crate) fn rank(sites: &mut [impl Ranked]) {
    for (site, rank) in sites.iter_mut().zip(1..) {
        site.set_rank(rank);
    }
}
