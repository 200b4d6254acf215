//! Perf maps: a line for each range, `START SIZE name`, both numbers in hexadecimal digits
//! (`tools/perf/Documentation/jit-interface.txt` of Linux).

use super::growing::{Growing, Step, Taken};
use super::ranges::Ranges;

/// Takes whole lines into `ranges`. Lines that are none are passed over.
pub(super) fn parse(step: Step<'_>, ranges: &mut Ranges) -> Taken {
    let part = match step {
        Step::Again => {
            ranges.clear();
            return Taken::Bytes(0);
        }
        Step::More(part) => part,
    };
    let Some(end) = part.iter().rposition(|&byte| byte == b'\n').map(|at| at + 1) else {
        // The end of the file is the rest of a line that is being written; a whole part without one is none.
        return if part.len() >= Growing::PART { Taken::Nonsense } else { Taken::Bytes(0) };
    };
    for line in part[..end].split(|&byte| byte == b'\n') {
        if let Some((start, size, name)) = fields(line) {
            ranges.insert((start, size), 0, name);
        }
    }
    Taken::Bytes(end)
}

fn fields(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let mut fields = line.splitn(3, |&byte| byte == b' ');
    let mut number = || {
        let text = std::str::from_utf8(fields.next()?).ok()?;
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let name = fields.next()?.trim_ascii();
    (!name.is_empty()).then_some((start, size, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_taken() {
        let mut ranges = Ranges::default();
        let text = b"7f0000001000 40 void app.Main.run(int)\n0x7f0000002000 0x10 f\nnonsense\n12 zz x\n1 1\n7f00000030";
        assert_eq!(parse(Step::More(text), &mut ranges), Taken::Bytes(text.len() - 10));
        let name = |at| ranges.at(at).and_then(|(frame, _)| frame.function);
        assert_eq!(name(0x7f00_0000_103f).as_deref(), Some("void app.Main.run(int)"));
        assert_eq!(name(0x7f00_0000_2000).as_deref(), Some("f"));
        assert_eq!((name(0x12), name(1)), (None, None));
    }

    #[test]
    fn no_line_is_endless() {
        let mut ranges = Ranges::default();
        assert_eq!(parse(Step::More(&[b'x'; 100]), &mut ranges), Taken::Bytes(0));
        assert_eq!(parse(Step::More(&vec![b'x'; Growing::PART]), &mut ranges), Taken::Nonsense);
    }
}
