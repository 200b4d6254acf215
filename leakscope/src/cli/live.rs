//! The line that stands on a terminal while a process is traced: how long, how much, which stack has most of it, and what
//! leakscope itself has cost. It is gone as soon as anything else is said.

use std::io::{IsTerminal as _, Write as _};

use crate::human::{bytes, columns, cut, duration, sanitize, signed_bytes};
use crate::session::Glance;

/// Columns where the terminal does not tell.
const WIDTH: usize = 80;
/// What stands last, in words and in short.
const HINTS: [&str; 2] = ["Ctrl-C prints the report", "Ctrl-C: report"];
/// Columns that a place needs to tell something.
const LEAST_PLACE: usize = 12;

/// The line.
#[derive(Debug, Default)]
pub(super) struct LiveLine {
    shown: bool,
}

impl LiveLine {
    /// One, if standard error is a terminal.
    pub(super) fn new() -> Option<Self> {
        std::io::stderr().is_terminal().then(Self::default)
    }

    /// Shows how things are. `ends_by_itself` tells that nobody has to end it.
    pub(super) fn show(&mut self, glance: &Glance, ends_by_itself: bool) {
        let width =
            terminal_size::terminal_size_of(std::io::stderr()).map_or(WIDTH, |(width, _)| width.0.into());
        let hints = if ends_by_itself { [""; 2] } else { HINTS };
        let line = text(glance, hints, width.saturating_sub(1));
        self.shown = true;
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K{line}");
    }

    /// Takes it away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What fits into so many columns: the second hint where the first one does not, the place as far as there is room.
fn text(glance: &Glance, hints: [&str; 2], width: usize) -> String {
    let memory = memory(glance);
    let (time, own) = (duration(glance.watched_ns), format!("own CPU {}", duration(glance.cpu_ns)));
    let around = |memory: &str, hint: &str| {
        let all = [&time, memory, &own, hint];
        all.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" · ")
    };
    let room = |hint: &str| width.checked_sub(columns(&around(&memory, hint)));
    let place = glance.place.as_ref().filter(|_| glance.live_bytes.is_some_and(|live| live > 0));
    let place = place.map(|place| sanitize(place));
    let place = place.as_ref();
    let wanted = place.map_or(0, |place| PLACE.len() + columns(place).min(LEAST_PLACE));
    let hint = hints.into_iter().find(|hint| room(hint).is_some_and(|room| room >= wanted)).unwrap_or("");
    match (place, room(hint).and_then(|room| room.checked_sub(PLACE.len()))) {
        (Some(place), Some(room @ LEAST_PLACE..)) => {
            around(&format!("{memory}{PLACE}{}", cut(place, room)), hint)
        }
        _ => cut(&around(&memory, hint), width),
    }
}

const PLACE: &str = ", top stack ";

fn memory(glance: &Glance) -> String {
    match (glance.live_bytes, glance.rss_bytes) {
        (Some(live), _) => format!("{} live", bytes(live)),
        (None, (Some(start), Some(now))) => {
            let growth = now.cast_signed().wrapping_sub(start.cast_signed());
            format!("RSS {} ({})", bytes(now), signed_bytes(growth))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits() {
        let glance = Glance {
            watched_ns: 12_000_000_000,
            rss_bytes: (Some(1 << 20), Some(3 << 20)),
            live_bytes: Some(9 << 20),
            place: Some("createStringObject+0x19 (redis-check-rdb)".to_owned()),
            cpu_ns: 350_000_000,
        };
        let in_width = |width| text(&glance, HINTS, width);
        assert_eq!(
            in_width(130),
            "12.0 s · 9.0 MiB live, top stack createStringObject+0x19 (redis-check-rdb) · own CPU 350 ms · Ctrl-C prints the report"
        );
        assert_eq!(
            in_width(79),
            "12.0 s · 9.0 MiB live, top stack createStrin… · own CPU 350 ms · Ctrl-C: report"
        );
        assert_eq!(in_width(40), "12.0 s · 9.0 MiB live · own CPU 350 ms");
        for width in 1..200 {
            assert!(columns(&in_width(width)) <= width, "{width}: {}", in_width(width));
        }
        assert!(!text(&glance, [""; 2], 200).contains("Ctrl-C"));
        let hostile = Glance { place: Some("\u{1b}[2J\r\n".repeat(40)), ..glance.clone() };
        for width in 1..200 {
            let line = text(&hostile, HINTS, width);
            assert!(columns(&line) <= width && !line.contains(char::is_control), "{width}: {line:?}");
        }
        let go = Glance { live_bytes: None, place: None, ..glance };
        assert_eq!(
            text(&go, HINTS, 120),
            "12.0 s · RSS 3.0 MiB (+2.0 MiB) · own CPU 350 ms · Ctrl-C prints the report"
        );
    }
}
