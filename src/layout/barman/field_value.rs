//! The values of the fields of a `backup.info`, as they are written there and printed elsewhere.

use std::borrow::Cow;
use std::fmt;

use super::{BackupTime, Literal};

/// The value of a field, as it is written and printed.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue<'a> {
    /// Not set: `None`.
    Unset,
    /// As it is.
    Text(Cow<'a, str>),
    /// A number.
    Integer(u64),
    /// A time.
    Time(BackupTime),
    /// A Python literal. What Python takes for false is written as if it were not set.
    Literal(Cow<'a, Literal>),
}

impl fmt::Display for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldValue::Unset => f.write_str("None"),
            FieldValue::Text(text) => f.write_str(&text.replace(['\n', '\r'], " ")),
            FieldValue::Integer(number) => number.fmt(f),
            FieldValue::Time(time) => time.fmt(f),
            FieldValue::Literal(literal) if literal.is_empty() => FieldValue::Unset.fmt(f),
            FieldValue::Literal(literal) => literal.fmt(f),
        }
    }
}

impl<'a> From<&'a str> for FieldValue<'a> {
    fn from(text: &'a str) -> FieldValue<'a> {
        FieldValue::Text(Cow::Borrowed(text))
    }
}

impl From<String> for FieldValue<'_> {
    fn from(text: String) -> Self {
        FieldValue::Text(Cow::Owned(text))
    }
}

impl From<u64> for FieldValue<'_> {
    fn from(number: u64) -> Self {
        FieldValue::Integer(number)
    }
}

impl From<BackupTime> for FieldValue<'_> {
    fn from(time: BackupTime) -> Self {
        FieldValue::Time(time)
    }
}

impl<'a> From<Cow<'a, Literal>> for FieldValue<'a> {
    fn from(literal: Cow<'a, Literal>) -> FieldValue<'a> {
        FieldValue::Literal(literal)
    }
}

impl<'a, T: Into<FieldValue<'a>>> From<Option<T>> for FieldValue<'a> {
    fn from(value: Option<T>) -> FieldValue<'a> {
        value.map_or(FieldValue::Unset, Into::into)
    }
}
