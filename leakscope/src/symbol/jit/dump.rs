//! Jitdumps (`tools/perf/Documentation/jitdump-specification.txt` of Linux): a header, then records of code that was
//! made or moved, and the source lines of what is made next. Numbers are in the byte order of the machine.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use super::super::SymbolFrame;
use super::growing::{Growing, Step, Taken};
use super::ranges::Ranges;

/// `JiTD`, as a machine of our byte order writes it.
const MAGIC: u32 = 0x4a69_5444;
/// Magic, version, size of the header and five more fields.
const HEADER: usize = 40;
/// Kind, size and time of a record.
const RECORD: usize = 16;
const CODE_LOAD: u32 = 0;
const CODE_MOVE: u32 = 1;
const DEBUG_INFO: u32 = 2;
/// The largest record that is read, and the largest that there can be: its code is in it.
const LARGEST: usize = Growing::PART;
const LARGEST_EVER: usize = 1 << 30;
/// Of the header's flags: times are those of a processor's counter.
const OTHER_CLOCK: u64 = 1;
/// The most source lines that are kept.
const MOST_LINES: usize = 2_000_000;
/// How far from its start code has lines.
const FARTHEST_LINE: u64 = 1 << 30;
/// The most names of files, and bytes of them.
const MOST_FILES: usize = 1 << 17;
const MOST_FILE_BYTES: usize = 32 << 20;
/// Bytes of a file's name.
const LONGEST_FILE: usize = 4096;

/// Whether a text can be the name of a file.
fn is_path(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_FILE && !text.chars().any(char::is_control)
}

/// Whether a file has the name of a jitdump: `jit-PID.dump`.
pub fn is_named_so(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| name.strip_prefix("jit-")?.strip_suffix(".dump"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What was read of a jitdump.
#[derive(Debug, Default)]
pub(super) struct Dump {
    file: Growing,
    read: Read,
}

#[derive(Debug, Default)]
struct Read {
    begun: bool,
    ranges: Ranges,
    /// Source lines from an address on, by the start of their code, sorted.
    lines: HashMap<u64, Vec<Line>>,
    line_count: usize,
    /// Those of what is made next, and where it will be.
    pending: Option<(u64, Vec<Line>)>,
    files: Vec<Box<str>>,
    file_bytes: usize,
    numbers: HashMap<Box<str>, u32>,
    /// Whether records have times of the clock that we know.
    timed: bool,
}

/// A source line, from an address on.
#[derive(Clone, Copy, Debug)]
struct Line {
    from: u64,
    line: u32,
    file: u32,
}

impl Dump {
    /// Reads what is new.
    pub(super) fn read(&mut self, open: impl FnOnce() -> io::Result<File>) {
        let read = &mut self.read;
        self.file.read(open, &mut |step| read.take(step));
    }

    /// What an address is called, if its code was made before `until_ns`.
    pub(super) fn at(&self, address: u64, until_ns: u64) -> Option<SymbolFrame> {
        self.read.at(address, until_ns)
    }
}

/// Numbers and texts of a record, in their order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_ne_bytes)
    }

    /// A text that ends with a 0.
    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Some(text)
    }
}

