//! What a Go program says of its making (`cmd/link/internal/ld/data.go`, `buildinfo`; read as
//! `debug/buildinfo` reads it).

use std::collections::BTreeMap;

use super::bytes::varint;
use crate::process::ElfFile;

/// What every such record begins with.
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// It is aligned so.
const ALIGN: usize = 16;
/// Where the strings begin, in the form of Go 1.18 and later.
const INLINE: usize = 32;
/// Bit of byte 15 that says that this is the form.
const INLINE_STRINGS: u8 = 2;
/// Longest string that is taken.
const LONGEST: u32 = 1 << 20;
/// Bytes around the module's text (`cmd/go/internal/modload`, `infoStart` and `infoEnd`).
const SENTINEL: usize = 16;
/// Most bytes and segments that are searched where there are no section headers.
const MOST_SEARCHED: u64 = 1 << 28;
const MOST_SEGMENTS: usize = 256;

/// A Go program's version and settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// `go1.21.4`.
    pub version: String,
    /// Path of the main package.
    pub path: Option<String>,
    /// Main module and its version.
    pub module: Option<(String, String)>,
    /// Build settings, such as `CGO_ENABLED` and `-trimpath`.
    pub settings: BTreeMap<String, String>,
}

impl BuildInfo {
    /// The N of Go 1.N; `None` where the version does not say.
    pub fn minor(&self) -> Option<u32> {
        let rest = self.version.split("go1.").nth(1)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// Whether it was built to call C code.
    pub fn cgo(&self) -> bool {
        self.settings.get("CGO_ENABLED").is_some_and(|v| v == "1")
    }

    /// Reads a record; `None` if this is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        if bytes.get(15)? & INLINE_STRINGS == 0 {
            // Before Go 1.18: pointers.
            return Some(Self { version: "go1.17 or older".to_owned(), ..Self::default() });
        }
        let (version, next) = string(bytes, INLINE)?;
        let mut info = Self { version: String::from_utf8_lossy(version).into_owned(), ..Self::default() };
        if let Some((module, _)) = string(bytes, next) {
            info.read_module(module);
        }
        Some(info)
    }

    fn read_module(&mut self, text: &[u8]) {
        if text.len() < 2 * SENTINEL + 1 || text[text.len() - SENTINEL - 1] != b'\n' {
            return;
        }
        let text = String::from_utf8_lossy(&text[SENTINEL..text.len() - SENTINEL]).into_owned();
        for line in text.lines() {
            let mut fields = line.split('\t');
            match (fields.next(), fields.next(), fields.next()) {
                (Some("path"), Some(path), _) => self.path = Some(path.to_owned()),
                (Some("mod"), Some(module), version) => {
                    self.module = Some((module.to_owned(), version.unwrap_or_default().to_owned()));
                }
                (Some("build"), Some(setting), _) => {
                    if let Some((key, value)) = setting.split_once('=') {
                        self.settings.insert(key.to_owned(), value.to_owned());
                    }
                }
                _ => {}
            }
        }
    }
}

fn string(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (length, start) = varint(bytes, at)?;
    if length > LONGEST {
        return None;
    }
    let end = start.checked_add(length as usize)?;
    Some((bytes.get(start..end)?, end))
}

/// The record in a file; `None` if it is no Go program.
pub fn find(elf: &ElfFile) -> Option<BuildInfo> {
    if let Ok(Some((_, bytes))) = elf.section(".go.buildinfo")
        && let Some(info) = search(bytes)
    {
        return Some(info);
    }
    if elf.has_sections() {
        return None;
    }
    // All of them together: in a file that lies, they overlap.
    let mut left = MOST_SEARCHED;
    let searched = elf.segments().iter().filter(|s| !s.executable).take(MOST_SEGMENTS).filter(|s| {
        let fits = s.file_size <= left;
        left = left.saturating_sub(if fits { s.file_size } else { 0 });
        fits
    });
    searched.filter_map(|s| search(elf.bytes_at(s.offset, s.file_size).ok()?)).next()
}

fn search(bytes: &[u8]) -> Option<BuildInfo> {
    let places = (0..bytes.len().saturating_sub(INLINE)).step_by(ALIGN);
    places.filter_map(|at| BuildInfo::parse(&bytes[at..])).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: &[u8], module: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([8, INLINE_STRINGS]);
        bytes.resize(INLINE, 0);
        for text in [version, module] {
            assert!(text.len() < 0x4000);
            bytes.extend([text.len() as u8 & 0x7f | 0x80, (text.len() >> 7) as u8]);
            bytes.extend(text);
        }
        bytes
    }

    fn module(text: &str) -> Vec<u8> {
        let mut bytes = vec![b'0'; SENTINEL];
        bytes.extend(text.as_bytes());
        bytes.extend([b'1'; SENTINEL]);
        bytes
    }

    #[test]
    fn version_module_and_settings() {
        let text =
            "path\texample.com/cmd\nmod\texample.com\tv1.2.3\th1:x\nbuild\tCGO_ENABLED=1\nbuild\t-tags=a,b\n";
        let info = BuildInfo::parse(&record(b"go1.21.4", &module(text))).expect("a record");
        assert_eq!((info.version.as_str(), info.minor(), info.cgo()), ("go1.21.4", Some(21), true));
        assert_eq!(info.path.as_deref(), Some("example.com/cmd"));
        assert_eq!(info.module, Some(("example.com".to_owned(), "v1.2.3".to_owned())));
        assert_eq!(info.settings["-tags"], "a,b");
    }

    #[test]
    fn versions() {
        let minor = |version: &str| BuildInfo { version: version.into(), ..BuildInfo::default() }.minor();
        assert_eq!(minor("go1.27rc1"), Some(27));
        assert_eq!(minor("devel go1.26-6e676ab2b8 Mon Jan 1"), Some(26));
        assert_eq!(minor("go1.23.1 X:nocoverageredesign"), Some(23));
        assert_eq!(minor("devel +abc"), None);
    }

    #[test]
    fn lies() {
        assert_eq!(BuildInfo::parse(b"\xff Go buildinf:"), None);
        let whole = record(b"go1.22.0", &module("path\tx\n"));
        for length in 0..whole.len() {
            let _ = BuildInfo::parse(&whole[..length]);
        }
        let mut long = record(b"go1.22.0", b"");
        long[INLINE..INLINE + 2].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(BuildInfo::parse(&long), None);
        let old = BuildInfo::parse(&[MAGIC, &[8, 0], &[0; 16]].concat()).expect("old");
        assert_eq!(old.minor(), Some(17));
    }
}
