//! Labels of a goroutine in both forms: a slice since Go 1.24, a map before.

use super::Labels;

/// Structures with their bytes.
pub(super) fn build(minor: u32, at: u64, labels: Labels) -> Vec<(&'static str, u64, Vec<u8>)> {
    let text = at + 0x800;
    let mut strings = Vec::new();
    let mut header = |string: &str| {
        let place = text + strings.len() as u64;
        strings.extend(string.as_bytes());
        [place, string.len() as u64]
    };
    let entries: Vec<[[u64; 2]; 2]> = labels.iter().map(|(k, v)| [header(k), header(v)]).collect();
    let words = |words: &[u64]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let mut made: Vec<(&'static str, u64, Vec<u8>)> = Vec::new();
    if minor >= 24 {
        let count = labels.len() as u64;
        made.push(("labels", at, words(&[at + 0x100, count, count])));
        made.push(("label slice", at + 0x100, words(&entries.concat().concat())));
    } else {
        let bucket = at + 0x200;
        made.push(("labels", at, words(&[at + 0x100])));
        made.push(("label map", at + 0x100, words(&[labels.len() as u64, 0, bucket, 0, 0, 0])));
        let mut bytes = vec![0u8; 8 + 256 + 8];
        for (slot, entry) in entries.iter().enumerate() {
            bytes[slot] = 7;
            for (part, header) in entry.iter().enumerate() {
                let at = 8 + 128 * part + 16 * slot;
                bytes[at..at + 16].copy_from_slice(&words(header));
            }
        }
        made.push(("label bucket", bucket, bytes));
    }
    made.push(("label text", text, strings));
    debug_assert!(
        made.iter().all(|(_, start, bytes)| *start >= at && start + bytes.len() as u64 <= at + 0x1000)
    );
    made
}
