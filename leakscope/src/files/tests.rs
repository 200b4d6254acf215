//! Nothing else of leakscope opens or makes a file whose name others may choose.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What looks a path up.
const CALLS: [&str; 20] = [
    "File::open(",
    "File::create",
    "OpenOptions",
    "fs::open",
    "fs::read(",
    "fs::read_to_string(",
    "fs::read_dir(",
    "fs::read_link(",
    "fs::write(",
    "fs::rename(",
    "fs::copy(",
    "fs::remove_",
    "fs::create_dir",
    "fs::hard_link",
    "fs::set_permissions",
    "metadata(path",
    "fs::metadata(",
    "fs::canonicalize(",
    ".exists()",
    "tempfile",
];

/// `..` is refused.
const CGROUP: &str = "the kernel: control groups";

/// Lines with such a call and no literal path, and who chooses that path.
const REVIEWED: [(&str, &str, &str); 20] = [
    ("processes/find.rs", "fs::read_dir(proc)", "the kernel: /proc"),
    ("processes/find.rs", "fs::read(directory.join(\"stat\"))", "the kernel: /proc/PID"),
    ("processes/find.rs", "fs::read(directory.join(\"cmdline\"))", "the kernel: /proc/PID"),
    ("processes/find.rs", "fs::read_to_string(directory.join(\"cgroup\"))", "the kernel: /proc/PID"),
    ("processes/find.rs", "fs::read_link(directory.join(\"exe\"))", "the kernel: the text only"),
    ("processes/pool.rs", "fs::read_to_string(group.join(\"memory.stat\"))", CGROUP),
    ("processes/pool.rs", "fs::read_to_string(group.join(file))", CGROUP),
    ("processes/runtime.rs", "fs::read(directory.join(\"maps\"))", "the kernel: /proc/PID"),
    ("processes/runtime.rs", "fs::read_link(directory.join(\"exe\"))", "the kernel: the text only"),
    ("processes/sampler.rs", "File::open(path)", "the kernel: /proc/PID"),
    ("processes/sampler.rs", "fs::metadata(&directory)", "the kernel: /proc/PID"),
    ("processes/sampler.rs", "fs::read_dir(&self.proc)", "the kernel: /proc"),
    ("processes/sampler.rs", "fs::read_to_string(directory.join(\"cgroup\"))", "the kernel: /proc/PID"),
    ("processes/sampler.rs", "fs::read_to_string(self.proc.join(\"meminfo\"))", "the kernel: /proc"),
    ("processes/threads.rs", "fs::read(directory.join(\"stat\"))", "the kernel: /proc/PID/task"),
    ("processes/threads.rs", "fs::read_dir(task)", "the kernel: /proc/PID/task"),
    ("processes/threads.rs", "fs::read_to_string(directory.join(\"syscall\"))", "the kernel: /proc/PID/task"),
    ("process/elf.rs", "Self::from_file(File::open(path)?)", "tests: it is not in the program"),
    ("process/space.rs", "fs::metadata(&probe_path)", "the kernel: /proc/PID/map_files"),
    ("tui/terminal.rs", "File::open(\"/dev/tty\")", "root: /dev"),
];

#[test]
fn no_other_module_looks_paths_up() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for path in files(&sources) {
        let name = path.strip_prefix(&sources).expect("below it").display().to_string();
        let text = fs::read_to_string(&path).expect("a source");
        // Tests are the last part of a file.
        let code = text.split("mod tests {").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            if !CALLS.iter().any(|call| line.contains(call)) || kernels(line) {
                continue;
            }
            match REVIEWED.iter().position(|(file, call, _)| *file == name && line.contains(call)) {
                Some(found) => drop(seen.insert(found)),
                None => wrong.push(format!("{name}: {}", line.trim())),
            }
        }
    }
    assert!(wrong.is_empty(), "not through crate::files:\n{}", wrong.join("\n"));
    let gone: Vec<_> = (0..REVIEWED.len()).filter(|at| !seen.contains(at)).map(|at| REVIEWED[at]).collect();
    assert!(gone.is_empty(), "no longer there: {gone:?}");
}

/// Whether the line names a path of the kernel's.
fn kernels(line: &str) -> bool {
    ["\"/proc/", "\"/proc\"", "\"/sys/"].iter().any(|path| line.contains(path))
}

/// Sources but this module's and those of tests.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if matches!(&*name, "files" | "tests" | "synthetic") || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
