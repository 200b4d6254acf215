//! Counts the rules that do not fit into a row, on the largest files at hand. `cargo test -p leakscope --lib
//! unwind::tests::largest -- --ignored --nocapture` prints the table.

use std::path::{Path, PathBuf};

use crate::process::ElfFile;
use crate::unwind::build;

/// Folders with programs and libraries; those of the toolchain too.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["/usr", "/opt"].map(PathBuf::from).into();
    folders.extend(std::env::home_dir().map(|home| home.join(".rustup")));
    folders
}

fn collect(folder: &Path, found: &mut Vec<(u64, PathBuf)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            collect(&entry.path(), found);
        } else if kind.is_file() {
            let size = entry.metadata().map_or(0, |m| m.len());
            if size > 1 << 20 {
                found.push((size, entry.path()));
            }
        }
    }
}

/// The twenty files with the most rows.
#[test]
#[ignore = "reads every large file of the machine"]
fn rules_of_the_largest_files() {
    let mut files = Vec::new();
    folders().iter().for_each(|folder| collect(folder, &mut files));
    files.sort_unstable_by(|a, b| b.cmp(a));
    files.dedup_by_key(|(size, path)| (*size, path.file_name().map(ToOwned::to_owned)));
    let mut counted = Vec::new();
    for (size, path) in files.iter().take(400) {
        let Ok(rows) = ElfFile::open(path).map_err(drop).and_then(|elf| build(&elf, None).map_err(drop))
        else {
            continue;
        };
        counted.push((rows.rows().len(), rows.stats(), rows.wide().len(), *size, path));
    }
    counted.sort_unstable_by_key(|&(rows, ..)| std::cmp::Reverse(rows));
    counted.truncate(20);
    println!("{:>9} {:>6} {:>6} {:>11}  file", "rows", "wide", "rules", "unsupported");
    for (rows, stats, wide, _, path) in &counted {
        println!("{rows:>9} {:>6} {wide:>6} {:>11}  {}", stats.wide, stats.unsupported, path.display());
    }
    assert!(counted.len() > 5, "hardly any file was read");
    for (_, stats, _, _, path) in &counted {
        assert_eq!(stats.unsupported, 0, "{}", path.display());
    }
}
