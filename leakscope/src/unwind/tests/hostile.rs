//! Nothing in a file makes building rows panic, hang or grow without bound.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use leakscope_common::unwind::{Row, cfa};
use proptest::prelude::*;

use super::rows::EhFrame;
use crate::process::ElfFile;
use crate::unwind::{FileRows, UnwindTable, build_from_image, build_from_sections};

fn library_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| std::fs::read(super::library("libgcc_s.so.1")).expect("libgcc"))
}

fn eh_frame() -> &'static (u64, Vec<u8>) {
    static SECTION: OnceLock<(u64, Vec<u8>)> = OnceLock::new();
    SECTION.get_or_init(|| {
        let elf = ElfFile::open(&super::library("libgcc_s.so.1")).expect("libgcc");
        let (address, bytes) = elf.section(".eh_frame").expect("readable").expect("present");
        (address, bytes.to_owned())
    })
}

/// What holds for all rows, whatever they were built from.
fn assert_sane(file: &FileRows) {
    let rows = file.rows();
    assert_eq!(rows.first().map(|row| row.pc), Some(0));
    assert!(rows.windows(2).all(|w| w[0].pc < w[1].pc && !w[0].same_rule(w[1])));
    let mut table = UnwindTable::new(1 << 20, 1 << 20);
    // Functions strewn over 4 GiB need more buckets than there are: an error, no more.
    let _ = table.add_file(file);
    assert!(table.bucket_count() <= 1 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mutated_sections(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200)) {
        let (address, bytes) = eh_frame();
        let mut bytes = bytes.clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        assert_sane(&build_from_sections(&bytes, *address));
    }

    #[test]
    fn cut_sections(at in any::<prop::sample::Index>(), tail in prop::collection::vec(any::<u8>(), 0..64)) {
        let (address, bytes) = eh_frame();
        let mut bytes = bytes[..at.index(bytes.len())].to_vec();
        bytes.extend(tail);
        assert_sane(&build_from_sections(&bytes, *address));
    }

    #[test]
    fn random_sections(bytes in prop::collection::vec(any::<u8>(), 0..2000), address: u64) {
        assert_sane(&build_from_sections(&bytes, address));
    }

    #[test]
    fn random_instructions(
        common in prop::collection::vec(any::<u8>(), 0..40),
        code in prop::collection::vec(any::<u8>(), 0..400),
        start in 0u64..1 << 33,
        length: u32,
    ) {
        let mut section = EhFrame::default();
        let cie = section.cie("zR", &common);
        section.fde(cie, start, u64::from(length), &code);
        assert_sane(&section.build());
    }

    #[test]
    fn mutated_images(changes in prop::collection::vec((0usize..4096, any::<u8>()), 1..20), cut: prop::sample::Index) {
        let mut image = library_bytes().to_vec();
        for (at, value) in changes {
            image[at] = value;
        }
        if let Ok(rows) = build_from_image(&image) {
            assert_sane(&rows.rows);
        }
        image.truncate(cut.index(image.len()));
        if let Ok(rows) = build_from_image(&image) {
            assert_sane(&rows.rows);
        }
    }
}

fn assert_quick(section: &EhFrame) -> FileRows {
    let started = Instant::now();
    let rows = section.build();
    // Generous: this is an unoptimised build on a busy machine.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    rows
}

#[test]
fn one_long_common_entry_for_many_functions_is_refused() {
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[gimli::DW_CFA_nop.0; 100_000]);
    for at in 0..100_000 {
        section.fde(cie, at * 16, 16, &[]);
    }
    let rows = assert_quick(&section);
    assert_eq!(rows.rows().len(), 1);
    assert!(rows.stats().truncated);
}

#[test]
fn work_has_a_limit() {
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[gimli::DW_CFA_nop.0; 450]);
    for at in 0..100_000 {
        section.fde(cie, at * 32, 16, &[]);
    }
    let stats = assert_quick(&section).stats();
    assert!(stats.truncated);
    assert!((10_000..90_000).contains(&stats.functions), "{stats:?}");
}

#[test]
fn rows_have_a_limit() {
    // Every two bytes make a row that differs from the one before.
    let mut code = Vec::new();
    for at in 0..9_000_000u32 {
        code.extend_from_slice(&[gimli::DW_CFA_advance_loc.0 | 1, gimli::DW_CFA_def_cfa_offset.0]);
        code.push(if at % 2 == 0 { 16 } else { 24 });
    }
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[]);
    section.fde(cie, 0, 1 << 31, &code);
    section.fde(cie, 1 << 31, (1 << 31) - 1, &code);
    let rows = assert_quick(&section);
    assert!(rows.stats().truncated);
    assert!((15 << 20..=16 << 20).contains(&rows.rows().len()));
    assert_eq!(rows.rows().last().map(|row| row.cfa_kind()), Some(cfa::NO_INFO), "the last rule ends");
}

#[test]
fn states_remembered_without_end_are_refused() {
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[]);
    section.fde(cie, 0x100, 0x10, &[gimli::DW_CFA_remember_state.0; 100_000]);
    section.fde(cie, 0x200, 0x10, &[]);
    let rows = assert_quick(&section);
    assert_eq!((rows.stats().functions, rows.stats().bad_functions), (1, 1));
    assert_eq!(rows.rows().iter().filter(|row: &&Row| row.pc >= 0x200).count(), 2);
}
