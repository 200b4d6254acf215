//! One step at thousands of random addresses of real files: ours, framehop's, and what the call
//! frame information says to the letter ([`Reference`]). Every difference has a named cause.

use std::ops::Range;

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder as _};
use gimli::{CfaRule, RegisterRule, X86_64};
use leakscope_common::unwind::{MappingEntry, Regs, StackEnd, cfa, find_row, step, step_frame_pointer};

use super::reference::{Expected, Reference, Rule};
use super::{Random, Synthetic, real_files};
use crate::process::maps;
use crate::unwind::makecontext::start_context;
use crate::unwind::{FileRows, UnwindTable, build, build_from_image};

const BIAS: u64 = 0x5555_0000_0000;
const SAMPLES: u64 = 8000;

struct Subject {
    name: String,
    rows: FileRows,
    eh_frame: Vec<u8>,
    eh_frame_address: u64,
    /// Where coroutines begin, which the call frame information does not tell.
    coroutines: Range<u64>,
}

/// What was seen, by cause.
#[derive(Debug, Default)]
struct Tally {
    /// All three agree.
    same: u32,
    /// Outermost frame for all three.
    root: u32,
    /// Ours is the reference's; framehop evaluates no expression that reads memory, and follows the
    /// frame pointer instead.
    framehop_reads_no_memory: u32,
    /// The rule needs a register besides rsp and rbp, which no sampling unwinder has for callers.
    other_register: u32,
    /// Ours is the reference's; framehop knows neither that register of the innermost frame, nor return
    /// addresses elsewhere than below the CFA.
    framehop_knows_no_register: u32,
}

struct Comparison {
    reference: Reference,
    table: UnwindTable,
    mapping: MappingEntry,
    framehop: UnwinderX86_64<Vec<u8>>,
    cache: CacheX86_64,
    coroutines: Range<u64>,
    tally: Tally,
}

impl Comparison {
    fn new(subject: &Subject) -> Self {
        let mut table = UnwindTable::new(u32::MAX, u32::MAX);
        let slot = table.add_file(&subject.rows).expect("fits");
        let end = BIAS + (1 << 32);
        let mapping = MappingEntry {
            start: BIAS,
            end,
            bias: BIAS,
            bucket_base: slot.bucket_base,
            buckets: slot.buckets,
        };
        let address = subject.eh_frame_address;
        let sections = ExplicitModuleSectionInfo {
            eh_frame_svma: Some(address..address + subject.eh_frame.len() as u64),
            eh_frame: Some(subject.eh_frame.clone()),
            ..Default::default()
        };
        let mut framehop = UnwinderX86_64::new();
        framehop.add_module(Module::new(subject.name.clone(), BIAS..end, BIAS, sections));
        Self {
            reference: Reference::new(subject.eh_frame.clone(), address),
            table,
            mapping,
            framehop,
            cache: CacheX86_64::new(),
            coroutines: subject.coroutines.clone(),
            tally: Tally::default(),
        }
    }

    fn ours(&self, mut regs: Regs) -> Result<Regs, StackEnd> {
        let relative = self.mapping.relative(regs.lookup_ip()).expect("in the mapping");
        let row = find_row(&self.table, &self.mapping, relative).expect("a row covers it");
        step(&mut regs, row, &self.table, &mut Synthetic).map(|()| regs)
    }

    fn framehops(&mut self, regs: Regs) -> Expected {
        let address = if regs.exact == 1 {
            FrameAddress::from_instruction_pointer(regs.ip)
        } else {
            FrameAddress::from_return_address(regs.ip).expect("not 0")
        };
        let mut theirs = UnwindRegsX86_64::new(regs.ip, regs.sp, regs.bp);
        let mut read = |addr| Ok(Synthetic::at(addr));
        match self.framehop.unwind_frame(address, &mut theirs, &mut self.cache, &mut read) {
            Ok(Some(ip)) => Expected::Caller { ip, sp: theirs.sp(), bp: theirs.bp() },
            Ok(None) => Expected::Root,
            Err(error) => panic!("framehop fails at {regs:x?}: {error}"),
        }
    }

    /// Compares the step at `pc`, an address that a function covers.
    fn check(&mut self, pc: u64, random: &mut Random) {
        let exact = random.below(2);
        let sp = 0x7ffc_0000_0000 + random.below(1 << 28) * 8;
        let bp = sp + random.below(1 << 13) * 8;
        let regs = Regs { ip: BIAS + pc + (1 - exact), sp, bp, exact };
        if self.coroutines.contains(&pc) {
            assert_eq!(self.ours(regs), Err(StackEnd::Root), "{regs:x?}");
            return;
        }
        let rule = self.reference.rule(pc).expect("covered");
        let expected = self.reference.caller(&rule, regs);
        let (ours, theirs) = (self.ours(regs), self.framehops(regs));
        let by_frame_pointer =
            Expected::Caller { ip: Synthetic::at(bp + 8), sp: bp + 16, bp: Synthetic::at(bp) };
        let at = format!("pc {pc:#x}, {regs:x?}");
        match expected {
            Expected::Root => {
                assert_eq!((ours, theirs), (Err(StackEnd::Root), Expected::Root), "{at}");
                self.tally.root += 1;
            }
            Expected::OtherRegister => {
                assert_eq!(ours, Err(StackEnd::Unsupported), "{at}");
                // framehop gives up too: on the CFA, or on the return address.
                if at_cfa_minus_8(&rule) {
                    assert_eq!(theirs, by_frame_pointer, "{at}");
                }
                self.tally.other_register += 1;
            }
            Expected::Caller { .. } => {
                let ours = ours.unwrap_or_else(|end| panic!("{end:?} at {at}"));
                assert_eq!(Expected::Caller { ip: ours.ip, sp: ours.sp, bp: ours.bp }, expected, "{at}");
                if theirs == expected {
                    self.tally.same += 1;
                } else if matches!(rule.cfa, CfaRule::Expression(_)) {
                    assert_eq!(theirs, by_frame_pointer, "{at}");
                    self.tally.framehop_reads_no_memory += 1;
                } else {
                    assert!(!usual_register(&rule) || !at_cfa_minus_8(&rule), "framehop differs at {at}");
                    self.tally.framehop_knows_no_register += 1;
                }
            }
        }
    }

