//! The bucketed lookup finds what a plain search finds.

use leakscope_common::unwind::{BUCKET_SHIFT, MappingEntry, Row, WideRule, cfa, find_row};
use proptest::prelude::*;

use super::rows::EhFrame;
use super::{Random, real_files};
use crate::process::maps;
use crate::unwind::{FileRows, FileSlot, TableFull, UnwindTable, anonymous_entry, build, mapping_entry};

fn plain(rows: &[Row], pc: u32) -> Option<Row> {
    rows[..rows.partition_point(|row| row.pc <= pc)].last().copied()
}

fn mapping(slot: FileSlot) -> MappingEntry {
    MappingEntry { start: 0, end: 1 << 32, bias: 0, bucket_base: slot.bucket_base, buckets: slot.buckets }
}

fn assert_same(table: &UnwindTable, slot: FileSlot, file: &FileRows, pc: u32) {
    let found = find_row(table, &mapping(slot), pc);
    let past = pc >> BUCKET_SHIFT >= slot.buckets;
    let expected = if past { None } else { plain(file.rows(), pc) };
    // The table counts wide rules from its own start.
    match expected.filter(|row| row.cfa_kind() == cfa::WIDE) {
        None => assert_eq!(found, expected, "pc {pc:#x}"),
        Some(row) => {
            let found = found.expect("a row");
            assert_eq!((found.pc, found.cfa_kind()), (row.pc, cfa::WIDE));
            let rule = file.wide()[row.wide_index() as usize / WideRule::SLOTS];
            assert_eq!(WideRule::read(table, found.wide_index()), Some(rule), "pc {pc:#x}");
        }
    }
    if past {
        // Behind the last bucket there is nothing but the end of the last function.
        let last = file.rows().last().expect("a row");
        assert_eq!(last.cfa_kind(), leakscope_common::unwind::cfa::NO_INFO);
    }
}

#[test]
fn same_rows_as_a_plain_search_on_real_files() {
    let files: Vec<_> = real_files().into_iter().map(|(_, elf)| build(&elf, None).expect("rows")).collect();
    let mut table = UnwindTable::new(u32::MAX, u32::MAX);
    let slots: Vec<_> = files.iter().map(|file| table.add_file(file).expect("fits")).collect();
    for (file, &slot) in files.iter().zip(&slots) {
        let last = u64::from(file.rows().last().expect("rows").pc);
        let mut random = Random(last);
        for _ in 0..100_000 {
            assert_same(&table, slot, file, random.below(last + (8 << BUCKET_SHIFT)) as u32);
        }
        for row in file.rows() {
            assert_same(&table, slot, file, row.pc);
            assert_same(&table, slot, file, row.pc.saturating_sub(1));
        }
        assert_same(&table, slot, file, u32::MAX);
    }
}

proptest! {
    #[test]
    fn same_rows_as_a_plain_search_on_any_functions(
        functions in prop::collection::vec((0u64..20_000, 0u64..40, 1u8..200), 1..300),
        pcs in prop::collection::vec(0u32..24_000, 100),
    ) {
        let mut section = EhFrame::default();
        let cie = section.cie("zR", &[]);
        for (start, length, offset) in functions {
            section.fde(cie, start, length, &[gimli::DW_CFA_def_cfa_offset.0, (offset & 15) * 8]);
        }
        let file = section.build();
        let mut table = UnwindTable::new(u32::MAX, u32::MAX);
        // Another file before and behind: neither may shine through.
        table.add_file(&file).expect("fits");
        let slot = table.add_file(&file).expect("fits");
        table.add_file(&file).expect("fits");
        for pc in pcs {
            assert_same(&table, slot, &file, pc);
        }
    }
}

#[test]
fn a_bucket_full_of_rows() {
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[]);
    for pc in 0..3 << BUCKET_SHIFT {
        section.fde(cie, pc, 1, &[gimli::DW_CFA_def_cfa_offset.0, ((pc as u8 & 7) + 1) * 8]);
    }
    let file = section.build();
    assert_eq!(file.rows().len(), (3 << BUCKET_SHIFT) + 1);
    let mut table = UnwindTable::new(u32::MAX, u32::MAX);
    let slot = table.add_file(&file).expect("fits");
    for pc in 0..4 << BUCKET_SHIFT {
        assert_same(&table, slot, &file, pc);
    }
}

#[test]
fn a_full_table_stays_as_it_was() {
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[]);
    section.fde(cie, 0x1000, 0x10, &[]);
    let file = section.build();
    assert_eq!(file.rows().len(), 3);
    let mut table = UnwindTable::new(6, 11);
    assert_eq!(table.add_file(&file), Ok(FileSlot { bucket_base: 0, buckets: 5 }));
    let full = TableFull::Buckets { needed: 6, free: 5, limit: 11 };
    assert_eq!(table.add_file(&file), Err(full));
    assert_eq!((table.row_count(), table.bucket_count()), (3, 6));
    let mut table = UnwindTable::new(5, 100);
    table.add_file(&file).expect("fits");
    assert_eq!(table.add_file(&file), Err(TableFull::Rows { needed: 3, free: 2, limit: 5 }));
}

#[test]
fn pending_is_what_was_added_since_the_upload() {
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[]);
    section.fde(cie, 0x400, 0x10, &[]);
    let file = section.build();
    let mut table = UnwindTable::new(100, 100);
    table.add_file(&file).expect("fits");
    assert_eq!((table.pending().row_start, table.pending().bucket_start), (0, 0));
    assert_eq!((table.pending().rows, table.pending().buckets), (file.rows(), &[0, 1, 3][..]));
    table.mark_uploaded();
    assert!(table.pending().rows.is_empty() && table.pending().buckets.is_empty());
    table.add_file(&file).expect("fits");
    assert_eq!((table.pending().row_start, table.pending().bucket_start), (3, 3));
    assert_eq!((table.pending().rows, table.pending().buckets), (file.rows(), &[3, 4, 6][..]));
}

#[test]
fn mappings_of_this_program_carry_its_bias() {
    let maps = maps::executable(std::process::id()).expect("own maps");
    let here = mappings_of_this_program_carry_its_bias as *const () as u64;
    let own = maps.iter().find(|m| (m.start..m.end).contains(&here)).expect("own code");
    let (_, elf) = real_files().pop().expect("this program");
    let slot = FileSlot { bucket_base: 7, buckets: 9 };
    let entry = mapping_entry(&elf, slot, own).expect("executable");
    assert_eq!((entry.start, entry.end, entry.bucket_base, entry.buckets), (own.start, own.end, 7, 9));
    let file_offset = here - own.start + own.offset;
    assert_eq!(elf.address_of_offset(file_offset), Some(here - entry.bias));
    assert_eq!(anonymous_entry(own).buckets, 0);
}
