//! A stack as sections hold it, and why it ends.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::by::By;
use super::frame::Frame;
use super::shared::SharedFrames;
use crate::human::counted;

/// A stack with its names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Frames, innermost first.
    pub frames: SharedFrames,
    /// Index of the first frame that is the user's own; none if there is none.
    pub blame: Option<u64>,
    /// Why there are no more frames; none if they never arrived.
    pub end: Option<StackEnd>,
    /// Of C that a goroutine calls, the `go` statement that created the goroutine, if it is known.
    pub created_by: Option<Arc<Frame>>,
}

/// Why a frame has no name yet.
const BEING_READ: &str = "names are being read";

impl Stack {
    /// What stands for a stack until its names are read.
    pub(crate) fn unnamed() -> Self {
        let frame = Frame { why_unknown: Some(BEING_READ.into()), ..Frame::default() };
        Self { frames: [frame].into_iter().collect(), ..Self::default() }
    }

    /// The frame that the stack is charged to.
    pub fn blamed(&self) -> Option<&Frame> {
        self.frames.get(usize::try_from(self.blame?).ok()?).map(Arc::as_ref)
    }

    /// The same; where none is the user's own, the innermost one.
    pub fn shown(&self) -> Option<&Frame> {
        self.blamed().or(self.frames.first().map(Arc::as_ref))
    }
}

/// Why a stack has no more frames. In JSON a text, which is `root` for a whole stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StackEnd {
    /// It is whole.
    Root,
    /// It goes on, but what follows is not known.
    Cut(Cut),
    /// It stands for several stacks, which were added up.
    Grouped {
        /// How many.
        stacks: u64,
        /// By what.
        by: By,
    },
    /// What another version of leakscope says.
    Other(String),
}

/// What cuts a stack short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// It has more frames than are unwound.
    TooLong,
    /// An address that no code is known to be mapped at.
    NoMapping,
    /// Code that has neither unwind rows nor frame pointers.
    NoRows,
    /// A rule that needs what is not known.
    Unsupported,
    /// Its memory could not be read.
    ReadFault,
    /// The caller's frame would lie below.
    NotAbove,
    /// A return probe that is not ours.
    Trampoline,
    /// A return address of 0.
    NoReturnAddress,
    /// The thread changed each time it was looked at.
    Unsettled,
    /// A runtime keeps so many frames and no more.
    NotKept,
    /// An address in none of a Go program's functions.
    NoGoFunction,
    /// The memory of a goroutine's stack could not be read, or changed.
    Unreadable,
    /// The goroutine was running.
    Running,
    /// The Go runtime attributes an allocation to no stack.
    NoStack,
    /// No sample was taken of these allocations.
    NotSeen,
}

/// What each is in JSON and for people.
const TEXTS: [(Cut, &str); 15] = [
    (Cut::TooLong, "more than 127 frames"),
    (Cut::NoMapping, "code that was not known (yet) to be mapped"),
    (Cut::NoRows, "code without unwind information"),
    (Cut::Unsupported, "an unwind rule that needs what is not known there"),
    (Cut::ReadFault, "the stack could not be read"),
    (Cut::NotAbove, "the next frame does not lie above"),
    (Cut::Trampoline, "a return probe of another tracer"),
    (Cut::NoReturnAddress, "a return address of 0"),
    (Cut::Unsettled, "the thread kept changing while it was looked at"),
    (Cut::NotKept, "more frames than are kept"),
    (Cut::NoGoFunction, "an address in no Go function"),
    (Cut::Unreadable, "the stack could not be read, or kept changing"),
    (Cut::Running, "the goroutine was running"),
    (Cut::NoStack, "the runtime keeps no stack for these"),
    (Cut::NotSeen, "no stack was seen of these"),
];

/// What JSON of before has.
const FORMER: [(Cut, &str); 1] = [(Cut::NoMapping, "an address in no known code")];

const ROOT: &str = "root";
/// What stands between the number of stacks and what they were added up by.
const GROUPED_BY: &str = ", grouped by ";

