//! What V8 calls its code in perf maps and jitdumps: `JS:*name /path/file.js:12:34` (`src/logging/log.cc` of V8 9 to 13).

use super::super::SymbolFrame;

/// What code of functions begins with.
const KINDS: [&str; 6] = ["LazyCompile:", "JS:", "Function:", "Script:", "Eval:", "Callback:"];
/// Marks of how it was compiled: interpreted, by Sparkplug, by Maglev, by Turbofan.
const TIERS: [char; 4] = ['~', '^', '+', '*'];

/// The frame that a name stands for: of V8's functions with file and line, of others the name as it is.
pub(super) fn named(name: &str) -> SymbolFrame {
    v8(name).unwrap_or_else(|| SymbolFrame { function: Some(name.to_owned()), ..SymbolFrame::default() })
}

fn v8(name: &str) -> Option<SymbolFrame> {
    let rest = KINDS.iter().find_map(|kind| name.strip_prefix(kind))?;
    let rest = rest.strip_prefix(TIERS).unwrap_or(rest);
    let (rest, _column) = number_behind(rest)?;
    let (rest, line) = number_behind(rest)?;
    // Names and paths may have spaces in them; a path begins in one of these ways.
    let begins = [" /", " file:", " node:"].iter().filter_map(|begin| rest.find(begin)).min();
    let (function, file) = rest.split_at(begins.or_else(|| rest.rfind(' '))?);
    let (function, file) = (function.trim(), file.trim_start());
    let function = if function.is_empty() { "(anonymous)" } else { function };
    let file = file.strip_prefix("file://").unwrap_or(file);
    Some(SymbolFrame {
        function: Some(function.to_owned()),
        file: (!file.is_empty()).then(|| file.to_owned()),
        function_line: u32::try_from(line).ok(),
        ..SymbolFrame::default()
    })
}

/// What stands before `:NUMBER`, and the number.
fn number_behind(text: &str) -> Option<(&str, u64)> {
    let (before, number) = text.rsplit_once(':')?;
    Some((before, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_javascript() {
        for (name, function, file, line) in [
            ("JS:*remember /srv/app.js:12:18", "remember", "/srv/app.js", 12),
            ("LazyCompile:~get size /a b/c.js:3:1", "get size", "/a b/c.js", 3),
            ("JS:^ file:///srv/m.mjs:7:2", "(anonymous)", "/srv/m.mjs", 7),
            ("Function:+emit node:events:465:44", "emit", "node:events", 465),
            ("JS:~x y.js:1:2", "x", "y.js", 1),
        ] {
            let frame = named(name);
            let place = (frame.function.as_deref(), frame.file.as_deref(), frame.function_line);
            assert_eq!(place, (Some(function), Some(file), Some(line)), "{name}");
        }
    }

    #[test]
    fn other_names_stay() {
        for name in
            ["Builtin:ArrayMap", "void a.B.c(int)", "JS:", "JS:*f", "JS:*f:1:2", "TRACE_12::f.lua:34", ""]
        {
            let frame = named(name);
            assert_eq!((frame.function.as_deref(), frame.file), (Some(name), None));
        }
    }
}
