//! Rows from code, against the call frame information of the same code.

use gimli::{BaseAddresses, CieOrFde, LittleEndian, UnwindSection as _};
use leakscope_common::unwind::{Row, cfa, rbp};

use super::real_files;
use crate::process::ElfFile;
use crate::unwind::{FileRows, build_from_code, build_from_sections};

/// What became of the places where code and call frame information both tell something comparable.
#[derive(Debug, Default)]
struct Tally {
    same: u32,
    different: Vec<(u32, Row, Row)>,
    /// Covered by the call frame information, and not by the code's rows.
    missing: u32,
}

fn at(rows: &[Row], pc: u32) -> Option<Row> {
    rows[..rows.partition_point(|row| row.pc <= pc)].last().copied()
}

/// Functions that exceptions enter where no code leads.
fn with_landing_pads(elf: &ElfFile) -> Vec<(u32, u32)> {
    let (address, bytes) = elf.section(".eh_frame").expect("readable").expect("present");
    let bases = BaseAddresses::default().set_eh_frame(address);
    let mut entries = gimli::EhFrame::new(bytes, LittleEndian).entries(&bases);
    let mut found = Vec::new();
    while let Some(entry) = entries.next().expect("well-formed") {
        let CieOrFde::Fde(partial) = entry else { continue };
        let fde = partial.parse(gimli::EhFrame::cie_from_offset).expect("well-formed");
        if fde.lsda().is_some() {
            found.push((fde.initial_address() as u32, fde.end_address() as u32));
        }
    }
    found.sort_unstable();
    found
}

fn compare(code: &FileRows, frames: &FileRows, left_out: &[(u32, u32)]) -> Tally {
    let mut tally = Tally::default();
    let mut pcs: Vec<u32> = code.rows().iter().chain(frames.rows()).map(|row| row.pc).collect();
    pcs.sort_unstable();
    pcs.dedup();
    for pc in pcs {
        let before = left_out[..left_out.partition_point(|(start, _)| *start <= pc)].last();
        if before.is_some_and(|(_, end)| pc < *end) {
            continue;
        }
        let (Some(ours), Some(theirs)) = (at(code.rows(), pc), at(frames.rows(), pc)) else { continue };
        match (ours.cfa_kind(), theirs.cfa_kind()) {
            (_, cfa::NO_INFO) => {}
            (cfa::NO_INFO, _) => tally.missing += 1,
            (a, b) if a == b && matches!(a, cfa::RSP | cfa::RBP) => {
                let saved = |row: Row| (row.rbp_kind() == rbp::CFA).then_some(row.rbp_off);
                let rbp_differs = saved(ours).zip(saved(theirs)).is_some_and(|(a, b)| a != b);
                if ours.cfa_off != theirs.cfa_off || rbp_differs {
                    tally.different.push((pc, ours, theirs));
                } else {
                    tally.same += 1;
                }
            }
            _ => {}
        }
    }
    tally
}

fn both(elf: &ElfFile) -> (FileRows, FileRows) {
    let (address, bytes) = elf.section(".eh_frame").expect("readable").expect("present");
    (build_from_code(elf), build_from_sections(bytes, address))
}

#[test]
fn code_tells_what_call_frame_information_tells() {
    for (name, elf) in real_files() {
        let (code, frames) = both(&elf);
        let tally = compare(&code, &frames, &with_landing_pads(&elf));
        let stats = code.stats();
        println!(
            "{name}: {} followed, {} not; {} same, {} different, {} missing",
            stats.followed,
            stats.not_followed,
            tally.same,
            tally.different.len(),
            tally.missing
        );
        if std::env::var_os("SHOW").is_some() {
            for (pc, ours, theirs) in tally.different.iter().take(40) {
                println!("  {pc:#x} {ours:?} {theirs:?}");
            }
        }
        assert!(stats.followed > 500, "{name}: {stats:?}");
        assert!(tally.same > 5000, "{name}");
        assert!((tally.different.len() as u32) < tally.same / 20, "{name}: {:#x?}", tally.different);
    }
}
