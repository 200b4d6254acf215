//! The values at a path, found while the report is serialized to nowhere.
//!
//! A `serde_json::Value` of the report would be less code. Of a report of 117 MB it takes 340 MiB and seconds to make,
//! for each threshold at each report, on a machine that may be short of memory already.

use std::fmt;

use serde::ser::{self, Impossible, Serialize, Serializer};

use super::Step;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(i128),
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => write!(f, "{:?}", crate::human::cut(&crate::human::sanitize(value), 60)),
        }
    }
}

/// The values at `path`. With `lengths`, a list or map at its end is its length.
pub(super) fn at(subject: &impl Serialize, path: &[Step], lengths: bool) -> Vec<Value> {
    let mut found = Vec::new();
    // It never fails.
    let _ = subject.serialize(Walk { path, lengths, found: &mut found });
    found
}

/// Follows a path.
struct Walk<'a> {
    path: &'a [Step],
    lengths: bool,
    found: &'a mut Vec<Value>,
}

impl Walk<'_> {
    fn leaf(self, value: Value) -> Result<(), Never> {
        if self.path.is_empty() {
            self.found.push(value);
        }
        Ok(())
    }

    /// A list, a map or a structure.
    fn into_parts(self, length: Option<usize>) -> Parts<Self> {
        if self.lengths && self.path.is_empty() {
            // Of what has parts of its own, only that it is there counts.
            self.found.push(Value::Number(length.unwrap_or(1) as i128));
        }
        Parts { walk: self, at: 0, named: false }
    }
}

/// Parts of a list, a map or a structure, as they come.
struct Parts<W> {
    walk: W,
    /// Elements so far.
    at: usize,
    /// Whether the key before is the one in the path.
    named: bool,
}

impl Parts<Walk<'_>> {
    fn part<T: Serialize + ?Sized>(&mut self, is: impl Fn(&Step) -> bool, value: &T) -> Result<(), Never> {
        match self.walk.path.split_first() {
            Some((step, rest)) if is(step) => {
                value.serialize(Walk { path: rest, lengths: self.walk.lengths, found: self.walk.found })
            }
            _ => Ok(()),
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        let at = self.at;
        self.at += 1;
        self.part(|step| matches!(step, Step::Each) || *step == Step::Index(at), value)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Never> {
        self.part(|step| matches!(step, Step::Name(wanted) if wanted == name), value)
    }
}

/// The error that there is not.
#[derive(Debug)]
struct Never;

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value could not be found")
    }
}

impl std::error::Error for Never {}

impl ser::Error for Never {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

macro_rules! numbers {
    ($($name:ident: $of:ty,)*) => {
        $(fn $name(self, value: $of) -> Result<(), Never> {
            self.leaf(Value::Number(i128::from(value)))
        })*
    };
}

impl<'a> Serializer for Walk<'a> {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = Parts<Self>;
    type SerializeTuple = Parts<Self>;
    type SerializeTupleStruct = Impossible<(), Never>;
    type SerializeTupleVariant = Impossible<(), Never>;
    type SerializeMap = Parts<Self>;
    type SerializeStruct = Parts<Self>;
    type SerializeStructVariant = Impossible<(), Never>;

    numbers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
    }

    fn serialize_bool(self, value: bool) -> Result<(), Never> {
        self.leaf(Value::Bool(value))
    }
    fn serialize_f32(self, _: f32) -> Result<(), Never> {
        Ok(())
    }
    fn serialize_f64(self, _: f64) -> Result<(), Never> {
        Ok(())
    }
    fn serialize_char(self, value: char) -> Result<(), Never> {
        self.leaf(Value::Text(value.to_string()))
    }
    fn serialize_str(self, value: &str) -> Result<(), Never> {
        if self.path.is_empty() { self.leaf(Value::Text(value.to_owned())) } else { Ok(()) }
    }
    fn serialize_bytes(self, _: &[u8]) -> Result<(), Never> {
        Ok(())
    }
    fn serialize_none(self) -> Result<(), Never> {
        // What is below it is not there either.
        self.found.push(Value::Null);
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Never> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Never> {
        self.serialize_none()
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Never> {
        self.serialize_none()
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Never> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        value.serialize(self)
    }
    fn serialize_seq(self, length: Option<usize>) -> Result<Parts<Self>, Never> {
        Ok(self.into_parts(length))
    }
    fn serialize_tuple(self, length: usize) -> Result<Parts<Self>, Never> {
        Ok(self.into_parts(Some(length)))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Impossible<(), Never>, Never> {
        Err(Never)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Never>, Never> {
        Err(Never)
    }
    fn serialize_map(self, length: Option<usize>) -> Result<Parts<Self>, Never> {
        Ok(self.into_parts(length))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<Self>, Never> {
        Ok(self.into_parts(None))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Never>, Never> {
        Err(Never)
    }
}

impl ser::SerializeSeq for Parts<Walk<'_>> {
    type Ok = ();
    type Error = Never;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        self.element(value)
    }
    fn end(self) -> Result<(), Never> {
        Ok(())
    }
}

impl ser::SerializeTuple for Parts<Walk<'_>> {
    type Ok = ();
    type Error = Never;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        self.element(value)
    }
    fn end(self) -> Result<(), Never> {
        Ok(())
    }
}

impl ser::SerializeMap for Parts<Walk<'_>> {
    type Ok = ();
    type Error = Never;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Never> {
        let key = at(&key, &[], false);
        self.named = match (self.walk.path.first(), key.first()) {
            (Some(Step::Each), _) => true,
            (Some(Step::Name(wanted)), Some(Value::Text(name))) => wanted == name,
            _ => false,
        };
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        let named = self.named;
        self.part(|_| named, value)
    }
    fn end(self) -> Result<(), Never> {
        Ok(())
    }
}

impl ser::SerializeStruct for Parts<Walk<'_>> {
    type Ok = ();
    type Error = Never;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Never> {
        self.field(name, value)
    }
    fn end(self) -> Result<(), Never> {
        Ok(())
    }
}
