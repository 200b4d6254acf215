//! Names, inlined functions and lines from the file itself.

use super::*;

#[test]
fn inlined_functions_have_their_own_lines() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    let mut symbolizer = Symbolizer::new();
    check_outer(&symbolizer.resolve(&code_file(&program.path, None), call.returns_to, false), &call);
    assert!(symbolizer.memory_bytes() > 0);
}

#[test]
fn old_dwarf() {
    let program = Program::c(&["-gdwarf-4"]);
    let call = program.call_in("outer");
    check_outer(&Symbolizer::new().resolve(&code_file(&program.path, None), call.returns_to, false), &call);
}

#[test]
fn compressed_sections() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    for format in ["zlib", "zlib-gnu", "zstd"] {
        let path = program.file(format);
        run("objcopy", &[&format!("--compress-debug-sections={format}"), text(&program.path), text(&path)]);
        let resolved = Symbolizer::new().resolve(&code_file(&path, None), call.returns_to, false);
        assert_eq!(names(&resolved), ["inner", "middle", "outer"], "{format}");
        check_outer(&resolved, &call);
    }
}

#[test]
fn exact_addresses_are_not_return_addresses() {
    let program = Program::c(&[]);
    let call = program.call_in("hidden");
    let file = code_file(&program.path, None);
    let mut symbolizer = Symbolizer::new();
    let entry = symbolizer.resolve(&file, call.function, true);
    assert_eq!(names(&entry), ["hidden"]);
    assert_eq!(entry.frames[0].offset_in_function, Some(0));
    let before = symbolizer.resolve(&file, call.function, false);
    assert_ne!(names(&before), ["hidden"]);
}

#[test]
fn symbols_without_debug_info() {
    let program = Program::c(&["-g0"]);
    let call = program.call_in("outer");
    let resolved = Symbolizer::new().resolve(&code_file(&program.path, None), call.returns_to, false);
    check_outer_by_symbol(&resolved, &call);
}

#[test]
fn cpp_names() {
    let source = "#include <vector>
namespace app {
template <typename T> __attribute__((noinline)) T grow(std::vector<T> &v, T x) {
    v.push_back(x);
    return v.back();
}
}
int main(int argc, char **) {
    std::vector<int> v;
    return app::grow(v, argc);
}
";
    for debug in ["-g", "-g0"] {
        let program = Program::compile("g++", "prog.cc", source, &["-O2", debug]);
        let call = program.call_in("app::grow");
        let resolved = Symbolizer::new().resolve(&code_file(&program.path, None), call.returns_to, false);
        let outermost = names(&resolved).last().copied().unwrap_or_default();
        assert!(outermost.starts_with("app::grow<int>(std::vector<int"), "{outermost}");
    }
}

/// Debug info calls all closures `operator()`, members of templates in headers by their last part, and
/// instances of templates in unnamed namespaces without these.
#[test]
fn names_that_debug_info_cuts() {
    let source = "#include <cstdlib>
#include <functional>
#include <utility>
namespace ns {
namespace {
template <typename T, int N> __attribute__((noinline)) void *leak() { return malloc(sizeof(T) * N); }
}
__attribute__((noinline)) void *pair() { char *p = (char *)leak<std::pair<char, double>, 7>(); return p + 1; }
}
struct Base { virtual ~Base() {} virtual void *run() = 0; };
template <typename F> struct State : Base {
    F f;
    State(F f) : f(f) {}
    void *run() override { char *p = (char *)f(); return p + 1; }
};
template <typename F> Base *make(F f) { return new State<F>(f); }
int main(int argc, char **) {
    Base *a = make([argc] { return malloc(argc); });
    Base *b = make([argc] { return malloc(argc + 1); });
    return a->run() == b->run() && ns::pair();
}
";
    for debug in ["-g", "-g1", "-g0"] {
        let program = Program::compile("g++", "prog.cc", source, &["-O1", debug]);
        let file = code_file(&program.path, None);
        let mut symbolizer = Symbolizer::new();
        let mut outermost = |name: &str| {
            let resolved = symbolizer.resolve(&file, program.call_in(name).returns_to, false);
            names(&resolved).last().copied().unwrap_or_default().to_owned()
        };
        let leak = outermost("leak<std::pair");
        assert!(leak.starts_with("ns::(anonymous namespace)::leak<"), "{debug}: {leak}");
        let closures = ["lambda()#1}>::run", "lambda()#2}>::run"].map(&mut outermost);
        assert!(closures.iter().all(|name| name.starts_with("State<main::")), "{debug}: {closures:?}");
        assert_ne!(closures[0], closures[1], "{debug}");
    }
}

#[test]
fn rust_names_and_blame() {
    let source = "mod store {
    #[inline(never)]
    pub fn put(n: usize) -> Vec<u64> {
        std::hint::black_box(Vec::with_capacity(n))
    }
}
fn main() {
    std::hint::black_box(store::put(std::env::args().count()));
}
";
    for mangling in ["-Csymbol-mangling-version=v0", "-Copt-level=1"] {
        let program = Program::compile("rustc", "prog.rs", source, &["-g", "-O", "--edition=2021", mangling]);
        let call = program.call_in("prog::store::put");
        let resolved = Symbolizer::new().resolve(&code_file(&program.path, None), call.returns_to, false);
        let input: Vec<BlameInput<'_>> = resolved
            .frames
            .iter()
            .map(|f| BlameInput {
                function: f.function.as_deref(),
                file: f.file.as_deref(),
                module: Some("program"),
                ..BlameInput::default()
            })
            .collect();
        let blamed =
            &resolved.frames[crate::runtime::rules().owners.blame(&input).expect("there are frames")];
        assert_eq!(blamed.function.as_deref(), Some("prog::store::put"), "{resolved:?}");
        assert_eq!(blamed.line, Some(4));
        assert!(resolved.frames.len() > 1, "the standard library is inlined: {resolved:?}");
    }
}

