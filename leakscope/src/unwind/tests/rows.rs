//! Rows from hand-made call frame information.

use gimli::{
    DW_CFA_advance_loc, DW_CFA_def_cfa_expression, DW_CFA_def_cfa_offset, DW_CFA_def_cfa_register,
    DW_CFA_expression, DW_CFA_offset, DW_CFA_register, DW_CFA_remember_state, DW_CFA_restore,
    DW_CFA_restore_state, DW_CFA_undefined,
};
use leakscope_common::unwind::{Row, cfa, rbp};

use crate::process::ElfFile;
use crate::unwind::{FileRows, RowsError, build, build_from_image, build_from_sections};

/// A `.eh_frame` section; addresses are absolute.
#[derive(Default)]
pub(super) struct EhFrame(pub(super) Vec<u8>);

impl EhFrame {
    /// A common entry with this augmentation and these instructions after the usual ones
    /// (CFA = rsp + 8, return address at CFA - 8). Returns its offset.
    pub(super) fn cie(&mut self, augmentation: &str, instructions: &[u8]) -> usize {
        let at = self.0.len();
        let mut content = vec![0, 0, 0, 0, 1];
        content.extend_from_slice(augmentation.as_bytes());
        content.extend_from_slice(&[0, 1, 0x78, 16, 1, 0, 0x0c, 7, 8, 0x90, 1]);
        content.extend_from_slice(instructions);
        self.entry(content);
        at
    }

    /// A function.
    pub(super) fn fde(&mut self, cie: usize, start: u64, length: u64, instructions: &[u8]) {
        let mut content = ((self.0.len() + 4 - cie) as u32).to_le_bytes().to_vec();
        content.extend_from_slice(&start.to_le_bytes());
        content.extend_from_slice(&length.to_le_bytes());
        content.push(0);
        content.extend_from_slice(instructions);
        self.entry(content);
    }

    fn entry(&mut self, content: Vec<u8>) {
        self.0.extend_from_slice(&(content.len() as u32).to_le_bytes());
        self.0.extend(content);
    }

    pub(super) fn build(&self) -> FileRows {
        build_from_sections(&self.0, 0x1000)
    }
}

fn advance(by: u8) -> u8 {
    DW_CFA_advance_loc.0 | by
}

fn end(pc: u32) -> Row {
    Row::new(pc, cfa::NO_INFO, 0, rbp::SAME, 0)
}

/// One function from 0x40, 32 bytes long: the rows between the two ends.
fn one(augmentation: &str, instructions: &[u8]) -> Vec<Row> {
    let mut section = EhFrame::default();
    let cie = section.cie(augmentation, &[]);
    section.fde(cie, 0x40, 0x20, instructions);
    let rows = section.build();
    assert_eq!((rows.stats().functions, rows.stats().bad_functions), (1, 0));
    let inner = rows.rows().strip_prefix(&[end(0)]).and_then(|r| r.strip_suffix(&[end(0x60)]));
    inner.expect("ends around").to_vec()
}

#[test]
fn a_usual_function() {
    let push_rbp = [advance(1), DW_CFA_def_cfa_offset.0, 16, DW_CFA_offset.0 | 6, 2];
    let mov = [advance(3), DW_CFA_def_cfa_register.0, 6];
    let leave = [DW_CFA_remember_state.0, advance(9), 0x0c, 7, 8, DW_CFA_restore.0 | 6];
    let after = [advance(1), DW_CFA_restore_state.0];
    let rows = one("zR", &[&push_rbp[..], &mov, &leave, &after].concat());
    assert_eq!(
        rows,
        [
            Row::new(0x40, cfa::RSP, 1, rbp::SAME, 0),
            Row::new(0x41, cfa::RSP, 2, rbp::CFA, -2),
            Row::new(0x44, cfa::RBP, 2, rbp::CFA, -2),
            Row::new(0x4d, cfa::RSP, 1, rbp::SAME, 0),
            Row::new(0x4e, cfa::RBP, 2, rbp::CFA, -2),
        ]
    );
}

#[test]
fn expressions_that_fit_and_some_that_do_not() {
    let plt = |n: u8| vec![0x77, 8, 0x80, 0, 0x3f, 0x1a, n, 0x2a, 0x33, 0x24, 0x22];
    let fits = [
        (plt(0x3b), cfa::PLT11, 0),
        (plt(0x3a), cfa::PLT10, 0),
        (plt(0x39), cfa::UNSUPPORTED, 0),
        // *(rsp + 272) + 8, as in libcrypto
        (vec![0x77, 0x90, 2, 6, 0x23, 8], cfa::DEREF_RSP, Row::deref(34, 8)),
        // *(rbp - 8), as in functions that realign the stack
        (vec![0x76, 0x78, 6], cfa::DEREF_RBP, Row::deref(-1, 0)),
        (vec![0x76, 0x78, 6, 0x23, 0xc8, 1], cfa::DEREF_RBP, Row::deref(-1, 200)),
        (vec![0x77, 16, 0x23, 8], cfa::RSP, 3),
        // A sum of three registers, a remainder, what lies in what lies in memory.
        (vec![0x77, 0, 0x70, 0, 0x22, 0x71, 0, 0x22], cfa::UNSUPPORTED, 0),
        (vec![0x77, 0, 0x38, 0x1d], cfa::UNSUPPORTED, 0),
        (vec![0x77, 0, 6, 6], cfa::UNSUPPORTED, 0),
        (vec![0x77], cfa::UNSUPPORTED, 0),
        (vec![], cfa::UNSUPPORTED, 0),
    ];
    for (expression, kind, offset) in fits {
        let mut code = vec![DW_CFA_def_cfa_expression.0, expression.len() as u8];
        code.extend_from_slice(&expression);
        assert_eq!(one("zR", &code), [Row::new(0x40, kind, offset, rbp::SAME, 0)], "{expression:x?}");
    }
}

