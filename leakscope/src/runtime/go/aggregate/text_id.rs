//! Names of stacks by what they say: functions, files and lines, never addresses. They are the same in
//! another process of the program.

use crate::runtime::go::goroutine::GoFrame;

/// A 64-bit FNV-1a hash of texts and numbers, each told from the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextId(u64);

impl TextId {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.bytes(&number.to_le_bytes());
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes());
        self.number(text.len() as u64)
    }

    /// A text that may be absent, which is not the empty one.
    pub(super) fn maybe(&mut self, text: Option<&str>) -> &mut Self {
        self.number(u64::from(text.is_some())).text(text.unwrap_or_default())
    }

    pub(super) fn frame(&mut self, frame: &GoFrame) -> &mut Self {
        self.text(&frame.function).text(&frame.file).number(u64::from(frame.line))
    }

    pub(super) fn frames(&mut self, frames: &[GoFrame]) -> &mut Self {
        for frame in frames {
            self.frame(frame);
        }
        self.number(frames.len() as u64)
    }

    /// The hash, its bits mixed.
    pub(super) const fn finish(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
}