#[test]
fn line_tables_alone_tell_where_functions_begin() {
    let source = "mod store {
    #[inline(never)]
    pub fn put(
        n: usize,
    ) -> Vec<u64> {
        std::hint::black_box(Vec::with_capacity(n))
    }
}
fn main() {
    std::hint::black_box(store::put(std::env::args().count()));
}
";
    for (info, line) in [("-Cdebuginfo=2", 3), ("-Cdebuginfo=line-tables-only", 3), ("-Cdebuginfo=0", 0)] {
        let program = Program::compile("rustc", "prog.rs", source, &["-O", "--edition=2021", info]);
        let call = program.call_in("store::put");
        let resolved = Symbolizer::new().resolve(&code_file(&program.path, None), call.returns_to, false);
        let put = resolved.frames.last().expect("there are frames");
        assert!(put.function.as_deref().is_some_and(|name| name.ends_with("store::put")), "{resolved:?}");
        assert_eq!(put.function_line.unwrap_or(0), line, "{info}: {resolved:?}");
    }
}

/// A linker may make one of functions that are equal: then neither of their lines is told.
#[test]
fn functions_that_are_one_have_no_begin() {
    let source = "#include <stdlib.h>
namespace a {
__attribute__((noinline)) char *first(int n) { char *p = (char *)malloc(n); return p + 1; }
}

namespace b {
__attribute__((noinline)) char *second(int n) { char *p = (char *)malloc(n); return p + 1; }
}
char *(*volatile one)(int) = a::first;
char *(*volatile other)(int) = b::second;
int main(int argc, char **) { return one(argc) == other(argc); }
";
    for (fold, line) in [("--icf=none", Some(3)), ("--icf=all", None)] {
        let flags = ["-g", "-O2", "-ffunction-sections", "-fuse-ld=gold", &format!("-Wl,{fold}")];
        let program = Program::compile("g++", "prog.cc", source, &flags);
        let call = program.call_in("a::first");
        let resolved = Symbolizer::new().resolve(&code_file(&program.path, None), call.returns_to, false);
        assert_eq!(resolved.frames.last().expect("a frame").function_line, line, "{fold}: {resolved:?}");
    }
}

#[test]
fn answers_are_kept() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    let file = code_file(&program.path, None);
    let mut symbolizer = Symbolizer::new();
    let first = symbolizer.resolve(&file, call.returns_to, false);
    // Another view of the same file shares them.
    let again = symbolizer.resolve(&code_file(&program.path, None), call.returns_to, false);
    assert!(Rc::ptr_eq(&first, &again));
}

#[test]
fn a_deleted_file_symbolizes() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    let file = code_file(&program.path, None);
    fs::remove_file(&program.path).expect("the program is removed");
    check_outer(&Symbolizer::new().resolve(&file, call.returns_to, false), &call);
}

#[test]
fn an_upgraded_file_symbolizes_as_it_was() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    let old = code_file(&program.path, None);
    let mut symbolizer = Symbolizer::new();
    check_outer(&symbolizer.resolve(&old, call.returns_to, false), &call);
    fs::remove_file(&program.path).expect("the program is removed");
    let other = Program::compile("gcc", "other.c", "int outer; int main(void) { return 7; }", &["-g"]);
    fs::rename(&other.path, &program.path).expect("a new version comes");
    let new = code_file(&program.path, None);
    drop(old);
    assert!(!names(&symbolizer.resolve(&new, call.returns_to, false)).contains(&"inner"));
    let main = other_main(&program.path);
    assert_eq!(names(&symbolizer.resolve(&new, main, true)), ["main"]);
}

fn other_main(path: &Path) -> u64 {
    let data = fs::read(path).expect("it is there");
    let parsed = object::File::parse(&*data).expect("an ELF file");
    parsed.symbol_by_name("main").expect("main").address()
}

#[test]
fn file_numbers_are_not_mistaken() {
    // Files come and go, so that their numbers, and those of their images, are used again.
    let mut symbolizer = Symbolizer::new();
    for round in 0..6 {
        let name = format!("function_{round}");
        let source = format!("int {name}(void) {{ return {round}; }} int main(void) {{ return {name}(); }}");
        let program = Program::compile("gcc", "prog.c", &source, &["-g", "-O0"]);
        let call = program.call_in("main");
        let file = code_file(&program.path, None);
        assert_eq!(names(&symbolizer.resolve(&file, call.returns_to, false)), ["main"]);
        let entry = {
            let data = fs::read(&program.path).expect("it is there");
            object::File::parse(&*data).expect("an ELF file").symbol_by_name(&name).expect("it").address()
        };
        assert_eq!(names(&symbolizer.resolve(&file, entry, true)), [name.as_str()]);
    }
}
