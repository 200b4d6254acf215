//! Go frames with their names, as all frames have them.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::frames::{CodeAddress, Frames};
use super::goroutine::GoFrame;
use super::program::Program;
use crate::symbol::{NamedFrame, NamesCode, NoSymbol, SymbolFrame, name};

/// A file of Go code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoFile {
    /// Its path, as the target names it.
    pub path: String,
    /// Its build ID, in hex.
    pub build_id: Option<String>,
    /// Runtime address minus virtual address.
    pub bias: u64,
    /// Addresses of its Go code: the first, and the one after the last.
    pub text: (u64, u64),
}

/// The program that Go frames are of.
#[derive(Clone, Copy, Debug, Default)]
pub struct GoCode<'a> {
    /// Path of its file, as the target names it.
    pub file: Option<&'a str>,
    /// Build ID of that file, in hex.
    pub build_id: Option<&'a str>,
    /// Runtime address minus virtual address of the file.
    pub bias: u64,
    /// Addresses of its Go code: the first, and the one after the last.
    pub text: (u64, u64),
    /// Path of its main module, whose code is the user's whatever it is called.
    pub main_module: Option<&'a str>,
    /// The other files of Go code: plugins, and libraries that have a runtime of their own.
    pub others: &'a [GoFile],
}

impl<'a> GoCode<'a> {
    /// Path, build ID and bias of the file that holds an address.
    fn file_of(&self, address: u64) -> Option<(&'a str, Option<&'a str>, u64)> {
        if holds(self.text, address)
            && let Some(file) = self.file
        {
            return Some((file, self.build_id, self.bias));
        }
        let other = self.others.iter().find(|other| holds(other.text, address))?;
        Some((&other.path, other.build_id.as_deref(), other.bias))
    }
}

/// Whether code at an address is within these bounds. A return address may be the one after the last.
fn holds(text: (u64, u64), address: u64) -> bool {
    (text.0..=text.1).contains(&address) && text.0 < text.1
}

/// A frame of the program. What lies outside of its own code has no file.
pub fn frame(go: &GoFrame, code: GoCode<'_>) -> NamedFrame {
    let file = code.file_of(go.address);
    NamedFrame {
        address: go.address,
        module: file.map(|(path, ..)| path.to_owned()),
        build_id: file.and_then(|(_, build_id, _)| build_id).map(ToOwned::to_owned),
        offset: file.map(|(_, _, bias)| go.address.wrapping_sub(bias)),
        symbol: symbol(go),
    }
}

fn symbol(go: &GoFrame) -> SymbolFrame {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    SymbolFrame {
        function: known(&name::bounded(&go.function)),
        offset_in_function: go.function_offset,
        file: known(&go.file),
        line: (go.line > 0).then_some(go.line),
        function_line: (go.start_line > 0).then_some(go.start_line),
        inlined: go.inlined,
        why_unknown: go.function.is_empty().then(|| NoSymbol::NotOf("Go".into())),
    }
}

/// Names Go code on the stacks of threads by the program's own tables.
#[derive(Debug)]
pub struct GoNames {
    program: Rc<Program>,
    /// Runtime address minus virtual address of the file that is asked about: the program's, or a plugin's.
    bias: u64,
    frames: Frames,
}

impl GoNames {
    /// Names the code of a file of `program`.
    pub fn new(program: Rc<Program>, bias: u64) -> Self {
        Self { program, bias, frames: Frames::default() }
    }
}

impl NamesCode for GoNames {
    fn names(&mut self, address: u64, exact: bool) -> Option<Vec<SymbolFrame>> {
        let at = CodeAddress { pc: address.wrapping_add(self.bias), exact };
        Some(self.frames.shown(&self.program, at)?.iter().map(symbol).collect())
    }
}

/// A function's name without the path of its package, as people speak of it: `tsdb.(*DB).run`.
pub fn without_path(function: &str) -> &str {
    let package = function.find(['(', '[']).map_or(function, |end| &function[..end]);
    package.rfind('/').map_or(function, |slash| &function[slash + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::aggregate::goroutine_sites::tests::frame as go;

    #[test]
    fn names_without_paths() {
        for (name, short) in [
            ("github.com/prometheus/prometheus/tsdb.(*DB).run", "tsdb.(*DB).run"),
            ("net/http.(*conn).serve", "http.(*conn).serve"),
            ("main.main.func1", "main.main.func1"),
            ("example.com/a/b.Map[example.com/c/d.T]", "b.Map[example.com/c/d.T]"),
            ("main.(*Set[a/b.T]).Add", "main.(*Set[a/b.T]).Add"),
            ("", ""),
        ] {
            assert_eq!(without_path(name), short);
        }
    }

    #[test]
    fn what_is_unknown_is_absent() {
        let unknown = GoFrame { function: "".into(), file: "".into(), line: 0, ..go("", 0) };
        let code = GoCode {
            file: Some("/srv/bin/shop"),
            build_id: Some("beef"),
            bias: 0x40_0000,
            text: (0x46_0000, 0x46_1000),
            main_module: None,
            others: &[GoFile {
                path: "/srv/lib/cart.so".to_owned(),
                build_id: None,
                bias: 0x7f00_0000_0000,
                text: (0x7f00_0000_1000, 0x7f00_0000_2000),
            }],
        };
        let frame = frame(&unknown, code);
        let symbol = &frame.symbol;
        assert_eq!((&symbol.function, &symbol.file, symbol.line), (&None, &None, None));
        assert!(symbol.why_unknown.is_some());
        let place = |frame: &NamedFrame| (frame.module.clone(), frame.build_id.clone(), frame.offset);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(place(&frame), (text("/srv/bin/shop"), text("beef"), Some(0x60000)));
        let plugin = super::frame(&GoFrame { address: 0x7f00_0000_1234, ..go("main.f", 0) }, code);
        assert_eq!(place(&plugin), (text("/srv/lib/cart.so"), None, Some(0x1234)));
        // Code of C.
        let elsewhere = super::frame(&go("main.f", 0x2000), code);
        assert_eq!(place(&elsewhere), (None, None, None));
    }
}
