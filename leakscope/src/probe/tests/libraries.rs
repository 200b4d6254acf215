//! The plan for real files.

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use crate::probe::{Allocator, CostClass, Exit, Plan, PlannedProbe, SkipReason, allocators, plan};
use crate::process::ElfFile;

const DIRECTORIES: &[&str] =
    &["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// Says why a test is skipped; where the machine claims to have everything, fails.
fn missing(what: &str) {
    assert!(std::env::var_os("LEAKSCOPE_TESTS_COMPLETE").is_none_or(|v| v != "1"), "{what} is missing");
    eprintln!("skipped: {what} is not installed");
}

fn library(name: &str) -> Option<PathBuf> {
    let found = DIRECTORIES.iter().map(|d| Path::new(d).join(name)).find(|path| path.exists());
    if found.is_none() {
        missing(name);
    }
    found
}

fn planned(path: &Path) -> Plan {
    plan(&ElfFile::open(path).unwrap()).unwrap()
}

fn library_plan(name: &str) -> Option<Plan> {
    library(name).map(|path| planned(&path))
}

fn probe<'a>(plan: &'a Plan, name: &str) -> &'a PlannedProbe {
    plan.probes.iter().find(|p| p.names.contains(&name)).unwrap_or_else(|| panic!("no {name} in {plan:?}"))
}

fn skip_reason<'a>(plan: &'a Plan, name: &str) -> &'a SkipReason {
    &plan
        .skipped
        .iter()
        .find(|s| s.names.contains(&name))
        .unwrap_or_else(|| panic!("{name} not skipped"))
        .reason
}

fn assert_emulated(plan: &Plan, names: &[&str]) {
    for name in names {
        let probe = probe(plan, name);
        assert_eq!(probe.placement.cost, CostClass::Emulated, "{probe:?}");
    }
}

/// What must hold for any plan.
fn assert_sound(plan: &Plan) {
    for (index, probe) in plan.probes.iter().enumerate() {
        assert!(probe.group <= index);
        assert_eq!(probe.names[0], probe.name());
        assert_eq!(probe.placement.entry, probe.offset + probe.placement.distance);
        assert_eq!(probe.placement.exit == Exit::None, !probe.function.needs_return());
        assert_eq!(
            matches!(probe.placement.exit, Exit::Instructions { .. }),
            probe.function.may_throw && probe.function.needs_return()
        );
    }
    let mut offsets: Vec<_> = plan.probes.iter().map(|p| p.placement.entry).collect();
    offsets.dedup();
    assert_eq!(offsets.len(), plan.probes.len());
}

#[test]
fn glibc_is_emulated_throughout() {
    let Some(plan) = library_plan("libc.so.6") else { return };
    assert_sound(&plan);
    assert_eq!(allocators(&plan.probes).into_iter().collect::<Vec<_>>(), [Allocator::Glibc]);
    assert_emulated(&plan, &["malloc", "free", "calloc", "realloc", "memalign", "posix_memalign", "valloc"]);
    assert!(probe(&plan, "malloc").names.contains(&"__libc_malloc"));
    assert_eq!(*skip_reason(&plan, "reallocarray"), SkipReason::Delegates(vec!["realloc".into()]));
}

#[test]
fn jemalloc_operators_have_their_own_returns() {
    let Some(plan) = library_plan("libjemalloc.so.2") else { return };
    assert_sound(&plan);
    assert_eq!(allocators(&plan.probes).into_iter().collect::<Vec<_>>(), [Allocator::Jemalloc]);
    assert_emulated(
        &plan,
        &["malloc", "free", "calloc", "realloc", "mallocx", "rallocx", "xallocx", "sdallocx"],
    );
    let Exit::Instructions { offsets, complete } = &probe(&plan, "_Znwm").placement.exit else { panic!() };
    assert!(!offsets.is_empty());
    assert_eq!(*complete, Ok(()));
    assert!(matches!(skip_reason(&plan, "_ZdlPv"), SkipReason::Delegates(to) if to == &["free"]));
}

#[test]
fn tcmalloc_aliases_are_probed_once() {
    let Some(plan) = library_plan("libtcmalloc_minimal.so.4") else { return };
    assert_sound(&plan);
    assert_eq!(allocators(&plan.probes).into_iter().collect::<Vec<_>>(), [Allocator::Tcmalloc]);
    assert_emulated(&plan, &["malloc", "free", "calloc", "realloc", "_Znwm", "_ZdlPvm"]);
    assert!(probe(&plan, "free").names.contains(&"_ZdlPv"));
    let (new, nothrow) = (probe(&plan, "_Znwm"), probe(&plan, "_ZnwmSt11align_val_t"));
    assert_eq!(new.group, nothrow.group, "they end in the same function");
    assert!(new.warnings.iter().any(|w| w.contains("may throw")));
}

