//! Rules of placement on snippets of machine code; real libraries are in [`libraries`].

use std::collections::HashMap;
use std::ops::Range;

use leakscope_common::probe::{Effect, NO_REGISTER, Register};
use proptest::prelude::*;

use super::image::Image;
use super::place::{CostClass, Exit, PlaceError, Placement, place};
use super::x86::Emulated;
use super::{delegate, returns, table, x86};

mod libraries;

const BASE: u64 = 0x1000;

/// Code at [`BASE`]; file offsets are addresses less `BASE`.
#[derive(Default)]
struct Snippet {
    code: Vec<u8>,
    functions: Vec<(Range<u64>, &'static str)>,
    imports: HashMap<u64, (String, Option<u64>)>,
}

impl Snippet {
    fn new(code: &[u8]) -> Self {
        Self { code: code.to_vec(), ..Self::default() }
    }

    /// Declares a function by offsets into the code.
    fn function(mut self, range: Range<u64>, name: &'static str) -> Self {
        self.functions.push((BASE + range.start..BASE + range.end, name));
        self
    }

    fn import(mut self, slot: u64, name: &str) -> Self {
        self.imports.insert(BASE + slot, (name.to_owned(), None));
        self
    }

    fn place(&self, function: &str) -> Result<Placement, PlaceError> {
        place(self, table::lookup(function).unwrap(), BASE, self.code.len() as u64)
    }

    fn exits(&self, length: u64) -> (Vec<u64>, Result<(), String>) {
        match returns::instructions(self, BASE, BASE + length) {
            Exit::Instructions { offsets, complete } => (offsets, complete),
            other => panic!("{other:?}"),
        }
    }

    fn delegates(&self, function: &str) -> Option<Vec<String>> {
        let found = delegate::delegates(self, table::lookup(function).unwrap(), BASE)?;
        Some(found.into_iter().map(|(name, _)| name).collect())
    }
}

impl Image for Snippet {
    fn code(&self, address: u64, limit: usize) -> &[u8] {
        let start = usize::try_from(address.wrapping_sub(BASE)).unwrap_or(usize::MAX);
        let rest = self.code.get(start..).unwrap_or_default();
        &rest[..rest.len().min(limit)]
    }
    fn extent(&self, address: u64) -> Option<Range<u64>> {
        self.functions.iter().map(|(range, _)| range.clone()).find(|range| range.contains(&address))
    }
    fn next_function(&self, address: u64) -> Option<u64> {
        self.functions.iter().map(|(range, _)| range.start).filter(|&start| start > address).min()
    }
    fn import(&self, slot: u64) -> Option<(&str, Option<u64>)> {
        self.imports.get(&slot).map(|(name, address)| (name.as_str(), *address))
    }
    fn name_at(&self, address: u64) -> Option<&str> {
        self.functions.iter().find(|(range, _)| range.start == address).map(|&(_, name)| name)
    }
    fn offset(&self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(BASE)?;
        (offset < self.code.len() as u64).then_some(offset)
    }
}

fn emulated_at(code: &[u8], function: &str, offset: u64) -> Placement {
    let placement = Snippet::new(code).place(function).unwrap();
    assert_eq!((placement.cost.clone(), placement.entry), (CostClass::Emulated, offset), "{placement:?}");
    placement
}

fn single_step(code: &[u8], function: &str, why: &str) -> Placement {
    let placement = Snippet::new(code).place(function).unwrap();
    match placement.cost {
        CostClass::SingleStep(reason) if reason.contains(why) && placement.entry == 0 => placement,
        _ => panic!("{placement:?}"),
    }
}

#[test]
fn emulated_instructions_are_told_from_their_bytes() {
    for (bytes, expected) in [
        (&[0x55][..], Some(Emulated::Push)),
        (&[0x41, 0x54], Some(Emulated::Push)),
        (&[0x40, 0x55], None),
        (&[0x66, 0x55], None),
        (&[0x6a, 1], None),
        (&[0xeb, 0], Some(Emulated::Jump)),
        (&[0xe9, 0, 0, 0, 0], Some(Emulated::Jump)),
        (&[0xff, 0xe0], None),
        (&[0x74, 0], Some(Emulated::ConditionalJump)),
        (&[0x0f, 0x84, 0, 0, 0, 0], Some(Emulated::ConditionalJump)),
        (&[0x3e, 0x74, 0], None),
        (&[0xe3, 0], None),
        (&[0xe8, 0, 0, 0, 0], Some(Emulated::Call)),
        (&[0x66, 0xe8, 0, 0], None),
        (&[0x90], Some(Emulated::Nop)),
        (&[0x66, 0x90], Some(Emulated::Nop)),
        (&[0xf3, 0x90], None),
        (&[0x0f, 0x1f, 0x44, 0, 0], Some(Emulated::Nop)),
        (&[0x2e, 0x0f, 0x1f, 0x00], None),
        (&[0xf3, 0x0f, 0x1e, 0xfa], None),
    ] {
        assert_eq!(x86::emulated(bytes), expected, "{bytes:x?}");
    }
}

#[test]
fn a_push_at_the_entry_is_taken() {
    let placement = emulated_at(&[0x41, 0x54, 0xc3], "calloc", 0);
    assert_eq!(placement.size, Register::Rsi as u8);
    assert_eq!(placement.count, Register::Rdi as u8);
    assert_eq!(placement.pointer, NO_REGISTER);
    assert_eq!(placement.exit, Exit::ReturnProbe);
    assert_eq!(placement.instruction, "push r12");
    let cookie = placement.cookie(7);
    assert_eq!((cookie.effect(), cookie.function()), (Effect::Allocate as u8, 7));
    assert_eq!((cookie.size(), cookie.count(), cookie.out()), (6, 7, NO_REGISTER));
}

#[test]
fn endbr64_is_stepped_over() {
    assert_eq!(emulated_at(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3], "malloc", 4).distance, 4);
}

