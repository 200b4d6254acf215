//! The sources of the library keep to the flow that the crate docs draw, and to a size that can be read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the lowest to the highest. One may use those before it, never those after it.
#[rustfmt::skip]
const FLOW: [&str; 28] = [
    "files", "interrupt", "zstandard", "human", "losses", "glossary", "layout", "process", "probe", "bpf",
    "stack", "unwind", "recording", "symbol", "peers", "wait", "collect", "runtime", "section", "report",
    "diff", "threshold", "export", "processes", "failure", "session", "tui", "cli",
];

/// Lines that a file has at most.
const LONGEST_FILE: usize = 500;

/// All sources below `directory`.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn below(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut found);
    assert!(!found.is_empty(), "no sources in {directory}");
    found
}

/// The modules of the crate that `code` names: `crate::NAME`, and the first names of `crate::{…}`.
fn imports(code: &str) -> Vec<String> {
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => outermost(list),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(name.len());
            found.push(name[..end].to_owned());
        }
    }
    found
}

/// The items of a list in braces, up to its end.
fn outermost(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                items.push(list[start..at].trim());
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    items
}

#[test]
fn imports_follow_the_flow() {
    let place = |name: &str| FLOW.iter().position(|module| *module == name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = BTreeMap::new();
    for path in below("src") {
        let inner = path.strip_prefix(&root).expect("below it").to_owned();
        let module = inner.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let module = module.trim_end_matches(".rs").to_owned();
        if ["lib", "main"].contains(&&*module)
            || inner.components().any(|c| c.as_os_str().to_string_lossy().contains("tests"))
        {
            continue;
        }
        let own = place(&module).unwrap_or_else(|| panic!("`{module}` has no place in the flow"));
        let text = fs::read_to_string(&path).expect("a source");
        // Tests are the last part of a file, and may look anywhere.
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for name in imports(code) {
            if name != module && place(&name).is_some_and(|other| other >= own) {
                wrong.insert(format!("{}", inner.display()), name);
            }
        }
    }
    assert!(wrong.is_empty(), "against the flow: {wrong:#?}");
}

#[test]
fn the_check_sees_an_import_against_the_flow() {
    assert_eq!(imports("use crate::report::Report;\nlet x = crate::human::bytes(1);"), ["report", "human"]);
    assert_eq!(imports("use crate::{files, wait::{self, Kind}, tui};"), ["files", "wait", "tui"]);
    assert_eq!(imports("// crate::session is not used"), [""; 0]);
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let folders =
        ["src", "../leakscope-common", "../leakscope-ebpf", "../xtask", "../tests/src", "../tests/suite"];
    let mut long = Vec::new();
    for path in folders.into_iter().flat_map(below) {
        let lines = fs::read_to_string(&path).expect("a source").lines().count();
        if lines > LONGEST_FILE {
            long.push(format!("{}: {lines}", path.display()));
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}
