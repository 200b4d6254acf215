//! Sites in JSON: what is one stack here stands in fields of its own there, beside the site's numbers.

use std::sync::Arc;

use super::frame::Frame;
use super::shared::SharedFrames;
use super::stack::{Stack, StackEnd};
use super::tables;

/// How a stack stands in the fields of a site's JSON, whose types are `Json`, as a tuple.
pub(crate) trait Flat<Json> {
    /// The same, borrowed.
    type Borrowed<'a>
    where
        Self: 'a;

    /// The stack that the fields make.
    fn join(json: Json) -> Self;

    /// What to write into the fields.
    fn split(&self) -> Self::Borrowed<'_>;
}

/// Sites.
impl Flat<(Option<u64>, SharedFrames, Option<StackEnd>)> for Stack {
    type Borrowed<'a> = (Option<u64>, &'a SharedFrames, Option<&'a StackEnd>);

    fn join((blame, frames, end): (Option<u64>, SharedFrames, Option<StackEnd>)) -> Self {
        Self { frames, blame, end, created_by: None }
    }

    fn split(&self) -> Self::Borrowed<'_> {
        (self.blame, &self.frames, self.end.as_ref())
    }
}

/// Sites of C, which a goroutine may have called.
impl Flat<(Option<u64>, SharedFrames, Option<StackEnd>, Option<Arc<Frame>>)> for Stack {
    type Borrowed<'a> = (Option<u64>, &'a SharedFrames, Option<&'a StackEnd>, Option<&'a Frame>);

    fn join(
        (blame, frames, end, created_by): (Option<u64>, SharedFrames, Option<StackEnd>, Option<Arc<Frame>>),
    ) -> Self {
        Self { frames, blame, end, created_by }
    }

    fn split(&self) -> Self::Borrowed<'_> {
        (self.blame, &self.frames, self.end.as_ref(), self.created_by.as_deref())
    }
}

/// Sites whose stacks always say why they end.
impl Flat<(Option<u64>, SharedFrames, StackEnd)> for Stack {
    type Borrowed<'a> = (Option<u64>, &'a SharedFrames, Option<&'a StackEnd>);

    fn join((blame, frames, end): (Option<u64>, SharedFrames, StackEnd)) -> Self {
        Self { frames, blame, end: Some(end), created_by: None }
    }

    fn split(&self) -> Self::Borrowed<'_> {
        (self.blame, &self.frames, self.end.as_ref())
    }
}

/// Statements, which are one frame and what it was inlined into.
impl Flat<(Option<u64>, SharedFrames)> for Stack {
    type Borrowed<'a> = (Option<u64>, &'a SharedFrames);

    fn join((blame, frames): (Option<u64>, SharedFrames)) -> Self {
        Self { frames, blame, end: None, created_by: None }
    }

    fn split(&self) -> Self::Borrowed<'_> {
        (self.blame, &self.frames)
    }
}

/// Lock owners, of whom there may be no stack.
impl Flat<(Option<SharedFrames>, Option<u64>, Option<StackEnd>)> for Option<Stack> {
    type Borrowed<'a> = (Option<&'a SharedFrames>, Option<u64>, Option<&'a StackEnd>);

    fn join((frames, blame, end): (Option<SharedFrames>, Option<u64>, Option<StackEnd>)) -> Self {
        frames.map(|frames| Stack { frames, blame, end, created_by: None })
    }

    fn split(&self) -> Self::Borrowed<'_> {
        let stack = self.as_ref();
        (
            stack.map(|stack| &stack.frames),
            stack.and_then(|stack| stack.blame),
            stack.and_then(|stack| stack.end.as_ref()),
        )
    }
}

/// The schema of a structure with a stack, whose frames are in tables where these are used.
pub(crate) fn described(mut schema: schemars::Schema) -> schemars::Schema {
    for name in ["frames", "owner_frames"].into_iter().filter(|name| tables::field(name) != *name) {
        let renamed = tables::field(name);
        if let Some(fields) = schema.get_mut("properties").and_then(|fields| fields.as_object_mut())
            && let Some(field) = fields.remove(name)
        {
            fields.insert(renamed.to_owned(), field);
        }
        let required = schema.get_mut("required").and_then(|names| names.as_array_mut());
        for required in required.into_iter().flatten().filter(|required| **required == name) {
            *required = renamed.into();
        }
    }
    schema
}

/// Declares a structure with a stack, whose JSON has the fields in the braces behind `@` in the stack's place.
/// `#[serde(flatten)]` would write the same, but reads every frame twice, and reports can be long.
macro_rules! with_stack {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $before_doc:literal])*
                $(#[serde($($before_serde:tt)*)])*
                pub $before:ident: $before_type:ty,
            )*
            @
            $(#[doc = $stack_doc:literal])*
            pub $stack:ident: $stack_type:ty {
                $(
                    $(#[doc = $json_doc:literal])*
                    $(#[serde($($json_serde:tt)*)])*
                    $json:ident: $json_type:ty,
                )*
            },
            $(
                $(#[doc = $after_doc:literal])*
                $(#[serde($($after_serde:tt)*)])*
                pub $after:ident: $after_type:ty,
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $before_doc])*
                pub $before: $before_type,
            )*
            $(#[doc = $stack_doc])*
            pub $stack: $stack_type,
            $(
                $(#[doc = $after_doc])*
                pub $after: $after_type,
            )*
        }

        const _: () = {
            use $crate::section::json::Flat;

            $(#[doc = $doc])*
            #[derive(serde::Deserialize, schemars::JsonSchema)]
            struct Json {
                $(
                    $(#[doc = $before_doc])*
                    $(#[serde($($before_serde)*)])*
                    $before: $before_type,
                )*
                $(
                    $(#[doc = $json_doc])*
                    $(#[serde($($json_serde)*)])*
                    $json: $json_type,
                )*
                $(
                    $(#[doc = $after_doc])*
                    $(#[serde($($after_serde)*)])*
                    $after: $after_type,
                )*
            }

            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                    use serde::ser::SerializeStruct as _;
                    const FIELDS: usize = [
                        $(stringify!($before),)* $(stringify!($json),)* $(stringify!($after),)*
                    ].len();
                    let mut fields = to.serialize_struct(stringify!($name), FIELDS)?;
                    $(fields.serialize_field(stringify!($before), &self.$before)?;)*
                    let ($($json,)*) = Flat::<($($json_type,)*)>::split(&self.$stack);
                    $(fields.serialize_field($crate::section::tables::field(stringify!($json)), &$json)?;)*
                    $(fields.serialize_field(stringify!($after), &self.$after)?;)*
                    fields.end()
                }
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    let Json { $($before,)* $($json,)* $($after,)* } = serde::Deserialize::deserialize(from)?;
                    let $stack = Flat::<($($json_type,)*)>::join(($($json,)*));
                    Ok(Self { $($before,)* $stack, $($after,)* })
                }
            }

            impl schemars::JsonSchema for $name {
                fn schema_name() -> std::borrow::Cow<'static, str> {
                    stringify!($name).into()
                }

                fn schema_id() -> std::borrow::Cow<'static, str> {
                    concat!(module_path!(), "::", stringify!($name)).into()
                }

                fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                    $crate::section::json::described(Json::json_schema(generator))
                }
            }
        };
    };
}
pub(crate) use with_stack;