#[test]
fn copies_of_arguments_are_followed() {
    // mov rsi,rdi; mov rdi,fs:[rax]; cmp rsi,0x400; ja; ret
    let code = [0x48, 0x89, 0xfe, 0x64, 0x48, 0x8b, 0x38, 0x48, 0x81, 0xfe, 0, 4, 0, 0, 0x77, 1, 0xc3, 0xc3];
    assert_eq!(emulated_at(&code, "malloc", 14).size, Register::Rsi as u8);
    // mov rax,rdi; mov rdi,rax; push: the register of the convention is preferred.
    assert_eq!(emulated_at(&[0x48, 0x89, 0xf8, 0x48, 0x89, 0xc7, 0x55], "malloc", 6).size, 7);
    // mov rax,rdi; mov rax,rsi; xor edi,edi; push: the copy is gone too.
    single_step(&[0x48, 0x89, 0xf8, 0x48, 0x89, 0xf0, 0x31, 0xff, 0x55], "malloc", "overwritten");
}

#[test]
fn copies_of_half_a_register_do_not_count() {
    // mov esi,edi; xor edi,edi; push rbp
    single_step(&[0x89, 0xfe, 0x31, 0xff, 0x55, 0xc3], "malloc", "overwritten");
}

#[test]
fn only_arguments_of_interest_must_survive() {
    // xor edi,edi; push rbp: memalign's alignment is of no interest.
    emulated_at(&[0x31, 0xff, 0x55, 0xc3], "memalign", 2);
    single_step(&[0x31, 0xff, 0x55, 0xc3], "free", "overwritten");
}

#[test]
fn a_return_probe_needs_rsp_as_it_was() {
    // sub rsp,8; call; add rsp,8; ret
    let code = [0x48, 0x83, 0xec, 8, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 8, 0xc3];
    single_step(&code, "malloc", "rsp changes");
    emulated_at(&code, "free", 4);
}

