//! Reads a BPF iterator: a file that a program of the kernel side writes records into.

use std::fs::File;
use std::io::Read as _;
use std::marker::PhantomData;

use aya::programs::Iter;

use super::object::{Object, program};
use super::{BpfError, Pod, chain, sys};

impl Object {
    /// A fresh pass of the iterator `name`, whose records are `T`s. It begins with the first read.
    pub fn pass<T: Pod>(&mut self, name: &'static str) -> Result<Pass<T>, BpfError> {
        let failed = |e: &dyn std::error::Error| BpfError::Map {
            what: "list the threads",
            error: std::io::Error::other(chain(e)),
        };
        let iterator: &mut Iter = program(&mut self.ebpf, name)?;
        let id = iterator.attach().map_err(|e| failed(&e))?;
        let link = iterator.take_link(id).map_err(|e| failed(&e))?;
        Ok(Pass { file: link.into_file().map_err(|e| failed(&e))?, record: PhantomData })
    }
}

/// One pass over everything that the iterator goes over.
#[derive(Debug)]
pub struct Pass<T> {
    file: File,
    record: PhantomData<T>,
}

impl<T: Pod> Pass<T> {
    pub fn records(mut self) -> std::io::Result<Vec<T>> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes.chunks_exact(size_of::<T>()).filter_map(sys::value_of).collect())
    }

    /// The first record alone.
    pub fn first(mut self) -> std::io::Result<T> {
        let mut bytes = vec![0; size_of::<T>()];
        self.file.read_exact(&mut bytes)?;
        sys::value_of(&bytes).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }
}
