//! A Go program damaged in any way: the whole reader on it.

#![no_main]

use leakscope::runtime::go::offsets::VERSIONS;
use leakscope::runtime::go::synthetic::{Edit, Synthetic, exercise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((version, edits)) = bytes.split_first() else { return };
    let mut program = Synthetic::new(VERSIONS[usize::from(*version) % VERSIONS.len()]);
    for edit in edits.as_chunks::<{ Edit::SIZE }>().0 {
        Edit::from_bytes(edit).apply(&mut program);
    }
    exercise(&program);
});