#[test]
fn a_conditional_jump_before_the_first_push_is_taken() {
    // cmp byte [rip+0],0; je +1; push rbp; ret
    emulated_at(&[0x80, 0x3d, 0, 0, 0, 0, 0, 0x74, 1, 0x55, 0xc3], "memalign", 7);
}

#[test]
fn a_null_check_that_returns_is_skipped_by_free() {
    // test rdi,rdi; je to ret; push rbp; ret
    let code = [0x48, 0x85, 0xff, 0x74, 1, 0x55, 0xc3];
    emulated_at(&code, "free", 5);
    // malloc(0) is no free(NULL).
    emulated_at(&code, "malloc", 3);
    // The pointer is in a copy: mov rcx,rdi; test rcx,rcx; je; xor edi,edi; push rbp; ret
    let copy = [0x48, 0x89, 0xf9, 0x48, 0x85, 0xc9, 0x74, 3, 0x31, 0xff, 0x55, 0xc3];
    assert_eq!(emulated_at(&copy, "free", 10).pointer, Register::Rcx as u8);
    // Another register is tested: test rsi,rsi.
    emulated_at(&[0x48, 0x85, 0xf6, 0x74, 1, 0x55, 0xc3], "free", 3);
    // jne instead of je.
    emulated_at(&[0x48, 0x85, 0xff, 0x75, 1, 0x55, 0xc3], "free", 3);
    // Half of the pointer is tested: test edi,edi.
    emulated_at(&[0x85, 0xff, 0x74, 1, 0x55, 0xc3], "free", 2);
}

#[test]
fn a_null_check_that_does_more_is_probed_itself() {
    // test rdi,rdi; je to `inc [rax]`; push rbp; ret; inc qword [rax]; ret
    let code = [0x48, 0x85, 0xff, 0x74, 2, 0x55, 0xc3, 0x48, 0xff, 0, 0xc3];
    emulated_at(&code, "free", 3);
    // The rest of the function has nothing emulated: the je stands in.
    emulated_at(&[0x48, 0x85, 0xff, 0x74, 3, 0x48, 0xff, 0xc0, 0xc3], "free", 3);
}

#[test]
fn a_branch_target_ends_the_search() {
    // inc rax; L: push rbp; jmp L
    single_step(&[0x48, 0xff, 0xc0, 0x55, 0xeb, 0xfd], "malloc", "branch target");
    // A branch back to the entry itself is a new call.
    emulated_at(&[0x48, 0xff, 0xc0, 0x55, 0xeb, 0xfa], "malloc", 3);
}

#[test]
fn another_function_ends_the_search() {
    let code = [0x48, 0xff, 0xc0, 0x55, 0xc3];
    let snippet = Snippet::new(&code).function(3..5, "other");
    assert!(matches!(snippet.place("malloc").unwrap().cost, CostClass::SingleStep(_)));
    emulated_at(&code, "malloc", 3);
}

#[test]
fn a_store_before_the_probe_may_be_the_free_itself() {
    // mov [rax],rdi; push rbp; ret
    let code = [0x48, 0x89, 0x38, 0x55, 0xc3];
    single_step(&code, "free", "memory is written");
    single_step(&code, "realloc", "memory is written");
    emulated_at(&code, "malloc", 3);
}

#[test]
fn nops_are_the_last_resort_and_only_at_the_entry() {
    let nop5 = [0x0f, 0x1f, 0x44, 0, 0];
    emulated_at(&[&nop5[..], &[0x55, 0xc3]].concat(), "malloc", 5);
    // endbr64; nop; sub rsp,8; ret
    emulated_at(&[&[0xf3, 0x0f, 0x1e, 0xfa], &nop5[..], &[0x48, 0x83, 0xec, 8, 0xc3]].concat(), "malloc", 4);
    // inc rax; nop; sub rsp,8
    single_step(&[&[0x48, 0xff, 0xc0], &nop5[..], &[0x48, 0x83, 0xec, 8]].concat(), "malloc", "rsp changes");
}

