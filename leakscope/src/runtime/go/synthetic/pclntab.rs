//! The function table of the synthetic program.

use super::{CODE, FUNCTIONS, INLINED};
use crate::runtime::go::pclntab::{HEADER, MAGIC_118, MAGIC_120};

/// A table and what belongs to it.
pub(crate) struct Table {
    pub(crate) bytes: Vec<u8>,
    /// Where names, units, files, values and records begin.
    pub(crate) parts: [u64; 5],
    /// The inline trees: one that all functions share.
    pub(crate) tree: Vec<u8>,
}

/// Values from the start of a function on, each with the bytes of code that have it.
fn values(steps: &[(i32, u8)]) -> Vec<u8> {
    let (mut bytes, mut last) = (Vec::new(), -1);
    for (value, length) in steps {
        let change: i32 = value - last;
        last = *value;
        let mut coded = ((change << 1) ^ (change >> 31)).cast_unsigned();
        while coded >= 0x80 {
            bytes.push(coded as u8 | 0x80);
            coded >>= 7;
        }
        bytes.extend([coded as u8, *length]);
    }
    bytes.push(0);
    bytes
}

pub(crate) fn build(go120: bool, text: u64) -> Table {
    let mut names = vec![0];
    let mut name = |text: &str| {
        let at = names.len() as u32;
        names.extend(text.bytes().chain([0]));
        at
    };
    let name_offsets: Vec<u32> = FUNCTIONS.iter().map(|f| name(f.name)).collect();
    let inlined = name(INLINED);
    let units = 0u32.to_le_bytes().to_vec();
    let files = b"/src/hub/hub.go\0".to_vec();
    let mut coded = vec![0];
    let mut table = |steps: &[(i32, u8)]| {
        let at = coded.len() as u32;
        coded.extend(values(steps));
        at
    };
    let file = table(&[(0, CODE as u8)]);
    let mut records = Vec::new();
    let count = FUNCTIONS.len();
    let first = 8 * count + 8;
    let mut index = Vec::new();
    for (i, function) in FUNCTIONS.iter().enumerate() {
        let entry = (i as u64 * CODE) as u32;
        index.extend(entry.to_le_bytes());
        index.extend(((first + records.len()) as u32).to_le_bytes());
        let line = 10 * (i as i32 + 1);
        let frame = table(&[(0, 4), (function.frame.cast_signed(), 60)]);
        let lines = table(&[(line, 32), (1000 + line, 16), (line + 1, 16)]);
        let calls = table(&[(-1, 32), (0, 16), (-1, 16)]);
        let data = if function.inlines { 4u8 } else { 0 };
        let tables = if function.inlines { 3u32 } else { 0 };
        for word in [entry, name_offsets[i], 0, 0, frame, file, lines, tables, 0] {
            records.extend(word.to_le_bytes());
        }
        if go120 {
            records.extend(1u32.to_le_bytes());
        }
        records.extend([function.kind, u8::from(function.top), 0, data]);
        if function.inlines {
            for word in [0, 0, calls, u32::MAX, u32::MAX, u32::MAX, 0] {
                records.extend(word.to_le_bytes());
            }
        }
    }
    index.extend((count as u32 * CODE as u32).to_le_bytes());
    index.resize(first, 0);
    let mut bytes = vec![0; HEADER];
    let parts = [&names, &units, &files, &coded, &[index, records].concat()].map(|part| {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let at = bytes.len() as u64;
        bytes.extend(part);
        at
    });
    bytes[..4].copy_from_slice(&(if go120 { MAGIC_120 } else { MAGIC_118 }).to_le_bytes());
    bytes[4..8].copy_from_slice(&[0, 0, 1, 8]);
    for (at, word) in (8..).step_by(8).zip([count as u64, 1, text].into_iter().chain(parts)) {
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    let tree: Vec<u32> = if go120 { vec![0, inlined, 16, 1] } else { vec![0xffff, 0, 1000, inlined, 16] };
    Table { bytes, parts, tree: tree.iter().flat_map(|word| word.to_le_bytes()).collect() }
}