impl Read {
    fn take(&mut self, step: Step<'_>) -> Taken {
        let part = match step {
            Step::Again => {
                *self = Self::default();
                return Taken::Bytes(0);
            }
            Step::More(part) => part,
        };
        let mut used = 0;
        if !self.begun {
            if part.len() < HEADER {
                return Taken::Bytes(0);
            }
            let mut fields = Fields(part);
            let (magic, _version, size) = (fields.u32(), fields.u32(), fields.u32().unwrap_or(0) as usize);
            if magic != Some(MAGIC) || !(HEADER..=LARGEST / 2).contains(&size) {
                return Taken::Nonsense;
            }
            if part.len() < size {
                return Taken::Bytes(0);
            }
            let flags =
                part[32..HEADER].first_chunk().map_or(OTHER_CLOCK, |flags| u64::from_ne_bytes(*flags));
            self.timed = flags & OTHER_CLOCK == 0;
            (self.begun, used) = (true, size);
        }
        while let Some(record) = part.get(used..).filter(|rest| rest.len() >= RECORD) {
            let mut fields = Fields(record);
            let (kind, size) = (fields.u32().unwrap_or(0), fields.u32().unwrap_or(0) as usize);
            if !(RECORD..=LARGEST_EVER).contains(&size) {
                return Taken::Nonsense;
            }
            if size > LARGEST {
                // What was taken comes first.
                return if used > 0 { Taken::Bytes(used) } else { Taken::Skip(size as u64) };
            }
            let Some(body) = record.get(RECORD..size) else { break };
            // A record that is not whole says nothing.
            let at_ns = fields.u64().filter(|_| self.timed).unwrap_or(0);
            let _ = self.record(kind, at_ns, Fields(body));
            used += size;
        }
        Taken::Bytes(used)
    }

    fn record(&mut self, kind: u32, at_ns: u64, mut fields: Fields<'_>) -> Option<()> {
        match kind {
            CODE_LOAD => {
                let (_pid, _tid, _address) = (fields.u32()?, fields.u32()?, fields.u64()?);
                let (start, size, _number) = (fields.u64()?, fields.u64()?, fields.u64()?);
                let lines = self.pending.take().filter(|(of, _)| *of == start);
                self.set_lines(start, lines.map(|(_, lines)| lines).unwrap_or_default());
                self.ranges.insert((start, size), at_ns, fields.text()?);
            }
            CODE_MOVE => {
                let (_pid, _tid, _address) = (fields.u32()?, fields.u32()?, fields.u64()?);
                let (from, to, size) = (fields.u64()?, fields.u64()?, fields.u64()?);
                let name = self.ranges.remove(from)?;
                let mut lines = self.lines.remove(&from).unwrap_or_default();
                self.line_count -= lines.len();
                for line in &mut lines {
                    line.from = line.from.wrapping_sub(from).wrapping_add(to);
                }
                self.set_lines(to, lines);
                self.ranges.insert((to, size), at_ns, name.as_bytes());
            }
            DEBUG_INFO => {
                let (start, count) = (fields.u64()?, fields.u64()?);
                self.pending = self.lines_of(start, fields, count).map(|lines| (start, lines));
            }
            _ => (),
        }
        Some(())
    }

    /// The lines of code that begins at `start`, in the place of those of what was there.
    fn set_lines(&mut self, start: u64, lines: Vec<Line>) {
        self.line_count -= self.lines.remove(&start).map_or(0, |before| before.len());
        if !lines.is_empty() && self.line_count + lines.len() <= MOST_LINES {
            self.line_count += lines.len();
            self.lines.insert(start, lines);
        }
    }

    /// The lines of code from `start` on; none if any of them cannot be: V8 writes some names of files from memory that
    /// it has freed (seen in node 20), and what follows such a name is nonsense too.
    fn lines_of(&mut self, start: u64, mut fields: Fields<'_>, count: u64) -> Option<Vec<Line>> {
        let mut lines: Vec<Line> = Vec::new();
        for _ in 0..count {
            let (from, line, _) = (fields.u64()?, fields.u32()?, fields.u32()?);
            let file = match (fields.text()?, lines.last()) {
                // The same as before.
                (b"\xff", Some(before)) => before.file,
                (file, _) => self.file(str::from_utf8(file).ok().filter(|file| is_path(file))?)?,
            };
            if from < start || from - start > FARTHEST_LINE {
                return None;
            }
            lines.push(Line { from, line, file });
        }
        lines.sort_by_key(|line| line.from);
        Some(lines)
    }