#[test]
fn nothing_past_a_return_or_jump_is_taken() {
    single_step(&[0x48, 0xff, 0xc0, 0xc3, 0x55], "malloc", "control leaves");
    single_step(&[0xff, 0xe0, 0x55], "malloc", "control leaves");
    emulated_at(&[0x31, 0xf6, 0xe9, 0, 0, 0, 0], "malloc", 2);
}

#[test]
fn what_the_kernel_refuses_is_an_error() {
    // lock inc [rdi]; data16 call; cs nop; int3
    for code in
        [&[0xf0, 0x48, 0xff, 0x07, 0xc3][..], &[0x66, 0xe8, 0, 0, 0, 0], &[0x2e, 0x90, 0xc3], &[0xcc, 0xc3]]
    {
        let placed = Snippet::new(code).place("free");
        assert!(matches!(placed, Err(PlaceError::Refused { .. })), "{code:x?}: {placed:?}");
    }
    assert_eq!(Snippet::new(&[0x06]).place("free"), Err(PlaceError::Undecodable));
    assert_eq!(Snippet::new(&[]).place("free"), Err(PlaceError::NoCode));
}

#[test]
fn every_return_of_a_throwing_function_is_found() {
    // je +2; ret; nop; rep ret; bnd ret; ret 8
    let snippet = Snippet::new(&[0x74, 2, 0xc3, 0x90, 0xf3, 0xc3, 0xf2, 0xc3, 0xc2, 8, 0]);
    assert_eq!(snippet.exits(11), (vec![2, 4, 6, 8], Ok(())));
    assert!(matches!(snippet.place("_Znwm").unwrap().exit, Exit::Instructions { .. }));
    assert_eq!(snippet.place("malloc").unwrap().exit, Exit::ReturnProbe);
    assert_eq!(snippet.place("_ZdlPv").unwrap().exit, Exit::None);
}

#[test]
fn tail_jumps_are_followed() {
    // 0: jne 8; ret | 8: push; pop; jmp 16 | 16: ret; jmp 8
    let code = [
        0x75, 6, 0xc3, 0x90, 0x90, 0x90, 0x90, 0x90, 0x55, 0x5d, 0xeb, 4, 0xcc, 0xcc, 0xcc, 0xcc, 0xc3, 0xeb,
        0xf5,
    ];
    let snippet = Snippet::new(&code).function(8..12, "a").function(16..19, "b");
    assert_eq!(snippet.exits(3), (vec![2, 16], Ok(())));
    let (offsets, complete) = Snippet::new(&code).exits(3);
    assert_eq!(offsets, [2]);
    assert!(complete.unwrap_err().contains("extent"));
}

#[test]
fn jumps_that_cannot_be_followed_are_told() {
    // je +2; jmp rax; ret
    let (offsets, complete) = Snippet::new(&[0x74, 2, 0xff, 0xe0, 0xc3]).exits(5);
    assert_eq!(offsets, [4]);
    assert!(complete.unwrap_err().contains("jmp rax"));
    // jmp [rip+0x10] through the loader's pointer at 0x16
    let snippet = Snippet::new(&[0xff, 0x25, 0x10, 0, 0, 0]).import(0x16, "tail");
    assert!(snippet.exits(6).1.unwrap_err().contains("jumping to tail of another file"));
}

#[test]
fn thin_wrappers_pass_on() {
    // jmp 8; (padding) | 8: malloc
    let code = [0xeb, 6, 0, 0, 0, 0, 0, 0, 0x55, 0xc3];
    let jump = |name| Snippet::new(&code).function(8..10, name);
    assert_eq!(jump("malloc").delegates("_Znwm").unwrap(), ["malloc"]);
    assert_eq!(jump("malloc").delegates("valloc").unwrap(), ["malloc"]);
    assert_eq!(jump("realloc").delegates("reallocarray").unwrap(), ["realloc"]);
    assert_eq!(jump("free").delegates("malloc"), None);
    assert_eq!(jump("something").delegates("malloc"), None);
    // A stub of the procedure linkage table, with endbr64: jmp 8 | 8: endbr64; jmp [rip+0x10]
    let stub = [0xeb, 6, 0, 0, 0, 0, 0, 0, 0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0x10, 0, 0, 0];
    assert_eq!(Snippet::new(&stub).import(0x22, "free").delegates("_ZdlPv").unwrap(), ["free"]);
    assert_eq!(Snippet::new(&stub).delegates("_ZdlPv"), None);
}

