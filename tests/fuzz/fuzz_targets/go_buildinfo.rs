//! A record of a build of any bytes.

#![no_main]

use leakscope::runtime::go::buildinfo::BuildInfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let record = [b"\xff Go buildinf:\x08\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(), bytes].concat();
    for bytes in [bytes, &record] {
        if let Some(info) = BuildInfo::parse(bytes) {
            let _ = (info.minor(), info.cgo());
        }
    }
});
