//! Named frames as frames of the report.

use super::model::Frame;
use crate::symbol::NamedFrame;

impl From<NamedFrame> for Frame {
    fn from(frame: NamedFrame) -> Self {
        let NamedFrame { address, module, build_id, offset, symbol } = frame;
        Self {
            address: format!("{address:#x}"),
            module,
            build_id,
            offset: offset.map(|offset| format!("{offset:#x}")),
            function: symbol.function,
            function_offset: symbol.offset_in_function,
            file: symbol.file,
            line: symbol.line,
            function_line: symbol.function_line,
            inlined: symbol.inlined,
            why_unknown: symbol.why_unknown.as_ref().map(ToString::to_string),
        }
    }
}