#[test]
fn a_call_passes_on_only_in_operators() {
    // sub rsp,8; call 16; add rsp,8; ret | 16: malloc
    let code = [0x48, 0x83, 0xec, 8, 0xe8, 7, 0, 0, 0, 0x48, 0x83, 0xc4, 8, 0xc3, 0xcc, 0xcc, 0x55, 0xc3];
    let snippet = Snippet::new(&code).function(16..18, "malloc");
    assert_eq!(snippet.delegates("_Znwm").unwrap(), ["malloc"]);
    assert_eq!(snippet.delegates("calloc"), None);
    assert_eq!(snippet.delegates("_ZdlPv"), None);
}

#[test]
fn a_path_that_works_by_itself_does_not_pass_on() {
    // je +2; jmp 8; mov [rax],rcx; ret | 8: free
    let works = [0x74, 2, 0xeb, 4, 0x48, 0x89, 0x08, 0xc3, 0x55, 0xc3];
    assert_eq!(Snippet::new(&works).function(8..10, "free").delegates("_ZdlPv"), None);
    // je +2; jmp 12; mov dword fs:[rax],ENOMEM; ret | 12: malloc
    let errno = [0x74, 2, 0xeb, 8, 0x64, 0xc7, 0, 12, 0, 0, 0, 0xc3, 0x55, 0xc3];
    assert_eq!(Snippet::new(&errno).function(12..14, "malloc").delegates("calloc").unwrap(), ["malloc"]);
    // ret alone does nothing at all, and that is no wrapper.
    assert_eq!(Snippet::new(&[0xc3]).delegates("free"), None);
    // A function that jumps to itself leads nowhere.
    assert_eq!(Snippet::new(&[0xeb, 0xfe]).function(0..2, "free").delegates("free"), None);
    // Code that ends is not understood.
    assert_eq!(Snippet::new(&[0x90]).function(0..1, "free").delegates("free"), None);
}

#[test]
fn the_table_is_consistent() {
    let mut names = std::collections::HashSet::new();
    for f in table::functions() {
        assert!(names.insert(f.name), "{} is listed twice", f.name);
        let arguments = [f.size, f.count, f.pointer, f.out, f.extra];
        assert!(arguments.into_iter().flatten().all(|index| index < 6), "{}", f.name);
        assert_eq!(table::lookup(f.name), Some(f));
        assert_eq!(f.size.is_some(), f.effect != Effect::Free, "{}", f.name);
        let resizes = !matches!(f.effect, Effect::Allocate | Effect::AllocateOut);
        assert_eq!(f.pointer.is_some(), resizes, "{}", f.name);
        assert_eq!(f.out.is_some(), f.effect == Effect::AllocateOut, "{}", f.name);
        assert_eq!(f.extra.is_some(), f.effect == Effect::ResizeInPlace, "{}", f.name);
    }
    assert!(table::rank("malloc") < table::rank("mi_malloc"));
    assert_eq!(table::lookup("strdup"), None);
}

proptest! {
    #[test]
    fn random_code_never_panics(
        code in proptest::collection::vec(any::<u8>(), 0..300),
        size in any::<u64>(),
        address in prop_oneof![Just(BASE), any::<u64>()],
        index in 0usize..100,
    ) {
        let snippet = Snippet::new(&code).function(7..19, "malloc").function(40..41, "free");
        let function = table::functions().nth(index).unwrap();
        for size in [0, 16, size] {
            let _ = place(&snippet, function, address, size);
        }
        let _ = returns::instructions(&snippet, BASE, BASE + code.len() as u64);
        let _ = delegate::delegates(&snippet, function, address);
    }
}
