//! Numbers and text as people read them.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Bytes in binary units with three significant digits or so: `0 B`, `1.5 KiB`, `84.2 MiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would print as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Signed bytes with their sign: `+1.5 KiB`.
pub fn signed_bytes(n: i64) -> String {
    let sign = if n < 0 { '-' } else { '+' };
    format!("{sign}{}", bytes(n.unsigned_abs()))
}

/// A change, with its sign.
pub fn signed_count(n: i64) -> String {
    let sign = if n < 0 { '-' } else { '+' };
    format!("{sign}{}", count(n.unsigned_abs()))
}

/// An integer with thousands separators.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `n` things: `1 block`, `2 blocks`.
pub fn counted(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A time span in its two largest units: `850 ms`, `9.8 s`, `3 m 20 s`, `2 h 5 m`, `4 d 1 h`.
pub fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0 if ns < 1_000_000 => format!("{} us", ns / 1000),
        0 => format!("{} ms", ns / 1_000_000),
        1..60 => format!("{:.1} s", ns as f64 / 1e9),
        60..3600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// A time in RFC 3339 and UTC, to the second: `2026-11-23 09:43:44 UTC`.
pub fn moment(rfc3339: &str) -> String {
    let Some((day, time)) = rfc3339.strip_suffix('Z').and_then(|text| text.split_once('T')) else {
        return rfc3339.to_owned();
    };
    format!("{day} {} UTC", time.split('.').next().unwrap_or(time))
}

/// A share as whole percent, but never 0 % for something or 100 % for less than all.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    match percent {
        _ if part == 0 => "0 %".to_owned(),
        _ if part == whole => "100 %".to_owned(),
        p if p < 1.0 => "<1 %".to_owned(),
        p if p > 99.0 => ">99 %".to_owned(),
        p => format!("{p:.0} %"),
    }
}

/// Columns that `text` takes on a terminal.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// `text` cut to `width` columns, with `…` where it was cut.
pub fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |c: &char| {
        let left = room.checked_sub(c.width().unwrap_or(0));
        room = left.unwrap_or(room);
        left.is_some()
    };
    let mut out: String = text.chars().take_while(fits).collect();
    out.push('…');
    out
}

/// A function and where it is, cut to `width` columns: of `main.work pool.go:12` the function is cut, as
/// long as something of it is left.
pub fn cut_place(text: &str, width: usize) -> String {
    const LEAST: usize = 12;
    let numbered = |place: &&str| {
        let line = place.rsplit_once(':').map_or("", |(_, line)| line);
        !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit())
    };
    let place = text.rsplit_once(' ').map(|(_, place)| place).filter(numbered);
    let room = place.and_then(|place| width.checked_sub(columns(place) + 1)).filter(|room| *room >= LEAST);
    match (place, room) {
        (Some(place), Some(room)) if columns(text) > width => {
            format!("{} {place}", cut(&text[..text.len() - place.len() - 1], room))
        }
        _ => cut(text, width),
    }
}

/// `text` in lines of at most `width` columns, broken between words; what does not fit into `most`
/// lines ends in `…`.
pub fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    broken(text, width, most).iter().map(|line| cut(line, width)).collect()
}

/// `text` in lines of at most `width` columns, broken between words; a longer word has a line of its own.
pub fn wrap_whole(text: &str, width: usize) -> Vec<String> {
    broken(text, width, usize::MAX)
}

