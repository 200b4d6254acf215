//! Separate debug files: found, checked, refused.

use std::io::Write as _;

use super::*;

/// The program split in two: `stripped`, and `debug` with everything else.
fn split(program: &Program) -> (PathBuf, PathBuf) {
    let (stripped, debug) = (program.file("stripped"), program.file("program.debug"));
    run("objcopy", &["--only-keep-debug", text(&program.path), text(&debug)]);
    run("objcopy", &["--strip-all", text(&program.path), text(&stripped)]);
    (stripped, debug)
}

fn link(stripped: &Path, debug: &Path) {
    run("objcopy", &[&format!("--add-gnu-debuglink={}", text(debug)), text(stripped)]);
}

fn build_id(path: &Path) -> Vec<u8> {
    ElfFile::open(path).expect("an ELF file").build_id().expect("a build ID").to_vec()
}

/// Puts `debug` where the build ID of `binary` says, below `root`.
fn install_by_id(root: &Path, binary: &Path, debug: &Path) -> PathBuf {
    let id = build_id(binary);
    let rest: String = id[1..].iter().map(|byte| format!("{byte:02x}")).collect();
    let dir = root.join(format!("usr/lib/debug/.build-id/{:02x}", id[0]));
    fs::create_dir_all(&dir).expect("directories");
    let path = dir.join(format!("{rest}.debug"));
    fs::copy(debug, &path).expect("the debug file is copied");
    path
}

#[track_caller]
fn refusals(file: &CodeFile) -> Vec<String> {
    file.locate_debug().refused().iter().map(|refused| refused.why.to_string()).collect()
}

#[test]
fn a_stripped_file_says_why() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    let (stripped, _) = split(&program);
    let mut symbolizer = Symbolizer::new();
    let file = code_file(&stripped, None);
    let resolved = symbolizer.resolve(&file, call.returns_to, false);
    assert_eq!(*resolved, Resolved::unknown(NoSymbol::Stripped));
    assert_eq!(NoSymbol::Stripped.to_string(), "no symbols");
    assert_eq!(*symbolizer.resolve(&file, 0, true), Resolved::unknown(NoSymbol::Unmapped));
    assert_eq!(*symbolizer.resolve(&file, u64::MAX, false), Resolved::unknown(NoSymbol::Unmapped));
}

#[test]
fn exported_names_survive_stripping() {
    let program = Program::c(&["-rdynamic"]);
    let (outer, hidden) = (program.call_in("outer"), program.call_in("hidden"));
    let (stripped, _) = split(&program);
    let file = code_file(&stripped, None);
    let mut symbolizer = Symbolizer::new();
    check_outer_by_symbol(&symbolizer.resolve(&file, outer.returns_to, false), &outer);
    // The static function is not given the name of the exported one before it.
    let resolved = symbolizer.resolve(&file, hidden.returns_to, false);
    assert_eq!(*resolved, Resolved::unknown(NoSymbol::Stripped));
}

#[test]
fn mini_debug_info() {
    let program = Program::c(&[]);
    let call = program.call_in("hidden");
    let (stripped, debug) = split(&program);
    let mini = program.file("mini");
    run("objcopy", &["--strip-debug", text(&debug), text(&mini)]);
    run("xz", &["--keep", text(&mini)]);
    let section = format!(".gnu_debugdata={}.xz", text(&mini));
    run("objcopy", &["--add-section", &section, text(&stripped)]);
    let resolved = Symbolizer::new().resolve(&code_file(&stripped, None), call.returns_to, false);
    assert_eq!(names(&resolved), ["hidden"]);
    assert_eq!(resolved.frames[0].offset_in_function, Some(call.returns_to - call.function));
}

#[test]
fn debug_link_beside_the_file() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    let (stripped, debug) = split(&program);
    link(&stripped, &debug);
    let file = code_file(&stripped, None);
    assert_eq!(file.locate_debug().path(), Some(debug.as_path()));
    // Both are held open.
    fs::remove_file(&debug).expect("the debug file is removed");
    fs::remove_file(&stripped).expect("the program is removed");
    check_outer(&Symbolizer::new().resolve(&file, call.returns_to, false), &call);
}

#[test]
fn debug_link_in_the_debug_directory_of_the_root() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    let (stripped, debug) = split(&program);
    link(&stripped, &debug);
    let root = program.file("root");
    let (bin, dir) = (root.join("opt/bin"), root.join("usr/lib/debug/opt/bin"));
    fs::create_dir_all(&bin).expect("directories");
    fs::create_dir_all(&dir).expect("directories");
    fs::rename(&debug, dir.join("program.debug")).expect("installed");
    fs::rename(&stripped, bin.join("program")).expect("installed");
    let file = code_file(&bin.join("program"), Some(&root));
    assert_eq!(file.locate_debug().path(), Some(Path::new("/usr/lib/debug/opt/bin/program.debug")));
    fs::remove_dir_all(&root).expect("the container goes away");
    check_outer(&Symbolizer::new().resolve(&file, call.returns_to, false), &call);
}