    /// Compares the step where no function is.
    fn check_gap(&mut self, pc: u64) {
        let sp = 0x7ffc_0000_0000;
        let mut regs = Regs { ip: BIAS + pc + 1, sp, bp: sp + 64, exact: 0 };
        let mut by_frame_pointer = regs;
        step_frame_pointer(&mut by_frame_pointer, &mut Synthetic).expect("a near frame");
        let theirs = self.framehops(regs);
        regs = self.ours(regs).expect("a near frame");
        assert_eq!(regs, by_frame_pointer);
        assert_eq!(theirs, Expected::Caller { ip: regs.ip, sp: regs.sp, bp: regs.bp });
    }
}

fn at_cfa_minus_8(rule: &Rule) -> bool {
    matches!(rule.ra, Some(RegisterRule::Offset(-8)))
}

fn usual_register(rule: &Rule) -> bool {
    matches!(rule.cfa, CfaRule::RegisterAndOffset { register: X86_64::RSP | X86_64::RBP, .. })
}

fn compare(subject: &Subject, samples: u64) -> Tally {
    let mut comparison = Comparison::new(subject);
    let mut random = Random(samples);
    let functions = comparison.reference.functions.clone();
    for _ in 0..samples {
        let (start, end, _) = functions[random.below(functions.len() as u64) as usize];
        comparison.check(start + random.below(end - start), &mut random);
    }
    // Chance misses the rare kinds: visit every such row.
    for row in subject.rows.rows() {
        match row.cfa_kind() {
            cfa::RSP | cfa::RBP => {}
            cfa::NO_INFO => {
                if row.pc > 0 {
                    comparison.check_gap(u64::from(row.pc));
                }
            }
            _ => comparison.check(u64::from(row.pc), &mut random),
        }
    }
    comparison.tally
}

fn subjects() -> Vec<Subject> {
    real_files()
        .into_iter()
        .map(|(name, elf)| {
            let rows = build(&elf, None).expect("rows");
            let (eh_frame_address, eh_frame) = elf.section(".eh_frame").expect("readable").expect("present");
            let coroutines = start_context(&elf).unwrap_or(0..0);
            Subject { name, rows, eh_frame: eh_frame.to_owned(), eh_frame_address, coroutines }
        })
        .collect()
}

#[test]
fn same_callers_as_framehop_on_real_files() {
    for subject in subjects() {
        let tally = compare(&subject, SAMPLES);
        assert_eq!(subject.rows.stats().bad_functions, 0, "{}", subject.name);
        let rare = tally.other_register + tally.framehop_knows_no_register + tally.framehop_reads_no_memory;
        assert!(tally.same > 7900, "{}: {tally:?}", subject.name);
        assert!(rare < 300, "{}: {tally:?}", subject.name);
    }
}

#[test]
fn libc_has_the_rare_kinds() {
    let libc = subjects().swap_remove(0);
    let has = |kind| libc.rows.rows().iter().any(|row| row.cfa_kind() == kind);
    for kind in [cfa::RSP, cfa::RBP, cfa::PLT11, cfa::SIGNAL, cfa::END_OF_STACK, cfa::WIDE, cfa::NO_INFO] {
        assert!(has(kind), "no row of kind {kind}");
    }
    // The outermost frames and __restore_rt: framehop does not see through the latter.
    let tally = compare(&libc, 0);
    assert!(tally.root > 0 && tally.framehop_reads_no_memory > 0, "{tally:?}");
    assert_eq!(libc.rows.stats().unsupported, 0);
}

#[test]
fn same_callers_as_framehop_in_the_vdso() {
    let maps = maps::executable(std::process::id()).expect("own maps");
    let vdso = maps.iter().find(|m| m.kind == maps::MappingKind::Vdso).expect("a vDSO");
    let image = super::live::own_memory(vdso.start, vdso.end);
    let rows = build_from_image(&image).expect("rows");
    assert_eq!(rows.base, 0);
    assert!(rows.rows.stats().functions > 3);
    let parsed = object::read::elf::ElfFile64::<object::LittleEndian>::parse(&*image).expect("an ELF image");
    let section = object::Object::section_by_name(&parsed, ".eh_frame").expect("present");
    let subject = Subject {
        name: "[vdso]".into(),
        rows: rows.rows,
        eh_frame: object::ObjectSection::data(&section).expect("readable").to_vec(),
        eh_frame_address: object::ObjectSection::address(&section),
        coroutines: 0..0,
    };
    let tally = compare(&subject, 1000);
    assert!(tally.same >= 1000, "{tally:?}");
}
