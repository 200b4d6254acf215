//! A function table of any bytes: a synthetic one with bytes overwritten, or the input itself.

#![no_main]

use leakscope::runtime::go::synthetic::{exercise_table, table};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, bool, Vec<(u16, u8)>, Vec<u8>)| {
    let (whole, go120, edits, bytes) = input;
    if whole {
        exercise_table(bytes);
        return;
    }
    let mut table = table(go120);
    for (at, value) in edits {
        let at = usize::from(at) % table.len();
        table[at] = value;
    }
    table.extend(bytes);
    exercise_table(table);
});
