//! Damage: to any structure, of the kinds that a reader trips over.

use super::{HEAP, Synthetic, code};

/// A change of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    /// Which structure, modulo how many there are.
    pub structure: u16,
    /// Where in it, modulo its size.
    pub offset: u16,
    /// What to do, modulo the kinds.
    pub kind: u8,
    /// What with.
    pub value: u64,
}

impl Edit {
    /// Bytes of an edit in a fuzzer's input.
    pub const SIZE: usize = 13;

    /// The edit that bytes say; every sequence of bytes is one.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let [a, b, c, d, kind, value @ ..] = *bytes;
        Self {
            structure: u16::from_le_bytes([a, b]),
            offset: u16::from_le_bytes([c, d]),
            kind,
            value: u64::from_le_bytes(value),
        }
    }

    /// Makes the change.
    pub fn apply(self, program: &mut Synthetic) {
        let index = usize::from(self.structure) % program.structures.len();
        let (_, start, size) = program.structures[index];
        if size == 0 {
            return;
        }
        let at = start + u64::from(self.offset) % size;
        let word = start + ((u64::from(self.offset) % size) & !7);
        match self.kind % 12 {
            0 => program.write(at, &[self.value as u8]),
            1 => program.write(at, &(self.value as u32).to_le_bytes()),
            2 => program.set(word, self.value),
            3 => program.set(word, 0),
            4 => program.set(word, 1),
            5 => program.set(word, u64::MAX),
            6 => program.set(word, word),
            7 => program.set(word, start),
            8 => program.set(word, HEAP),
            9 => program.set(word, 1 << (self.value % 64)),
            10 => program.set(word, code("main.recurse", self.value % 70)),
            _ => {
                // Another structure's address.
                let (_, other, _) = program.structures[self.value as usize % program.structures.len()];
                program.set(word, other);
            }
        }
    }
}