#[test]
fn a_wrong_checksum_is_refused() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    let (stripped, debug) = split(&program);
    link(&stripped, &debug);
    let mut file = fs::OpenOptions::new().append(true).open(&debug).expect("opens");
    file.write_all(b"\0").expect("appends");
    let file = code_file(&stripped, None);
    assert_eq!(refusals(&file), ["checksum is not the one in the debug link"]);
    let resolved = Symbolizer::new().resolve(&file, call.returns_to, false);
    assert_eq!(*resolved, Resolved::unknown(NoSymbol::Stripped));
}

#[test]
fn build_id_in_the_root_of_the_target() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    let (stripped, debug) = split(&program);
    let root = program.file("root");
    install_by_id(&root, &stripped, &debug);
    let file = code_file(&stripped, Some(&root));
    assert!(file.locate_debug().path().is_some_and(|p| p.starts_with("/usr/lib/debug/.build-id")));
    fs::remove_dir_all(&root).expect("the container goes away");
    check_outer(&Symbolizer::new().resolve(&file, call.returns_to, false), &call);
}

#[test]
fn another_build_is_refused() {
    let program = Program::c(&[]);
    let other = Program::c(&["-DOTHER", "-O1"]);
    let (stripped, _) = split(&program);
    let (_, other_debug) = split(&other);
    let root = program.file("root");
    install_by_id(&root, &stripped, &other_debug);
    assert_eq!(refusals(&code_file(&stripped, Some(&root))), ["belongs to another build"]);
    // By debug link too, although the checksum fits.
    fs::copy(&other_debug, program.file("program.debug")).expect("copied");
    link(&stripped, &program.file("program.debug"));
    let file = code_file(&stripped, None);
    assert_eq!(refusals(&file), ["belongs to another build"]);
    assert_eq!(file.locate_debug().path(), None);
}

#[test]
fn links_and_devices_in_the_root_are_harmless() {
    let program = Program::c(&[]);
    let (stripped, debug) = split(&program);
    let root = program.file("root");
    let place = install_by_id(&root, &stripped, &debug);
    for target in [text(&debug), "/dev/zero", "/proc/self/exe", "../../../../../../../../../../etc/passwd"] {
        fs::remove_file(&place).expect("replaced");
        std::os::unix::fs::symlink(target, &place).expect("a link");
        let file = code_file(&stripped, Some(&root));
        assert_eq!(file.locate_debug().path(), None, "{target} is outside the root");
    }
    // A link inside works, seen from that root.
    fs::create_dir_all(root.join("store")).expect("a directory");
    fs::copy(&debug, root.join("store/d")).expect("copied");
    fs::remove_file(&place).expect("replaced");
    std::os::unix::fs::symlink("/store/d", &place).expect("a link");
    assert!(code_file(&stripped, Some(&root)).locate_debug().path().is_some());
    // Opening a FIFO would wait for its writer.
    fs::remove_file(&place).expect("replaced");
    run("mkfifo", &[text(&place)]);
    assert_eq!(code_file(&stripped, Some(&root)).locate_debug().path(), None);
}

#[test]
fn supplementary_file_of_dwz() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    let supplement = Program::c(&["-O1", "-DSUPPLEMENT"]);
    let mut section = b"common.debug\0".to_vec();
    section.extend(build_id(&supplement.path));
    let content = program.file("altlink");
    fs::write(&content, &section).expect("written");
    let argument = format!(".gnu_debugaltlink={}", text(&content));
    run("objcopy", &["--add-section", &argument, text(&program.path)]);

    // Missing, the debug info that does not need it is still there.
    let file = code_file(&program.path, None);
    assert!(file.locate_debug().supplement.is_none());
    check_outer(&Symbolizer::new().resolve(&file, call.returns_to, false), &call);

    let place = program.file("common.debug");
    fs::copy(&supplement.path, &place).expect("copied");
    let file = code_file(&program.path, None);
    assert!(file.locate_debug().supplement.is_some());
    check_outer(&Symbolizer::new().resolve(&file, call.returns_to, false), &call);

    fs::copy(&program.path, &place).expect("copied");
    let file = code_file(&program.path, None);
    assert_eq!(refusals(&file), ["belongs to another build"]);
}