#[test]
fn register_rules_that_fit_into_a_row() {
    let row = |code: &[u8]| one("zR", code)[0];
    assert_eq!(row(&[DW_CFA_undefined.0, 16]), Row::new(0x40, cfa::END_OF_STACK, 0, rbp::SAME, 0));
    assert_eq!(row(&[0x0c, 7, 0xf8, 0xff, 0x1f]), Row::new(0x40, cfa::RSP, 65535, rbp::SAME, 0));
    let saved = |kind, offset| Row::new(0x40, cfa::RSP, 1, kind, offset);
    assert_eq!(row(&[DW_CFA_expression.0, 6, 2, 0x76, 0x70]), saved(rbp::RBP, -2));
    assert_eq!(row(&[DW_CFA_offset.0 | 6, 0x80, 1]), saved(rbp::CFA, -128));
    assert_eq!(row(&[DW_CFA_undefined.0, 6]), saved(rbp::UNSUPPORTED, 0));
    let vector = row(&[DW_CFA_register.0, 16, 17]);
    assert_eq!(vector.cfa_kind(), cfa::UNSUPPORTED, "the return address in a vector register");
}

#[test]
fn a_signal_frame_is_known_by_its_layout() {
    let cfa_at_160 = [DW_CFA_def_cfa_expression.0, 4, 0x77, 0xa0, 1, 6];
    let ra_at_168 = [DW_CFA_expression.0, 16, 3, 0x77, 0xa8, 1];
    let code = [&cfa_at_160[..], &ra_at_168].concat();
    assert_eq!(one("zRS", &code), [Row::new(0x40, cfa::SIGNAL, 0, rbp::SAME, 0)]);
    assert_eq!(one("zR", &code)[0].cfa_kind(), cfa::WIDE, "not marked as a signal frame");
    assert_eq!(one("zRS", &[])[0].cfa_kind(), cfa::RSP, "marked, but an ordinary frame");
}

#[test]
fn functions_in_any_order_with_padding_and_gaps() {
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[]);
    section.fde(cie, 0x200, 0x10, &[]);
    section.fde(cie, 0x100, 0x21, &[DW_CFA_def_cfa_offset.0, 24]);
    section.fde(cie, 0x130, 0x10, &[]);
    section.fde(cie, 0x140, 0x10, &[]);
    section.fde(cie, 0x180, 0, &[]);
    let rows = section.build();
    assert_eq!(
        rows.rows(),
        [
            end(0),
            Row::new(0x100, cfa::RSP, 3, rbp::SAME, 0),
            // 15 bytes of padding, and the next two functions have the same rule.
            Row::new(0x130, cfa::RSP, 1, rbp::SAME, 0),
            end(0x150),
            Row::new(0x200, cfa::RSP, 1, rbp::SAME, 0),
            end(0x210),
        ]
    );
    assert_eq!(rows.stats().functions, 4);
}

#[test]
fn a_bad_entry_costs_only_itself() {
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[]);
    let odd = section.cie("zQ", &[]);
    section.fde(cie, 0x100, 0x10, &[DW_CFA_restore_state.0]);
    section.fde(odd, 0x200, 0x10, &[]);
    section.fde(cie, 0x1_0000_0000, 0x10, &[]);
    section.fde(cie, 0xffff_fff0, 0x10, &[]);
    section.fde(cie, u64::MAX, 0x10, &[]);
    section.fde(cie, 0x300, 0x10, &[]);
    let rows = section.build();
    let stats = rows.stats();
    assert_eq!((stats.functions, stats.bad_functions, stats.truncated), (1, 5, false));
    assert!(rows.rows().contains(&Row::new(0x300, cfa::RSP, 1, rbp::SAME, 0)));
}

#[test]
fn rows_before_a_malformed_instruction_are_kept() {
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[]);
    let good = [advance(4), DW_CFA_def_cfa_offset.0, 16, advance(32)];
    section.fde(cie, 0x100, 0x80, &[&good[..], &[DW_CFA_restore_state.0, advance(1)]].concat());
    let rows = section.build();
    assert_eq!((rows.stats().functions, rows.stats().bad_functions), (0, 1));
    assert_eq!(
        rows.rows(),
        [
            end(0),
            Row::new(0x100, cfa::RSP, 1, rbp::SAME, 0),
            Row::new(0x104, cfa::RSP, 2, rbp::SAME, 0),
            end(0x124),
        ]
    );
}

#[test]
fn stripped_section_headers_are_no_obstacle() {
    let path = super::library("libc.so.6");
    let mut bytes = std::fs::read(path).expect("libc");
    let whole = build_from_image(&bytes).expect("rows");
    // e_shoff, e_shnum, e_shstrndx
    bytes[0x28..0x30].fill(0);
    bytes[0x3c..0x40].fill(0);
    let stripped = build_from_image(&bytes).expect("rows by program headers");
    assert_eq!(whole.rows.rows(), stripped.rows.rows());
    assert_eq!(whole.rows.stats(), stripped.rows.stats());
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), &bytes).expect("written");
    let elf = ElfFile::open(file.path()).expect("still ELF");
    assert_eq!(build(&elf, None).expect("rows").rows(), whole.rows.rows());
    // Without the program headers there is nothing left to find it by.
    bytes[0x38..0x3a].fill(0);
    assert!(matches!(build_from_image(&bytes), Err(RowsError::NoEhFrame)));
}
