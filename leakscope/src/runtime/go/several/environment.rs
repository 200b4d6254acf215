//! The environment that a process began with (`/proc/PID/environ`).

use std::fs::File;
use std::io::Read as _;

/// Most bytes that are read.
const MOST: u64 = 1 << 20;
/// Longest value that is kept.
const LONGEST: usize = 4096;

/// GODEBUG.
pub(super) fn godebug(pid: u32) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/environ")).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    value(&bytes, b"GODEBUG=")
}

fn value(environment: &[u8], name: &[u8]) -> Option<String> {
    let value = environment.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(name))?;
    let value = String::from_utf8_lossy(value.get(..LONGEST).unwrap_or(value)).into_owned();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_by_its_name() {
        let environment = b"HOME=/root\0XGODEBUG=no\0GODEBUG=gctrace=1,madvdontneed=0\0GODEBUG=late=1\0";
        assert_eq!(value(environment, b"GODEBUG=").as_deref(), Some("gctrace=1,madvdontneed=0"));
        assert_eq!(value(b"GODEBUG=\0", b"GODEBUG="), None);
        assert_eq!(value(b"", b"GODEBUG="), None);
        let long = [b"GODEBUG=".to_vec(), vec![b'x'; 10_000]].concat();
        assert_eq!(value(&long, b"GODEBUG=").map(|text| text.len()), Some(LONGEST));
    }
}
