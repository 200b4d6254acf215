//! Which language's runtime a process is.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::process::ElfFile;
use crate::runtime::go::buildinfo;

/// A language's runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Compiled code without one that is known.
    Native,
    /// A Go program.
    Go,
    /// A Java VM.
    Java,
    /// CPython.
    Python,
    /// Node.
    Node,
}

impl Runtime {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Go => "go",
            Self::Java => "java",
            Self::Python => "python",
            Self::Node => "node",
        }
    }
}

/// Programs by the name of their file: the start, of which nothing or a version follows.
const PROGRAMS: [(&str, Runtime); 5] = [
    ("java", Runtime::Java),
    ("python", Runtime::Python),
    ("pypy", Runtime::Python),
    ("node", Runtime::Node),
    ("nodejs", Runtime::Node),
];

/// Libraries that a runtime is, in programs that embed it.
const LIBRARIES: [(&str, Runtime); 3] =
    [("/libjvm.so", Runtime::Java), ("/libpython", Runtime::Python), ("/libnode.so", Runtime::Node)];

/// Files whose verdicts are kept.
const MOST_FILES: usize = 4096;

/// The runtime that a program's file name tells: `python3.11`.
pub fn by_name(file: &str) -> Option<Runtime> {
    let version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '.');
    let mut fits = PROGRAMS.iter().filter(|(name, _)| file.strip_prefix(name).is_some_and(version));
    fits.next().map(|(_, runtime)| *runtime)
}

/// The runtime that is mapped as a library, by the text of `/proc/PID/maps`.
pub fn by_mappings(maps: &str) -> Option<Runtime> {
    maps.lines().find_map(|line| {
        let path = &line[line.find('/')?..];
        LIBRARIES.iter().find(|(name, _)| path.contains(name)).map(|(_, runtime)| *runtime)
    })
}

/// Tells runtimes, and remembers what the files are.
#[derive(Debug, Default)]
pub(super) struct Detector {
    go: HashMap<(u64, u64, i64), bool>,
}

impl Detector {
    /// The runtime of the process below `directory`; `None` where it may not be read.
    pub(super) fn detect(&mut self, directory: &Path) -> Option<Runtime> {
        let link = std::fs::read_link(directory.join("exe")).ok()?;
        let name = link.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
        if let Some(runtime) = by_name(name) {
            return Some(runtime);
        }
        if self.is_go(&directory.join("exe")) {
            return Some(Runtime::Go);
        }
        let maps = std::fs::read(directory.join("maps")).ok()?;
        Some(by_mappings(&String::from_utf8_lossy(&maps)).unwrap_or(Runtime::Native))
    }

    fn is_go(&mut self, exe: &Path) -> bool {
        let Ok(file) = crate::files::linked(exe) else { return false };
        let Ok(metadata) = file.metadata() else { return false };
        let id = (metadata.dev(), metadata.ino(), metadata.mtime());
        if let Some(known) = self.go.get(&id) {
            return *known;
        }
        // Where there are no section headers the search would read the whole file: once a file.
        let found = ElfFile::from_file(file).is_ok_and(|elf| buildinfo::find(&elf).is_some());
        if self.go.len() >= MOST_FILES {
            self.go.clear();
        }
        self.go.insert(id, found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let told = ["java", "python3.11", "python", "node", "nodejs", "node18"].map(by_name);
        assert_eq!(
            told,
            [
                Some(Runtime::Java),
                Some(Runtime::Python),
                Some(Runtime::Python),
                Some(Runtime::Node),
                Some(Runtime::Node),
                Some(Runtime::Node)
            ]
        );
        for other in ["javac", "nodemon", "redis-server", "", "pythonista"] {
            assert_eq!(by_name(other), None, "{other}");
        }
    }

    #[test]
    fn mappings() {
        let line = |path: &str| format!("7f00-7f01 r-xp 00000000 08:01 123    {path}\n");
        let maps = line("/usr/lib/libc.so.6") + &line("/usr/lib/jvm/java-17/lib/server/libjvm.so");
        assert_eq!(by_mappings(&maps), Some(Runtime::Java));
        assert_eq!(by_mappings(&line("/usr/lib/libpython3.11.so.1.0")), Some(Runtime::Python));
        assert_eq!(by_mappings(&line("/usr/lib/libc.so.6")), None);
        assert_eq!(by_mappings("7f00-7f01 rw-p 00000000 00:00 0\n"), None);
    }

    #[test]
    fn this_program_is_native() {
        let runtime = Detector::default().detect(Path::new("/proc/self"));
        assert_eq!(runtime, Some(Runtime::Native));
    }
}
