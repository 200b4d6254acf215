//! Bounded decompression of ELF sections.

use std::io::{self, Read};

use object::read::CompressionFormat;

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
        CompressionFormat::Zstandard => Ok(Box::new(Zstandard { rest: data, frame: None })),
        CompressionFormat::None => Ok(Box::new(data)),
        _ => Err(io::Error::other("unknown compression of a section")),
    }
}

/// A reader of the decompressed bytes of an xz stream, the format of `.gnu_debugdata`.
pub(super) fn xz(data: &[u8]) -> impl Read {
    lzma_rust2::XzReader::new_mem_limit(data, true, XZ_MEMORY_KIB)
}

/// The frames of a Zstandard stream, one after another.
struct Zstandard<'a> {
    rest: &'a [u8],
    frame: Option<ruzstd::decoding::FrameDecoder>,
}

impl Read for Zstandard<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
        use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

        loop {
            let Some(frame) = &mut self.frame else {
                if self.rest.is_empty() {
                    return Ok(0);
                }
                let mut frame = FrameDecoder::new();
                match frame.init(&mut self.rest) {
                    Ok(()) => self.frame = Some(frame),
                    Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                        length,
                        ..
                    })) => {
                        self.rest = self.rest.get(length as usize..).unwrap_or_default();
                    }
                    Err(error) => return Err(io::Error::other(error.to_string())),
                }
                continue;
            };
            while frame.can_collect() == 0 && !frame.is_finished() {
                frame
                    .decode_blocks(&mut self.rest, BlockDecodingStrategy::UptoBytes(buffer.len()))
                    .map_err(|error| io::Error::other(error.to_string()))?;
            }
            let count = frame.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.frame = None;
        }
    }
}