fn broken(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in unbroken(text) {
        let last = lines.len() >= most;
        match lines.last_mut() {
            Some(line) if last || columns(line) + 1 + columns(&word) <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// The words of a text; a time span such as `3 h 20 m` is one, and so is an amount such as `1.5 MiB`.
fn unbroken(text: &str) -> Vec<String> {
    const UNITS: [&str; 12] = ["us", "ms", "s", "m", "h", "d", "%", "B", "KiB", "MiB", "GiB", "TiB"];
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let unit = UNITS.contains(&word.trim_end_matches([',', ':', ';', '.', ')']));
        match words.last_mut() {
            Some(span) if unit && span.ends_with(|c: char| c.is_ascii_digit()) => {
                let last = format!("{span} {word}");
                words.pop();
                match words.last_mut().filter(|before| {
                    before.ends_with(" h") || before.ends_with(" m") || before.ends_with(" d")
                }) {
                    Some(before) => *before = format!("{before} {last}"),
                    None => words.push(last),
                }
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// `text` without control characters: what comes from the target must not steer the terminal.
pub fn sanitize(text: &str) -> String {
    // Controls, line and paragraph separators, marks of direction.
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// `text` for files that other programs read: without control characters, and without what XML does not know.
pub fn sanitize_for_files(text: &str) -> String {
    let mut text = sanitize(text);
    if text.contains(['\u{fffe}', '\u{ffff}']) {
        text = text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    }
    text
}

/// The last part of a path.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_read_them() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1024), bytes(1_048_575)],
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB"]
        );
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!([signed_bytes(-2048), signed_bytes(5)], ["-2.0 KiB", "+5 B"]);
        assert_eq!([signed_count(-2048), signed_count(0)], ["-2,048", "+0"]);
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "block"), counted(2, "block")], ["1 block", "2 blocks"]);
        let spans =
            [5_000, 850_000_000, 9_800_000_000, 200_000_000_000, 7_500_000_000_000, 349_200_000_000_000];
        assert_eq!(spans.map(duration), ["5 us", "850 ms", "9.8 s", "3 m 20 s", "2 h 5 m", "4 d 1 h"]);
        assert_eq!(
            [share(0, 9), share(9, 9), share(1, 1000), share(999, 1000), share(1, 2)],
            ["0 %", "100 %", "<1 %", ">99 %", "50 %"]
        );
        assert_eq!(
            ["2026-11-23T09:43:44.88791456Z", "2026-11-23T09:43:44Z", "2026-11-23T09:43:44+01:00"]
                .map(moment),
            ["2026-11-23 09:43:44 UTC", "2026-11-23 09:43:44 UTC", "2026-11-23T09:43:44+01:00"]
        );
        assert_eq!([cut("abc", 3), cut("abcd", 3)], ["abc", "ab…"]);
        assert_eq!(sanitize("a\x1b[2Jb"), "a\u{fffd}[2Jb");
    }

    #[test]
    fn text_takes_the_columns_it_has() {
        assert_eq!([columns("abc"), columns("漢字"), columns("e\u{301}")], [3, 4, 1]);
        assert_eq!(
            [cut("漢字漢字", 8), cut("漢字漢字", 7), cut("漢字漢字", 6)],
            ["漢字漢字", "漢字漢…", "漢字…"]
        );
        assert_eq!([cut("abc", 1), cut("abc", 0)], ["…", "…"]);
        assert_eq!(cut_place("main.(*Set).work pool.go:12", 27), "main.(*Set).work pool.go:12");
        assert_eq!(cut_place("main.(*Set).work pool.go:12", 24), "main.(*Set).… pool.go:12");
        assert_eq!(cut_place("main.(*Set).work pool.go:12", 22), "main.(*Set).work pool…");
        assert_eq!(cut_place("work+0x12 (no symbols of it)", 12), "work+0x12 (…");
        assert_eq!(wrap("one two three", 7, 9), ["one two", "three"]);
        assert_eq!(wrap("one two three four", 7, 2), ["one two", "three …"]);
        assert_eq!(wrap("incomprehensible word", 7, 9), ["incomp…", "word"]);
        assert_eq!(wrap("", 7, 9), [""]);
        assert_eq!(wrap("for 3 h 20 m, or", 7, 9), ["for", "3 h 20…", "or"]);
        assert_eq!(wrap("it took 10 ms", 10, 9), ["it took", "10 ms"]);
        assert_eq!(wrap_whole("an incomprehensible word", 7), ["an", "incomprehensible", "word"]);
    }
}
