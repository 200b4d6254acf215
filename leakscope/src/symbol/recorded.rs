//! Names of frames that a recording keeps, so that a replay needs no file of the target.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::NamedFrame;
use crate::stack::Frame;

/// A frame of a stack, and the named frames that it stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedFrame {
    /// As it was unwound.
    pub frame: Frame,
    pub named: Vec<NamedFrame>,
}

/// What becomes of names besides being shown.
#[derive(Debug, Default)]
pub(super) enum RecordedNames {
    /// Nothing.
    #[default]
    No,
    /// They are kept for a recording.
    Kept {
        /// All of them.
        known: HashMap<Frame, Vec<NamedFrame>>,
        /// Those that were not handed out yet.
        new: Vec<RecordedFrame>,
    },
    /// They are those of a recording.
    Only(HashMap<Frame, Vec<NamedFrame>>),
}

impl RecordedNames {
    /// The recorded names of a frame, where only these count.
    pub(super) fn get(&self, frame: &Frame) -> Option<Vec<NamedFrame>> {
        let Self::Only(known) = self else { return None };
        Some(known.get(frame).cloned().unwrap_or_default())
    }

    /// Keeps the names of a frame, if they are to be kept.
    pub(super) fn keep(&mut self, frame: &Frame, named: &[NamedFrame]) {
        let Self::Kept { known, new } = self else { return };
        if known.get(frame).is_none_or(|before| before != named) {
            known.insert(*frame, named.to_vec());
            new.push(RecordedFrame { frame: *frame, named: named.to_vec() });
        }
    }

    /// Those that were kept since.
    pub(super) fn take_new(&mut self) -> Vec<RecordedFrame> {
        match self {
            Self::Kept { new, .. } => std::mem::take(new),
            Self::No | Self::Only(_) => Vec::new(),
        }
    }

    /// Takes in names of a recording.
    pub(super) fn learn(&mut self, names: Vec<RecordedFrame>) {
        if let Self::Only(known) = self {
            known.extend(names.into_iter().map(|RecordedFrame { frame, named }| (frame, named)));
        }
    }
}
