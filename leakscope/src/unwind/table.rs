//! The rows of all files in the two flat arrays that the kernel side reads.

use leakscope_common::unwind::{BUCKET_SHIFT, Row, RowIndex, WideRule, cfa};

use super::rows::FileRows;

/// Where a file's rows are in the table, as its mappings refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSlot {
    /// Index of the file's first bucket.
    pub bucket_base: u32,
    /// Number of its buckets, without the sentinel.
    pub buckets: u32,
}

impl FileSlot {
    /// No rows: unwinding follows frame pointers.
    pub const EMPTY: Self = Self { bucket_base: 0, buckets: 0 };
}

/// The table cannot take another file; its code is unwound by frame pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableFull {
    /// No room for its rows.
    #[error("no room for {needed} unwind rows: {free} of {limit} are free")]
    Rows {
        /// What the file needs.
        needed: u32,
        /// What is left.
        free: u32,
        /// What the table can hold.
        limit: u32,
    },
    /// No room for its buckets.
    #[error("no room for {needed} buckets of unwind rows: {free} of {limit} are free")]
    Buckets {
        /// What the file needs.
        needed: u32,
        /// What is left.
        free: u32,
        /// What the table can hold.
        limit: u32,
    },
}

/// What was added since the last upload, with the indices where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Pending<'a> {
    /// Index of the first of `rows`.
    pub row_start: u32,
    /// Rows to write.
    pub rows: &'a [Row],
    /// Index of the first of `buckets`.
    pub bucket_start: u32,
    /// Buckets to write.
    pub buckets: &'a [u32],
}

/// The append-only table; see [`RowIndex`] for its layout. Behind the rows of a file, beyond its last
/// bucket, lie its wide rules.
#[derive(Debug)]
pub struct UnwindTable {
    rows: Vec<Row>,
    buckets: Vec<u32>,
    row_limit: u32,
    bucket_limit: u32,
    uploaded_rows: usize,
    uploaded_buckets: usize,
}

impl UnwindTable {
    /// An empty table for maps of these sizes.
    pub fn new(row_limit: u32, bucket_limit: u32) -> Self {
        Self {
            rows: Vec::new(),
            buckets: Vec::new(),
            row_limit,
            bucket_limit,
            uploaded_rows: 0,
            uploaded_buckets: 0,
        }
    }

    /// Appends a file's rows. A file that does not fit leaves the table as it was.
    pub fn add_file(&mut self, file: &FileRows) -> Result<FileSlot, TableFull> {
        let rows = file.rows();
        let Some(last) = rows.last() else { return Ok(FileSlot::EMPTY) };
        let buckets = (last.pc >> BUCKET_SHIFT) + 1;
        let (row_base, needed) = (self.rows.len() as u32, u32::try_from(file.slots()).unwrap_or(u32::MAX));
        let free = self.row_limit.min(Row::MOST_WIDE) - row_base;
        if needed > free {
            return Err(TableFull::Rows { needed, free, limit: self.row_limit });
        }
        let (bucket_base, needed) = (self.buckets.len() as u32, buckets + 1);
        let free = self.bucket_limit - bucket_base;
        if needed > free {
            return Err(TableFull::Buckets { needed, free, limit: self.bucket_limit });
        }
        let mut at = 0;
        for bucket in 0..buckets {
            let start = bucket << BUCKET_SHIFT;
            at += rows[at..].iter().take_while(|row| row.pc < start).count();
            self.buckets.push(row_base + at as u32);
        }
        self.buckets.push(row_base + rows.len() as u32);
        let wide_base = row_base + rows.len() as u32;
        self.rows.extend(rows.iter().map(|row| match row.cfa_kind() {
            cfa::WIDE => Row::wide(row.pc, wide_base + row.wide_index()),
            _ => *row,
        }));
        self.rows.extend(file.wide().iter().flat_map(|rule: &WideRule| rule.to_rows()));
        Ok(FileSlot { bucket_base, buckets })
    }

    /// What [`Self::mark_uploaded`] has not been told of.
    ///
    /// Write it before any mapping that refers to it, or a stack is looked up in old rows.
    pub fn pending(&self) -> Pending<'_> {
        Pending {
            row_start: self.uploaded_rows as u32,
            rows: &self.rows[self.uploaded_rows..],
            bucket_start: self.uploaded_buckets as u32,
            buckets: &self.buckets[self.uploaded_buckets..],
        }
    }

    /// Everything pending was written.
    pub fn mark_uploaded(&mut self) {
        self.uploaded_rows = self.rows.len();
        self.uploaded_buckets = self.buckets.len();
    }

    /// Rows in the table, and slots of wide rules.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Buckets in the table, sentinels included.
    pub fn bucket_count(&self) -> usize {
        self.buckets.len()
    }
}

impl RowIndex for UnwindTable {
    fn bucket(&self, index: u32) -> Option<u32> {
        self.buckets.get(index as usize).copied()
    }

    fn row(&self, index: u32) -> Option<Row> {
        self.rows.get(index as usize).copied()
    }
}
