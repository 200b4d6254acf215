//! Where everything comes from that collectors and the session learn while recording.

use super::Unwinding;
use crate::bpf::BpfError;
use crate::bpf::object::Object;

/// The kernel side and the target.
#[derive(Debug)]
pub struct Live {
    /// The loaded programs and maps.
    pub object: Object,
    /// Unwind rows, for walks in userspace.
    pub unwinding: Unwinding,
}

/// Where facts come from.
#[derive(Debug)]
pub struct Source {
    live: Live,
}

impl Source {
    /// The kernel side and the target, as they are now.
    pub fn live(live: Live) -> Self {
        Self { live }
    }

    /// Asks for a fact; `what` names it.
    pub fn get<T>(
        &mut self,
        _what: &'static str,
        ask: impl FnOnce(&mut Live) -> Result<T, BpfError>,
    ) -> Result<T, BpfError> {
        ask(&mut self.live)
    }

    /// Does something to the kernel side that tells nothing.
    pub fn act(&mut self, act: impl FnOnce(&mut Live) -> Result<(), BpfError>) -> Result<(), BpfError> {
        act(&mut self.live)
    }
}
