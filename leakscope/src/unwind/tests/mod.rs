//! Tests of the unwind tables: against hand-made input, against other unwinders on real files, and
//! on this process itself.

mod against_framehop;
mod hostile;
mod largest;
mod live;
mod lookup;
mod prologue;
mod reference;
mod rows;
mod step;
mod stepping;
mod wide;

use std::path::{Path, PathBuf};

use leakscope_common::unwind::ReadWord;

use crate::process::ElfFile;

/// A reproducible source of numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Memory whose words depend on their address alone, and lie above every stack pointer the tests use.
struct Synthetic;

impl Synthetic {
    fn at(addr: u64) -> u64 {
        0x7fff_0000_0000 | (mix(addr) & 0xffff_fff8)
    }
}

impl ReadWord for Synthetic {
    fn word(&mut self, addr: u64) -> Option<u64> {
        Some(Self::at(addr))
    }

    fn register(&mut self, number: u8) -> Option<u64> {
        Some(Self::at(u64::from(number)))
    }
}

/// A shared library of the system.
fn library(name: &str) -> PathBuf {
    ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not installed"))
}

/// libc, libstdc++ and this test program.
fn real_files() -> Vec<(String, ElfFile)> {
    [library("libc.so.6"), library("libstdc++.so.6"), std::env::current_exe().expect("own path")]
        .into_iter()
        .map(|path| {
            let elf = ElfFile::open(&path).expect("a real ELF file");
            (path.display().to_string(), elf)
        })
        .collect()
}
