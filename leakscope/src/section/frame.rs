//! Frames of stacks as sections hold them, whatever language they are of.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::symbol::{BlameInput, NamedFrame};

/// An address, in the target or in a file: a number here, hex text with `0x` in JSON and for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub u64);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(HexText).and_then(|found| {
            found.ok_or_else(|| D::Error::invalid_value(Unexpected::Str(""), &"an address in hex"))
        })
    }
}

impl JsonSchema for Address {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

/// Reads hex text; an empty one is no address.
struct HexText;

impl serde::de::Visitor<'_> for HexText {
    type Value = Option<Address>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address in hex, as 0x7f10")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.is_empty() {
            return Ok(None);
        }
        let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.map(|n| Some(Address(n))).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// The address of a frame, which in JSON is an empty text where frames were added up that differ in it.
pub(super) mod or_empty {
    use super::{Address, Deserializer, HexText, Serialize, Serializer};

    pub(in crate::section) fn serialize<S: Serializer>(
        address: &Option<Address>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => address.serialize(to),
            None => to.serialize_str(""),
        }
    }

    pub(in crate::section) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Address>, D::Error> {
        from.deserialize_str(HexText)
    }
}

/// A frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// Address in the target (of callers: the return address).
    #[serde(with = "or_empty")]
    #[schemars(with = "String")]
    pub address: Option<Address>,
    /// File that the code is in.
    pub module: Option<Arc<str>>,
    /// Its build ID.
    pub build_id: Option<Arc<str>>,
    /// Virtual address within that file: what addr2line takes.
    pub offset: Option<Address>,
    /// Function; its name is cut at 4 KiB, and then ends in `…`.
    #[serde(default, deserialize_with = "crate::symbol::name::deserialize")]
    pub function: Option<Arc<str>>,
    /// Bytes from the function's start.
    pub function_offset: Option<u64>,
    /// Source file.
    pub file: Option<Arc<str>>,
    /// Line in it.
    pub line: Option<u32>,
    /// Line of the function's declaration; where debug info does not tell (it has line tables alone), that of
    /// its first instruction. Go programs tell it from Go 1.20 on.
    pub function_line: Option<u32>,
    /// Whether it was inlined into the next frame.
    pub inlined: bool,
    /// Why there is no function.
    pub why_unknown: Option<Arc<str>>,
}

impl From<NamedFrame> for Frame {
    fn from(frame: NamedFrame) -> Self {
        let NamedFrame { address, module, build_id, offset, symbol } = frame;
        Self {
            address: Some(Address(address)),
            module: module.map(Arc::from),
            build_id: build_id.map(Arc::from),
            offset: offset.map(Address),
            function: symbol.function.map(Arc::from),
            function_offset: symbol.offset_in_function,
            file: symbol.file.map(Arc::from),
            line: symbol.line,
            function_line: symbol.function_line,
            inlined: symbol.inlined,
            why_unknown: symbol.why_unknown.map(|why| why.to_string().into()),
        }
    }
}

impl Frame {
    /// What tells whose code it is.
    pub fn blame_input(&self) -> BlameInput<'_> {
        BlameInput {
            function: self.function.as_deref(),
            module: self.module.as_deref(),
            file: self.file.as_deref(),
            known: None,
            ..BlameInput::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hex_in_json() {
        let text = |address: Address| serde_json::to_string(&address).expect("JSON");
        assert_eq!([text(Address(0x7f10)), text(Address(0))], ["\"0x7f10\"", "\"0x0\""]);
        for address in [0, 1, 0x7f10, u64::MAX].map(Address) {
            assert_eq!(serde_json::from_str::<Address>(&text(address)).expect("an address"), address);
        }
        for wrong in ["\"\"", "\"7f10\"", "\"0x\"", "\"0x+1\"", "\"0x10000000000000000\"", "16", "null"] {
            assert!(serde_json::from_str::<Address>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_sum_of_frames_has_no_address() {
        let json = serde_json::to_string(&Frame::default()).expect("JSON");
        assert!(json.starts_with("{\"address\":\"\",\"module\":null"), "{json}");
        assert_eq!(serde_json::from_str::<Frame>(&json).expect("a frame"), Frame::default());
    }
}