    /// The number of a file's name; none if there are too many.
    fn file(&mut self, name: &str) -> Option<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.files.len() >= MOST_FILES || self.file_bytes + name.len() > MOST_FILE_BYTES {
            return None;
        }
        let number = u32::try_from(self.files.len()).ok()?;
        self.file_bytes += name.len();
        self.files.push(name.into());
        self.numbers.insert(name.into(), number);
        Some(number)
    }

    fn at(&self, address: u64, until_ns: u64) -> Option<SymbolFrame> {
        let (mut frame, _) = self.ranges.at(address).filter(|(_, made_ns)| *made_ns < until_ns)?;
        let start = address - frame.offset_in_function?;
        let lines = self.lines.get(&start).map(Vec::as_slice).unwrap_or_default();
        let line = lines[..lines.partition_point(|line| line.from <= address)].last();
        if let Some(line) = line.filter(|line| line.line > 0) {
            frame.line = Some(line.line);
            frame.file = self.files.get(line.file as usize).map(|file| file.to_string());
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Vec<u8> {
        let words = [MAGIC, 1, 40, 62, 0, 7, 0, 0, 0, 0];
        words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
    }

    fn record(kind: u32, body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(RECORD + body.len()).expect("small");
        let head = [kind.to_ne_bytes(), size.to_ne_bytes(), [0; 4], [0; 4]].concat();
        [head, body.to_vec()].concat()
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn load(start: u64, size: u64, name: &str) -> Vec<u8> {
        let code = vec![0x90; 8];
        record(
            CODE_LOAD,
            &[words(&[7, start, start, size, 1]), name.as_bytes().to_vec(), vec![0], code].concat(),
        )
    }

    fn lines(start: u64, all: &[(u64, u32, &str)]) -> Vec<u8> {
        let mut body = words(&[start, all.len() as u64]);
        for (from, line, file) in all {
            body.extend_from_slice(&from.to_ne_bytes());
            body.extend_from_slice(&line.to_ne_bytes());
            body.extend_from_slice(&[0; 4]);
            body.extend_from_slice(file.as_bytes());
            body.push(0);
        }
        record(DEBUG_INFO, &body)
    }

    fn place(read: &Read, address: u64) -> Option<(String, Option<String>, Option<u32>)> {
        read.at(address, u64::MAX).and_then(|frame| Some((frame.function?, frame.file, frame.line)))
    }

    #[test]
    fn code_that_is_made_and_moved() {
        let mut read = Read::default();
        let all = [
            header(),
            lines(0x1000, &[(0x1000, 3, "a.wat"), (0x1010, 4, "b.wat")]),
            load(0x1000, 0x40, "wasm::leak"),
            load(0x2000, 0x40, "other"),
        ]
        .concat();
        let part = &all[..all.len() - 3];
        let Taken::Bytes(used) = read.take(Step::More(part)) else { panic!("a dump") };
        let file = |name: &str| Some(name.to_owned());
        assert_eq!(place(&read, 0x1008), Some(("wasm::leak".into(), file("a.wat"), Some(3))));
        assert_eq!(place(&read, 0x103f), Some(("wasm::leak".into(), file("b.wat"), Some(4))));
        assert_eq!((place(&read, 0x1040), place(&read, 0x2000)), (None, None));
        let rest = [&all[used..], &record(CODE_MOVE, &words(&[7, 0, 0x1000, 0x5000, 0x40, 1]))].concat();
        assert_eq!(read.take(Step::More(&rest)), Taken::Bytes(rest.len()));
        assert_eq!(place(&read, 0x2000), Some(("other".into(), None, None)));
        assert_eq!(place(&read, 0x5010), Some(("wasm::leak".into(), file("b.wat"), Some(4))));
    }

    /// As V8 writes it where the name's memory is another's already.
    #[test]
    fn lines_with_names_that_are_none_are_not_used() {
        let mut read = Read::default();
        let name = "JS:^remember /srv/leak.js:3:18";
        let body = [
            words(&[0x1000, 2, 0x1000]),
            vec![3, 0, 0, 0, 34, 0, 0, 0, 0xb4, 0x2c, 4, 0, 0, 0x69],
            vec![0; 40],
        ];
        let all = [header(), record(DEBUG_INFO, &body.concat()), load(0x1000, 0x40, name)].concat();
        assert_eq!(read.take(Step::More(&all)), Taken::Bytes(all.len()));
        assert_eq!(place(&read, 0x1008), Some(("remember".into(), Some("/srv/leak.js".into()), None)));
    }

    /// Code in a place that was another's has no line of that.
    #[test]
    fn lines_go_with_their_code() {
        let mut read = Read::default();
        let all = [
            header(),
            lines(0x1000, &[(0x1000, 3, "a.wat")]),
            load(0x1000, 0x40, "first"),
            load(0x1000, 0x40, "second"),
            lines(0x3000, &[(0x3000, 5, "b.wat"), (0x3008, 6, "b.wat")]),
            load(0x3000, 0x40, "third"),
            record(CODE_MOVE, &words(&[7, 0, 0x3000, 0x1000, 0x40, 1])),
        ]
        .concat();
        let at = |read: &Read| place(read, 0x1009).map(|(name, _, line)| (name, line));
        let moved = all.len() - record(CODE_MOVE, &words(&[7, 0, 0x3000, 0x1000, 0x40, 1])).len();
        assert_eq!(read.take(Step::More(&all[..moved])), Taken::Bytes(moved));
        assert_eq!(at(&read), Some(("second".into(), None)));
        assert_eq!(read.take(Step::More(&all[moved..])), Taken::Bytes(all.len() - moved));
        assert_eq!((at(&read), place(&read, 0x3000)), (Some(("third".into(), Some(6))), None));
        assert_eq!((read.line_count, read.lines.len()), (2, 1));
    }

    /// A record with much code is passed over, and what is told is bounded.
    #[test]
    fn large_records_and_many_names() {
        let mut read = Read::default();
        assert_eq!(read.take(Step::More(&header())), Taken::Bytes(HEADER));
        let size = (2 * LARGEST) as u32;
        let head = [CODE_LOAD.to_ne_bytes(), size.to_ne_bytes(), [0; 4], [0; 4]].concat();
        assert_eq!(read.take(Step::More(&head)), Taken::Skip(u64::from(size)));
        let small = [load(0x1000, 0x40, "f"), head].concat();
        assert_eq!(read.take(Step::More(&small)), Taken::Bytes(small.len() - RECORD));
        for start in 0..1000 {
            let none = lines(start, &[]);
            assert_eq!(read.take(Step::More(&none)), Taken::Bytes(none.len()));
        }
        assert_eq!((read.lines.len(), read.line_count), (0, 0));
        read.file_bytes = MOST_FILE_BYTES;
        let refused = [lines(0x5000, &[(0x5000, 1, "new.wat")]), load(0x5000, 8, "g")].concat();
        assert_eq!(read.take(Step::More(&refused)), Taken::Bytes(refused.len()));
        assert_eq!(place(&read, 0x5000), Some(("g".into(), None, None)));
    }

    #[test]
    fn nonsense_ends_the_reading() {
        let taken = |bytes: &[u8]| Read::default().take(Step::More(bytes));
        assert_eq!(taken(&[7; 64]), Taken::Nonsense);
        assert_eq!(taken(&[]), Taken::Bytes(0));
        let small = [header(), record(9, &[]), vec![0; 16]].concat();
        assert_eq!(taken(&small), Taken::Nonsense, "a record of no size");
        // Counts and sizes that lie.
        let lying = [header(), record(DEBUG_INFO, &words(&[1, u64::MAX])), load(u64::MAX, 2, "x")].concat();
        assert_eq!(taken(&lying), Taken::Bytes(lying.len()));
        for cut in 0..lying.len() {
            let _ = taken(&lying[..cut]);
        }
    }

    #[test]
    fn names_of_dumps() {
        for (path, is) in
            [("/x/jit-12.dump", true), ("jit-.dump", false), ("/jit-1a.dump", false), ("/", false)]
        {
            assert_eq!(is_named_so(Path::new(path)), is, "{path}");
        }
    }
}
