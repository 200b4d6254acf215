//! Bounded decompression of ELF sections.

use std::io::{self, Read};

use object::read::CompressionFormat;

use crate::zstandard::Decoder;

/// Most memory an xz stream may ask for, in KiB. MiniDebugInfo is written with a window of at most
/// 64 MiB (`xz -9`).
const XZ_MEMORY_KIB: u32 = 80 << 10;

/// A reader of the decompressed bytes of `data`.
///
/// It stops early or fails on bad data, and allocates no more than a window (100 MiB at most), so
/// the caller only has to count what comes out.
pub(crate) fn reader<'a>(data: &'a [u8], format: CompressionFormat) -> io::Result<Box<dyn Read + 'a>> {
    match format {
        CompressionFormat::Zlib => Ok(Box::new(flate2::bufread::ZlibDecoder::new(data))),
        CompressionFormat::Zstandard => Ok(Box::new(Decoder::new(data))),
        CompressionFormat::None => Ok(Box::new(data)),
        _ => Err(io::Error::other("unknown compression of a section")),
    }
}

/// A reader of the decompressed bytes of an xz stream, the format of `.gnu_debugdata`.
pub(super) fn xz(data: &[u8]) -> impl Read {
    lzma_rust2::XzReader::new_mem_limit(data, true, XZ_MEMORY_KIB)
}