impl StackEnd {
    /// Whether nothing is missing: of stacks that were added up the frame that they have in common is all.
    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::Root | Self::Grouped { .. })
    }

    /// What a text of JSON says.
    fn read(text: &str) -> Option<Self> {
        if text == ROOT {
            return Some(Self::Root);
        }
        if let Some((cut, _)) = TEXTS.iter().chain(&FORMER).find(|(_, known)| *known == text) {
            return Some(Self::Cut(*cut));
        }
        let (stacks, by) = text.split_once(GROUPED_BY)?;
        // As older versions have it.
        if by == "blame" {
            let stacks = stacks.split(' ').next()?.replace(',', "").parse().ok()?;
            let same = format!("{}{GROUPED_BY}{by}", counted(stacks, "stack")) == text;
            return same.then_some(Self::Grouped { stacks, by: By::Place });
        }
        let by = By::ALL.into_iter().find(|known| known.name() == by)?;
        let stacks = stacks.split(' ').next()?.replace(',', "").parse().ok()?;
        let grouped = Self::Grouped { stacks, by };
        // What would be written in another way stays as it is.
        (grouped.to_string() == text).then_some(grouped)
    }
}

impl From<leakscope_common::unwind::StackEnd> for StackEnd {
    fn from(end: leakscope_common::unwind::StackEnd) -> Self {
        use leakscope_common::unwind::StackEnd as Unwound;
        Self::Cut(match end {
            Unwound::Root => return Self::Root,
            Unwound::Truncated => Cut::TooLong,
            Unwound::NoMapping => Cut::NoMapping,
            Unwound::NoRows => Cut::NoRows,
            Unwound::Unsupported => Cut::Unsupported,
            Unwound::ReadFault => Cut::ReadFault,
            Unwound::NotAbove => Cut::NotAbove,
            Unwound::Trampoline => Cut::Trampoline,
            Unwound::NoReturnAddress => Cut::NoReturnAddress,
        })
    }
}

impl fmt::Display for StackEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str(ROOT),
            Self::Cut(cut) => {
                let text = TEXTS.iter().find(|(known, _)| known == cut).map_or("", |(_, text)| text);
                f.write_str(text)
            }
            Self::Grouped { stacks, by } => {
                write!(f, "{}{GROUPED_BY}{}", counted(*stacks, "stack"), by.name())
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl Serialize for StackEnd {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StackEnd {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = StackEnd;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("why a stack ended")
            }

            fn visit_str<E>(self, text: &str) -> Result<StackEnd, E> {
                Ok(StackEnd::read(text).unwrap_or_else(|| StackEnd::Other(text.to_owned())))
            }
        }
        from.deserialize_str(Text)
    }
}

impl JsonSchema for StackEnd {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StackEnd".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn comes_back(end: &StackEnd) {
        let json = serde_json::to_string(end).expect("JSON");
        assert_eq!(serde_json::from_str::<StackEnd>(&json).expect("an end"), *end, "{json}");
    }

    #[test]
    fn ends_come_back_from_json() {
        comes_back(&StackEnd::Root);
        for (cut, _) in TEXTS {
            comes_back(&StackEnd::Cut(cut));
        }
        for (stacks, by) in [(1, By::Place), (1_234_567, By::Module), (2, By::Function)] {
            comes_back(&StackEnd::Grouped { stacks, by });
        }
        for text in
            ["", "more than 255 frames", "2 stacks, grouped by colour", "two stacks, grouped by blame"]
        {
            comes_back(&StackEnd::Other(text.to_owned()));
        }
    }

    /// What is not written so by any version must not be rewritten.
    #[test]
    fn only_what_is_meant_is_understood() {
        for text in ["1 stacks, grouped by blame", "1000 stacks, grouped by blame", "Root"] {
            assert_eq!(StackEnd::read(text), None, "{text}");
        }
        let grouped = StackEnd::Grouped { stacks: 1000, by: By::Place };
        assert_eq!(grouped.to_string(), "1,000 stacks, grouped by place");
        assert!(grouped.is_whole() && StackEnd::Root.is_whole());
        assert!(!StackEnd::Cut(Cut::NoRows).is_whole() && !StackEnd::Other("?".to_owned()).is_whole());
    }
}
