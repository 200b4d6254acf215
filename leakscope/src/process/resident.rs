//! Where the resident memory of a process is, by its mappings (proc(5), `/proc/PID/smaps`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most bytes that are read: some 100,000 mappings.
const MOST: u64 = 128 << 20;

/// Resident memory of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resident {
    /// Of what kind the mappings are.
    pub kind: ResidentKind,
    /// How much of them is resident.
    pub rss_bytes: u64,
    /// How much is swapped out.
    pub swap_bytes: u64,
}

/// A kind of mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResidentKind {
    /// What brk gave.
    Brk,
    /// Mapped without a file: heaps, and stacks of threads.
    Anonymous,
    /// The stack of the main thread.
    Stack,
    /// Of files: code and data.
    File,
    /// Shared with other processes, or made to be.
    Shared,
    /// The kernel's.
    Other,
}

/// Resident memory by kind; `None` if it cannot be read.
pub fn resident(pid: u32) -> Option<Vec<Resident>> {
    let file = File::open(format!("/proc/{pid}/smaps")).ok()?;
    let parts = read(BufReader::new(file.take(MOST)));
    (!parts.is_empty()).then_some(parts)
}

fn read(text: impl BufRead) -> Vec<Resident> {
    let mut sums: BTreeMap<ResidentKind, Resident> = BTreeMap::new();
    let mut kind = ResidentKind::Other;
    for line in text.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let Some(field) = word.strip_suffix(':') else {
            kind = kind_of(rest);
            continue;
        };
        let kib = || rest.trim().strip_suffix("kB").and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0);
        let sum = sums.entry(kind).or_insert(Resident { kind, rss_bytes: 0, swap_bytes: 0 });
        match field {
            "Rss" => sum.rss_bytes = sum.rss_bytes.saturating_add(kib().saturating_mul(1024)),
            "Swap" => sum.swap_bytes = sum.swap_bytes.saturating_add(kib().saturating_mul(1024)),
            _ => {}
        }
    }
    sums.into_values().filter(|part| part.rss_bytes > 0 || part.swap_bytes > 0).collect()
}

/// The kind of a mapping by what follows its addresses: rights, offset, device, inode, name.
fn kind_of(rest: &str) -> ResidentKind {
    let rights = rest.split_whitespace().next().unwrap_or_default();
    let name = rest.split_whitespace().nth(4).unwrap_or_default();
    match name {
        _ if rights.ends_with('s') => ResidentKind::Shared,
        "[heap]" => ResidentKind::Brk,
        "[stack]" => ResidentKind::Stack,
        "" => ResidentKind::Anonymous,
        name if name.starts_with("[anon") => ResidentKind::Anonymous,
        name if name.starts_with('[') => ResidentKind::Other,
        _ => ResidentKind::File,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_by_kind() {
        let text = "\
00400000-00401000 r-xp 00000000 08:01 1 /bin/a program\nSize: 4 kB\nRss: 4 kB\nSwap: 0 kB\nVmFlags: rd ex\n\
01000000-01200000 rw-p 00000000 00:00 0 [heap]\nRss: 100 kB\nSwap: 8 kB\n\
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \nRss: 12 kB\n\
7f0000001000-7f0000002000 rw-s 00000000 00:01 9 /dev/shm/x\nRss: 20 kB\n\
7f0000002000-7f0000003000 rw-p 00000000 00:00 0 [anon:arena]\nRss: 1 kB\n\
7ffd00000000-7ffd00001000 rw-p 00000000 00:00 0 [stack]\nRss: 16 kB\nSwap: nonsense\n\
7ffd00002000-7ffd00003000 r-xp 00000000 00:00 0 [vdso]\nRss: 99999999999999999999 kB\n";
        let found = read(text.as_bytes());
        let told: Vec<_> =
            found.iter().map(|part| (part.kind, part.rss_bytes >> 10, part.swap_bytes >> 10)).collect();
        assert_eq!(
            told,
            [
                (ResidentKind::Brk, 100, 8),
                (ResidentKind::Anonymous, 13, 0),
                (ResidentKind::Stack, 16, 0),
                (ResidentKind::File, 4, 0),
                (ResidentKind::Shared, 20, 0),
            ]
        );
        assert_eq!(read(&b"\xff\xff: \n: kB\n\n"[..]), []);
    }

    #[test]
    fn an_own_process_has_some() {
        let parts = resident(std::process::id()).expect("it can be read");
        assert!(parts.iter().any(|part| part.kind == ResidentKind::File && part.rss_bytes > 0), "{parts:?}");
    }
}
