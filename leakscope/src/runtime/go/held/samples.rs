//! Where objects were allocated, as far as the runtime's own memory profile has sampled them: it keeps a note of each
//! sampled object that lives (`runtime/mprof.go`, `setprofilebucket`).

use std::collections::HashMap;

use super::super::blame::blame;
use super::super::bytes::u64_at;
use super::super::frames::{CodeAddress, Frames};
use super::super::goroutine::GoFrame;
use super::super::heap::buckets::without_runtime;
use super::super::program::Program;

/// Most samples: a program that samples each object has as many as objects.
const MOST: usize = 1 << 22;
/// Most addresses of a stack (`maxProfStackDepth`).
const DEEPEST: u64 = 1024;

/// The samples: an object, and the bucket of the place that allocated it.
#[derive(Debug, Default)]
pub(super) struct Samples {
    all: Vec<(u64, u64)>,
}

impl Samples {
    pub(super) fn add(&mut self, object: u64, bucket: u64) {
        if self.all.len() < MOST {
            self.all.push((object, bucket));
        }
    }

    pub(super) fn all(&self) -> &[(u64, u64)] {
        &self.all
    }
}

/// Names the places of buckets, each once.
#[derive(Debug, Default)]
pub(super) struct Places {
    known: HashMap<u64, Option<GoFrame>>,
}

impl Places {
    /// The function of the program's own that allocated what a bucket counts.
    pub(super) fn of(&mut self, program: &Program, frames: &mut Frames, bucket: u64) -> Option<GoFrame> {
        self.known.entry(bucket).or_insert_with(|| place(program, frames, bucket)).clone()
    }
}

fn place(program: &Program, frames: &mut Frames, bucket: u64) -> Option<GoFrame> {
    let member = |name| program.offsets.find("bucket", name);
    let (size, depth) = (member("__size")?, member("nstk")?);
    let header = program.memory().bytes(bucket, size)?;
    let depth = u64_at(&header, depth).filter(|depth| (1..=DEEPEST).contains(depth))?;
    let stack = program.memory().bytes(bucket.checked_add(size as u64)?, 8 * depth as usize)?;
    let all = stack.as_chunks::<8>().0.iter().map(|pc| u64::from_le_bytes(*pc));
    let named = all.map(|pc| frames.one(program, CodeAddress { pc, exact: false })).collect();
    let frames = without_runtime(program, named);
    let module = program.info.module.as_ref().map(|(path, _)| path.as_str());
    let blamed = blame(&frames, module).unwrap_or(0) as usize;
    frames.into_iter().nth(blamed)
}