#[test]
fn mimalloc_wrappers_pass_on() {
    let Some(plan) = library_plan("libmimalloc.so.2") else { return };
    assert_sound(&plan);
    assert_eq!(allocators(&plan.probes).into_iter().collect::<Vec<_>>(), [Allocator::Mimalloc]);
    assert_emulated(&plan, &["malloc", "free", "calloc", "mi_heap_realloc", "_Znwm"]);
    assert!(matches!(skip_reason(&plan, "realloc"), SkipReason::Delegates(_)));
    assert!(matches!(skip_reason(&plan, "_ZdlPvm"), SkipReason::Delegates(_)));
}

#[test]
fn libstdcxx_operators_are_left_to_malloc() {
    let Some(plan) = library_plan("libstdc++.so.6") else { return };
    assert_eq!(plan.probes, []);
    assert_eq!(*skip_reason(&plan, "_Znwm"), SkipReason::NoAllocator);
}

#[test]
fn a_library_without_an_allocator_has_no_plan() {
    let Some(plan) = library_plan("libm.so.6") else { return };
    assert_eq!(plan, Plan::default());
}

/// Builds a static program; `None` if the compiler or its static libraries are missing.
fn build(compiler: &str, extension: &str, source: &str) -> Option<Plan> {
    build_with(compiler, &["-static"], extension, source)
}

fn build_with(compiler: &str, options: &[&str], extension: &str, source: &str) -> Option<Plan> {
    let directory = tempfile::tempdir().unwrap();
    let (program, file) = (directory.path().join("program"), directory.path().join(format!("a.{extension}")));
    std::fs::write(&file, source).unwrap();
    let built = Command::new(compiler).args(options).arg("-O2").arg(&file).arg("-o").arg(&program).output();
    if !built.is_ok_and(|output| output.status.success()) {
        missing(&format!("{compiler} {}", options.join(" ")));
        return None;
    }
    Some(planned(&program))
}

#[test]
fn static_cxx_operators_are_left_to_glibc() {
    let source = "#include <new>\n#include <cstdlib>\nstruct alignas(64) A { char c[64]; };\n\
        A *volatile a; int *volatile i; void *volatile p;\n\
        int main() { a = new A; i = new (std::nothrow) int[3]; p = malloc(3); delete a; delete[] i; free(p); }";
    let Some(plan) = build("c++", "cc", source) else { return };
    assert_sound(&plan);
    assert_eq!(allocators(&plan.probes).into_iter().collect::<Vec<_>>(), [Allocator::Glibc]);
    assert_emulated(&plan, &["malloc", "free", "calloc", "realloc"]);
    for name in ["_Znwm", "_ZdlPv", "_ZnwmSt11align_val_t", "_ZdlPvSt11align_val_t"] {
        assert!(matches!(skip_reason(&plan, name), SkipReason::Delegates(_)), "{name}");
    }
}

#[test]
fn static_musl_is_recognised() {
    let source =
        "#include <stdlib.h>\nvoid *volatile p;\nint main(void) { p = malloc(3); free(p); return 0; }";
    let Some(plan) = build("musl-gcc", "c", source) else { return };
    assert_sound(&plan);
    assert_eq!(allocators(&plan.probes).into_iter().collect::<Vec<_>>(), [Allocator::Musl]);
    assert_emulated(&plan, &["malloc", "__libc_free"]);
}

#[test]
fn an_indirect_function_is_not_relied_on() {
    let source = "typedef unsigned long size_t;\nstatic char block[64];\n\
        static void *real(size_t n) { return n > 64 ? 0 : block; }\n\
        static void *(*pick(void))(size_t) { return real; }\n\
        void *malloc(size_t) __attribute__((ifunc(\"pick\")));\n\
        __attribute__((noinline)) void *valloc(size_t n) { return malloc(n); }\n\
        int main(int argc, char **argv) { return valloc(argc) == 0; }";
    let Some(plan) = build_with("cc", &["-fno-builtin", "-rdynamic"], "c", source) else { return };
    assert_eq!(*skip_reason(&plan, "malloc"), SkipReason::Indirect);
    probe(&plan, "valloc");
}

#[test]
fn a_private_function_called_free_is_left_alone() {
    let source = "static __attribute__((noinline)) int free(int x) { __asm__ volatile(\"\"); return x * 3; }\n\
        int main(int argc, char **argv) { return free(argc); }";
    let Some(plan) = build_with("cc", &["-fno-builtin"], "c", source) else { return };
    assert_eq!(plan.probes, []);
    assert_eq!(*skip_reason(&plan, "free"), SkipReason::Private);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// A damaged file gives an error or some plan, never a panic.
    #[test]
    fn damaged_files_never_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..40),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let Some(path) = library("libmimalloc.so.2") else { return Ok(()) };
        let mut bytes = std::fs::read(path).unwrap();
        for (index, value, near_start) in damage {
            // The headers and symbol tables are near the start.
            let end = if near_start { 20_000.min(bytes.len()) } else { bytes.len() };
            bytes[index.index(end)] = value;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        if let Ok(elf) = ElfFile::open(file.path()) {
            let _ = plan(&elf);
        }
    }
}
