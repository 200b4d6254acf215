//! Reads the task iterator.

use std::fs::File;
use std::io::Read as _;

use aya::programs::Iter;
use leakscope_common::wait::{TaskRecord, task_record};

use super::object::{Object, THREAD_SNAPSHOT, program};
use super::{BpfError, chain};

/// Bytes of a record.
const RECORD: usize = size_of::<TaskRecord>();

impl Object {
    /// A fresh pass of the task iterator; it begins with the first read.
    pub fn census_pass(&mut self) -> Result<CensusPass, BpfError> {
        let failed = |e: &dyn std::error::Error| BpfError::Map {
            what: "list the threads",
            error: std::io::Error::other(chain(e)),
        };
        let iterator: &mut Iter = program(&mut self.ebpf, THREAD_SNAPSHOT)?;
        let id = iterator.attach().map_err(|e| failed(&e))?;
        let link = iterator.take_link(id).map_err(|e| failed(&e))?;
        Ok(CensusPass(link.into_file().map_err(|e| failed(&e))?))
    }
}

/// One pass over all tasks of the machine.
#[derive(Debug)]
pub struct CensusPass(File);

impl CensusPass {
    /// Records of the threads of the target.
    pub fn threads(mut self) -> std::io::Result<Vec<TaskRecord>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes.as_chunks().0.iter().map(record).filter(|r| r.kind == task_record::TASK).collect())
    }

    /// The record of the thread that calls: the CPU that it runs on, and that CPU's clock now.
    pub fn reader(mut self) -> std::io::Result<TaskRecord> {
        let mut bytes = [0; RECORD];
        self.0.read_exact(&mut bytes)?;
        let found = record(&bytes);
        if found.kind == task_record::READER {
            Ok(found)
        } else {
            Err(std::io::ErrorKind::InvalidData.into())
        }
    }
}

fn record(bytes: &[u8; RECORD]) -> TaskRecord {
    // SAFETY: so many bytes are there, and every bit pattern of the record is valid.
    unsafe { bytes.as_ptr().cast::<TaskRecord>().read_unaligned() }
}
