//! Damaged files: whatever is in them, there is an answer and no panic.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Asks for addresses all over a file; there must be frames, each with a name or a reason.
fn ask_everywhere(path: &Path) {
    let Ok(elf) = ElfFile::open(path) else { return };
    let segments = elf.segments().to_vec();
    let id = FileId { device: 1, inode: 1 };
    let file = CodeFile::new(shared(elf), path.to_owned(), id, search(Path::new("/")));
    let mut symbolizer = Symbolizer::new();
    for segment in segments.iter().filter(|segment| segment.executable) {
        for step in 0..24 {
            let address = segment.address.wrapping_add(segment.file_size / 24 * step);
            let resolved = symbolizer.resolve(&file, address, step % 2 == 0);
            assert!(!resolved.frames.is_empty());
            for frame in &resolved.frames {
                assert!(frame.function.is_some() != frame.why_unknown.is_some(), "{frame:?}");
            }
        }
    }
    assert!(symbolizer.memory_bytes() <= MAX_TOTAL_BYTES);
}

fn samples() -> &'static [Vec<u8>] {
    static SAMPLES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    SAMPLES.get_or_init(|| {
        let plain = Program::c(&[]);
        let compressed = Program::c(&["-gz=zlib", "-gdwarf-4"]);
        [plain, compressed].map(|p| fs::read(&p.path).expect("it is there")).to_vec()
    })
}

/// Offset and size of what symbolizing reads: sections and their headers.
fn interesting(data: &[u8]) -> Vec<std::ops::Range<usize>> {
    use object::ObjectSection as _;
    let parsed = object::File::parse(data).expect("the sample is sound");
    let wanted = |name: &str| name.starts_with(".debug") || name.contains("sym") || name.contains("str");
    let mut ranges: Vec<_> = parsed
        .sections()
        .filter(|section| section.name().is_ok_and(wanted))
        .filter_map(|section| section.file_range())
        .map(|(offset, size)| offset as usize..(offset + size) as usize)
        .filter(|range| !range.is_empty())
        .collect();
    // Section headers lie at the end; the file header at the start.
    ranges.push(data.len() - 64 * 36..data.len());
    ranges.push(16..64);
    ranges
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files(
        sample in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..30),
    ) {
        let mut data = samples()[sample.index(samples().len())].clone();
        let ranges = interesting(&data);
        for (range, at, value) in changes {
            let range = ranges[range.index(ranges.len())].clone();
            data[range.start + at.index(range.len())] = value;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("mutated");
        fs::write(&path, &data).expect("written");
        ask_everywhere(&path);
    }
}

#[test]
fn truncated_files() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("short");
    for sample in samples() {
        for part in 0..40 {
            fs::write(&path, &sample[..sample.len() * part / 40]).expect("written");
            ask_everywhere(&path);
        }
    }
}

#[test]
fn a_file_cut_while_open_is_unreadable() {
    let program = Program::c(&[]);
    let call = program.call_in("outer");
    let file = code_file(&program.path, None);
    file.locate_debug();
    fs::OpenOptions::new().write(true).open(&program.path).and_then(|f| f.set_len(4096)).expect("cut");
    let resolved = Symbolizer::new().resolve(&file, call.returns_to, false);
    assert!(matches!(resolved.frames[0].why_unknown, Some(NoSymbol::Unreadable(_))), "{resolved:?}");
    // Once read, a file may be cut: what was copied stays.
    let program = Program::c(&[]);
    let file = code_file(&program.path, None);
    let mut symbolizer = Symbolizer::new();
    check_outer(&symbolizer.resolve(&file, call.returns_to, false), &call);
    fs::OpenOptions::new().write(true).open(&program.path).and_then(|f| f.set_len(0)).expect("cut");
    let main = symbolizer.resolve(&file, call.function, true);
    assert_eq!(names(&main), ["outer"]);
}

#[test]
fn a_symbol_that_wraps_around_does_not_panic() {
    let program = Program::c(&["-g0"]);
    let call = program.call_in("outer");
    let mut data = fs::read(&program.path).expect("it is there");
    let parsed = object::File::parse(&*data).expect("an ELF file");
    let (offset, size) = {
        use object::ObjectSection as _;
        parsed.section_by_name(".symtab").and_then(|s| s.file_range()).expect("in the file")
    };
    for symbol in 0..(size / 24) as usize {
        let at = offset as usize + symbol * 24 + 16;
        data[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    }
    let path = program.file("wrapped");
    fs::write(&path, &data).expect("written");
    let resolved = Symbolizer::new().resolve(&code_file(&path, None), call.returns_to, false);
    assert_eq!(resolved.frames.len(), 1);
}

#[test]
fn sections_that_claim_too_much() {
    let program = Program::c(&["-gz=zlib"]);
    let call = program.call_in("outer");
    let mut data = fs::read(&program.path).expect("it is there");
    let (offset, _) = {
        use object::ObjectSection as _;
        let parsed = object::File::parse(&*data).expect("an ELF file");
        parsed.section_by_name(".debug_info").and_then(|s| s.file_range()).expect("in the file")
    };
    // `ch_size`: what the section claims to be when decompressed.
    for claim in [u64::MAX, MAX_IMAGE_BYTES + 1, MAX_IMAGE_BYTES / 2] {
        data[offset as usize + 8..offset as usize + 16].copy_from_slice(&claim.to_le_bytes());
        let path = program.file("claims");
        fs::write(&path, &data).expect("written");
        let mut symbolizer = Symbolizer::new();
        let resolved = symbolizer.resolve(&code_file(&path, None), call.returns_to, false);
        check_outer_by_symbol(&resolved, &call);
        let unusable: Vec<_> = symbolizer.unusable_debug_info().collect();
        assert_eq!(unusable.len(), 1);
        assert_eq!(unusable[0].0, path);
    }
}
