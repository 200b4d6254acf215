//! Bytes that grow, at the addresses that they will have.

#[derive(Debug)]
pub(super) struct Bytes {
    base: u64,
    bytes: Vec<u8>,
}

impl Bytes {
    pub(super) fn new(base: u64) -> Self {
        Self { base, bytes: Vec::new() }
    }

    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Appends; returns where.
    pub(super) fn push(&mut self, bytes: &[u8]) -> u64 {
        let at = self.end();
        self.bytes.extend(bytes);
        at
    }

    pub(super) fn pad_to(&mut self, address: u64) {
        assert!(address >= self.end(), "what lies before is too long");
        self.bytes.resize((address - self.base) as usize, 0);
    }

    pub(super) fn align(&mut self, to: u64) -> u64 {
        self.pad_to(self.end().next_multiple_of(to));
        self.end()
    }

    pub(super) fn write(&mut self, address: u64, bytes: &[u8]) {
        let at = (address - self.base) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn into_inner(self) -> Vec<u8> {
        self.bytes
    }
}
