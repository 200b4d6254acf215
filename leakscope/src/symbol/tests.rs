//! Programs are compiled here, so that every kind of symbol and debug info is known to be there.

mod debug_files;
mod hostile;
mod lines;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use object::{Object as _, ObjectSymbol as _};
use tempfile::TempDir;

use super::*;
use crate::files::TargetFiles;
use crate::process::{ElfFile, FileId};

/// `inner` and `middle` are inlined into `outer`, which is the only one that calls.
const C_SOURCE: &str = r"#include <stdlib.h>
static inline __attribute__((always_inline)) char *inner(int n) {
    return malloc(n);
}
static inline __attribute__((always_inline)) char *middle(int n) {
    return inner(n + 1);
}
__attribute__((noinline)) int outer(int n) {
    char *p = middle(n);
    p[0] = 1;
    return p[n];
}
static __attribute__((noinline)) int hidden(int n) {
    return outer(n) * 3;
}
int main(int argc, char **argv) {
    return hidden(argc) + 1;
}
";

/// A directory with a program in it.
struct Program {
    dir: TempDir,
    path: PathBuf,
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("the tool is installed");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths in tests are text")
}

impl Program {
    fn compile(compiler: &str, name: &str, source: &str, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let source_path = dir.path().join(name);
        let path = dir.path().join("program");
        fs::write(&source_path, source).expect("the source is written");
        run(compiler, &[flags, &["-o", text(&path), text(&source_path)]].concat());
        Self { dir, path }
    }

    /// The C program, with debug info and frame-free code.
    fn c(flags: &[&str]) -> Self {
        Self::compile("gcc", "prog.c", C_SOURCE, &[&["-g", "-O2", "-Wl,--build-id"], flags].concat())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where `name` is and where its first call returns to, read from the unstripped program.
    fn call_in(&self, name: &str) -> Call {
        let data = fs::read(&self.path).expect("the program is there");
        let parsed = object::File::parse(&*data).expect("the program is an ELF file");
        let function = parsed
            .symbols()
            .find(|symbol| symbol.is_definition() && symbol.name().is_ok_and(|n| demangle(n).contains(name)))
            .expect("the function is there")
            .address();
        let elf = ElfFile::open(&self.path).expect("an ELF file");
        let offset = elf.offset_of_address(function).expect("code") as usize;
        let decoder = iced_x86::Decoder::with_ip(64, &data[offset..], function, 0);
        let call =
            decoder.into_iter().find(|i| i.is_call_near() || i.is_call_near_indirect()).expect("a call");
        Call { function, returns_to: call.next_ip() }
    }
}

/// Addresses in a program.
struct Call {
    function: u64,
    returns_to: u64,
}

fn code_file(path: &Path, root: Option<&Path>) -> CodeFile {
    use std::os::unix::fs::MetadataExt as _;
    let elf = ElfFile::open(path).expect("an ELF file");
    let metadata = elf.file().metadata().expect("it is open");
    let id = FileId { device: metadata.dev(), inode: metadata.ino() };
    let named = root.and_then(|root| path.strip_prefix(root).ok()).map(|p| Path::new("/").join(p));
    let named = named.unwrap_or_else(|| path.to_owned());
    CodeFile::new(shared(elf), named, id, search(root.unwrap_or(Path::new("/"))))
}

/// Looks for debug files below `root`.
fn search(root: &Path) -> Rc<DebugSearch> {
    Rc::new(DebugSearch::new(Some(TargetFiles::below(root))))
}

fn shared(elf: ElfFile) -> Rc<ElfFile> {
    Rc::new(elf)
}

fn names(resolved: &Resolved) -> Vec<&str> {
    resolved.frames.iter().map(|frame| frame.function.as_deref().unwrap_or("?")).collect()
}

fn lines_of(resolved: &Resolved) -> Vec<Option<u32>> {
    resolved.frames.iter().map(|frame| frame.line).collect()
}

/// What `outer`'s call must look like where debug info is found.
#[track_caller]
fn check_outer(resolved: &Resolved, call: &Call) {
    assert_eq!(names(resolved), ["inner", "middle", "outer"]);
    assert_eq!(lines_of(resolved), [Some(3), Some(6), Some(9)]);
    assert_eq!(
        resolved.frames.iter().map(|f| f.function_line).collect::<Vec<_>>(),
        [Some(2), Some(5), Some(8)]
    );
    assert_eq!(resolved.frames.iter().map(|f| f.inlined).collect::<Vec<_>>(), [true, true, false]);
    let outer = &resolved.frames[2];
    assert_eq!(outer.offset_in_function, Some(call.returns_to - call.function));
    assert!(outer.file.as_deref().is_some_and(|file| file.ends_with("/prog.c")), "{outer:?}");
    assert_eq!(outer.why_unknown, None);
}

/// What it must look like where only a symbol table is found.
#[track_caller]
fn check_outer_by_symbol(resolved: &Resolved, call: &Call) {
    assert_eq!(
        resolved.frames,
        [SymbolFrame {
            function: Some("outer".to_owned()),
            offset_in_function: Some(call.returns_to - call.function),
            ..SymbolFrame::default()
        }]
    );
}
