//! Zstandard (RFC 8878): what is written to files named so, and bounded reading of what anybody may have written.
//!
//! libzstd writes, for its files are half as long as those of ruzstd. ruzstd reads, for it is Rust alone.

use std::io::{self, BufRead, Read, Write};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What a frame begins with (RFC 8878, section 3.1.1).
pub const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// How the names of its files end.
pub const ENDING: &str = ".zst";

/// JSON of reports gets no shorter from level 3, which takes twice as long; that of level 6 is a tenth shorter, and
/// takes seven times as long.
const LEVEL: i32 = 1;

/// Writes a frame of what `write` writes, with a checksum.
pub fn compress(
    out: &mut dyn Write,
    write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut frame = zstd::stream::write::Encoder::new(out, LEVEL)?;
    frame.include_checksum(true)?;
    write(&mut frame)?;
    frame.finish().map(drop)
}

/// The decompressed bytes of frames, one after another.
///
/// It fails on bad data, and takes no more memory than a window (100 MiB at most, the largest that ruzstd allows) and
/// a block. How much comes out, the caller counts.
pub struct Decoder<R> {
    source: R,
    frame: Option<FrameDecoder>,
}

impl<R: BufRead> Decoder<R> {
    /// Nothing is read yet.
    pub const fn new(source: R) -> Self {
        Self { source, frame: None }
    }

    /// Begins the next frame, or passes over what is none; whether there is something.
    fn begin(&mut self) -> io::Result<bool> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let mut frame = FrameDecoder::new();
        match frame.init(&mut self.source) {
            Ok(()) => self.frame = Some(frame),
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
            }
            Err(error) => return Err(io::Error::other(error.to_string())),
        }
        Ok(true)
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(frame) = &mut self.frame else {
                if !self.begin()? {
                    return Ok(0);
                }
                continue;
            };
            while frame.can_collect() == 0 && !frame.is_finished() {
                frame
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBytes(buffer.len()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(&mut out, &mut |out| out.write_all(text)).expect("memory takes all");
        out
    }

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        Decoder::new(bytes).read_to_end(&mut text).map(|_| text)
    }

    #[test]
    fn frames_one_after_another() {
        let text: Vec<u8> = (0..900_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let all = [packed(&text), skipped, packed(b""), packed(b"end")].concat();
        assert!(all.starts_with(&MAGIC));
        assert!(unpacked(&all).expect("whole") == [&text[..], b"end"].concat());
        assert_eq!(unpacked(b"").expect("nothing"), b"");
    }

    #[test]
    fn what_is_cut_or_wrong_is_an_error() {
        let whole = packed(&b"a leak of memory ".repeat(5000));
        for end in 1..whole.len() {
            assert!(unpacked(&whole[..end]).is_err(), "{end}");
        }
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 0x55;
            let _ = unpacked(&wrong);
        }
    }
}
