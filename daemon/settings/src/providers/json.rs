//! JSON as a [`Document`](crate::document::Document) reads it: the same tables, each value with its place, so that every
//! mistake in it can be told with its line.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A mistake and where.
pub(crate) type Fault = (Range<usize>, String, String);

/// The object that `text` is, as far as it can be read.
pub(crate) fn table<'i>(text: &'i str) -> (DeTable<'i>, Vec<Fault>) {
    let mut faults = Vec::new();
    let table = match serde_json::from_str::<&'i RawValue>(text) {
        Err(error) => {
            let at = offset(text, error.line(), error.column());
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            faults.push((at..at, format!("syntax: {what}"), "write it as JSON: {\"key\": \"text\"}".into()));
            None
        }
        Ok(raw) => match value(raw, text, &mut faults).map(Spanned::into_inner) {
            Some(DeValue::Table(table)) => Some(table),
            _ => {
                faults.push((0..0, "the file is no object".into(), "write { … }".into()));
                None
            }
        },
    };
    (table.unwrap_or_default(), faults)
}

/// serde_json's lines and columns count from 1, columns in bytes.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (before + column.saturating_sub(1)).min(text.len())
}

fn value<'i>(raw: &'i RawValue, text: &str, faults: &mut Vec<Fault>) -> Option<Spanned<DeValue<'i>>> {
    let written = raw.get();
    // A part of `text`, as borrowed raw values are.
    let start = (written.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let span = start..start + written.len();
    let inner = match written.as_bytes().first()? {
        b'{' => {
            let mut table = DeTable::new();
            for (key, raw) in serde_json::Deserializer::from_str(written).deserialize_map(Pairs).ok()? {
                let Some(value) = value(raw, text, faults) else { continue };
                let key = Spanned::new(value.span(), key.into());
                if table.contains_key(&key) {
                    let what = format!("duplicate key `{}`", key.get_ref());
                    faults.push((key.span(), what, "keep one of them".into()));
                }
                table.insert(key, value);
            }
            DeValue::Table(table)
        }
        b'[' => {
            let list: Vec<&RawValue> = serde_json::from_str(written).ok()?;
            let mut array = DeArray::new();
            list.into_iter().filter_map(|raw| value(raw, text, faults)).for_each(|value| array.push(value));
            DeValue::Array(array)
        }
        b'"' => DeValue::String(serde_json::from_str::<String>(written).ok()?.into()),
        b't' => DeValue::Boolean(true),
        b'f' => DeValue::Boolean(false),
        b'n' => {
            faults.push((span, "a value cannot be null".into(), "leave its key out".into()));
            return None;
        }
        // JSON's numbers are numbers of TOML; what is too large for both is a text, and told as one.
        _ => match DeValue::parse(written) {
            Ok(number) => number.into_inner(),
            Err(_) => DeValue::String(written.into()),
        },
    };
    Some(Spanned::new(span, inner))
}

/// An object's entries in their order, also those that are there twice.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}
