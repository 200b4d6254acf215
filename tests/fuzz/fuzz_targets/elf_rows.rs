//! Unwind rows of any `.eh_frame`.

#![no_main]

use leakscope::unwind::{UnwindTable, build_from_sections};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &[u8])| {
    let (address, bytes) = input;
    let rows = build_from_sections(bytes, address);
    assert!(rows.rows().windows(2).all(|w| w[0].pc < w[1].pc));
    let mut table = UnwindTable::new(1 << 12, 1 << 12);
    let _ = table.add_file(&rows);
});
