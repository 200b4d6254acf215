//! The code of a file.

use iced_x86::{Decoder, DecoderOptions, Instruction};

/// Executable bytes of a file, in ranges sorted by address.
#[derive(Debug, Default)]
pub(super) struct Code {
    ranges: Vec<(u32, Vec<u8>)>,
}

impl Code {
    /// Adds a range, which lies behind those that were added before.
    pub(super) fn push(&mut self, start: u32, bytes: Vec<u8>) {
        if start.checked_add(bytes.len() as u32).is_some() {
            self.ranges.push((start, bytes));
        }
    }

    /// From the first byte to behind the last one of each range.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ranges.iter().map(|(start, bytes)| (*start, start + bytes.len() as u32))
    }

    /// The bytes from `at` to the end of its range.
    pub(super) fn bytes(&self, at: u32) -> Option<&[u8]> {
        let (start, bytes) = self.ranges[..self.ranges.partition_point(|(start, _)| *start <= at)].last()?;
        bytes.get((at - start) as usize..).filter(|rest| !rest.is_empty())
    }

    /// The instruction at `at`; `None` if there is none.
    pub(super) fn decode(&self, at: u32) -> Option<Instruction> {
        let bytes = self.bytes(at)?;
        let bytes = &bytes[..bytes.len().min(15)];
        let instruction = Decoder::with_ip(64, bytes, u64::from(at), DecoderOptions::NONE).decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    /// The instructions from `start` to `end`, one after the other.
    pub(super) fn sweep(&self, start: u32, end: u32) -> impl Iterator<Item = Instruction> + '_ {
        let bytes = self.bytes(start).unwrap_or_default();
        let bytes = &bytes[..bytes.len().min((end - start) as usize)];
        Decoder::with_ip(64, bytes, u64::from(start), DecoderOptions::NONE).into_iter()
    }
}
