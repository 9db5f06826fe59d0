//! How PostgreSQL keeps what [`shared`](crate::shared) speaks of. Its texts have no U+0000, and its jsonb refuses some
//! texts that are JSON and all that are not: none of that may fail a batch, which is tried until it succeeds.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{ColumnIndex, Row as _};
use uuid::Uuid;

use crate::Error;
use crate::task::TaskId;

pub type Connection = sqlx::postgres::PgConnection;
pub type Pool = sqlx::postgres::PgPool;
pub type Row = sqlx::postgres::PgRow;

/// The one key of a document that is kept as a text.
const TEXT: &str = "$text";
/// Longer runs of digits may be beyond what `numeric` holds.
const LONGEST_NUMBER: usize = 300;

pub fn at(at: DateTime<Utc>) -> DateTime<Utc> {
    at
}

pub fn id(id: TaskId) -> Uuid {
    id.into()
}

/// U+0000 and U+0001 are each escaped by U+0001, so that the order of texts stays what it is.
pub fn text(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', '\u{1}']) {
        return Cow::Borrowed(text);
    }
    text.replace('\u{1}', "\u{1}\u{2}").replace('\0', "\u{1}\u{1}").into()
}

fn plain(text: String) -> String {
    if !text.contains('\u{1}') {
        return text;
    }
    text.replace("\u{1}\u{1}", "\0").replace("\u{1}\u{2}", "\u{1}")
}

/// The document as jsonb takes it.
pub fn document_text(json: &str) -> Cow<'_, str> {
    if fits(json) {
        return Cow::Borrowed(json);
    }
    serde_json::json!({ TEXT: text(json) }).to_string().into()
}

/// The same, to be bound.
pub fn document(json: &str) -> Json<Box<RawValue>> {
    let text = document_text(json).into_owned();
    // What fits has been parsed, and what does not was written by serde_json.
    Json(RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned()))
}

/// Whether it is JSON that jsonb takes: well-formed, of bearable depth, without U+0000 and overlong numbers.
fn fits(json: &str) -> bool {
    let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    let overlong = || json.split(|c| !number(c)).any(|run| run.len() > LONGEST_NUMBER);
    match serde_json::from_str(json) {
        Ok(value) => !json.contains("\\u0000") && !reserved(&value) && !overlong(),
        Err(_) => false,
    }
}

/// Whether it looks like a document that is kept as a text.
fn reserved(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.len() == 1 && object.contains_key(TEXT))
}

/// The JSON text of a document as jsonb shows it.
pub fn open_document(json: String) -> String {
    if !json.starts_with("{\"$text\"") {
        return json;
    }
    match serde_json::from_str(&json) {
        Ok(Value::Object(mut object)) if object.len() == 1 => match object.remove(TEXT) {
            Some(Value::String(text)) => plain(text),
            _ => json,
        },
        _ => json,
    }
}

pub fn get_id(row: &Row, column: impl ColumnIndex<Row>) -> Result<TaskId, Error> {
    Ok(row.try_get::<Uuid, _>(column)?.into())
}

pub fn get_time(row: &Row, column: impl ColumnIndex<Row>) -> DateTime<Utc> {
    maybe_time(row, column).unwrap_or_default()
}

/// A time beyond what is known here, by somebody's hand, is none rather than failing all.
pub fn maybe_time(row: &Row, column: impl ColumnIndex<Row>) -> Option<DateTime<Utc>> {
    row.try_get(column).unwrap_or_default()
}

pub fn get_text(row: &Row, column: impl ColumnIndex<Row>) -> String {
    plain(row.get(column))
}

pub fn maybe_text(row: &Row, column: impl ColumnIndex<Row>) -> Option<String> {
    row.get::<Option<String>, _>(column).map(plain)
}

pub fn get_document(row: &Row, column: impl ColumnIndex<Row>) -> String {
    maybe_document(row, column).unwrap_or_default()
}

pub fn maybe_document(row: &Row, column: impl ColumnIndex<Row>) -> Option<String> {
    let json = row.get::<Option<Json<Box<RawValue>>>, _>(column)?;
    Some(open_document(json.0.get().to_owned()))
}

pub fn maybe_id(row: &Row, column: impl ColumnIndex<Row>) -> Result<Option<Uuid>, Error> {
    Ok(row.try_get(column)?)
}

pub fn maybe_value(row: &Row, column: impl ColumnIndex<Row>) -> Option<Value> {
    let json = maybe_document(row, column)?;
    Some(serde_json::from_str(&json).unwrap_or(Value::String(json)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_keep_their_order() {
        let texts = [
            "",
            "\0",
            "\0\0",
            "\0\u{1}",
            "\u{1}",
            "\u{1}\0",
            "\u{1}\u{1}",
            "\u{1}\u{2}",
            "\u{2}",
            "a\0b",
            "b",
        ];
        for pair in texts.windows(2) {
            assert!(text(pair[0]) < text(pair[1]), "{pair:?}");
        }
        for odd in texts {
            assert!(!text(odd).contains('\0'));
            assert_eq!(plain(text(odd).into_owned()), odd);
        }
    }

    #[test]
    fn documents_that_jsonb_refuses_are_kept_as_texts() {
        let deep = "[".repeat(9999);
        let long = "1".repeat(200_000);
        for odd in [
            "",
            "no JSON",
            "{\"a\":\"\\u0000\"}",
            "\"\\ud800\"",
            "1e999999",
            "{\"$text\":\"x\"}",
            &deep,
            &long,
        ] {
            let kept = document_text(odd);
            assert!(kept.starts_with("{\"$text\""), "{kept}");
            assert_eq!(open_document(kept.into_owned()), odd);
        }
        for fine in ["null", "1.50", "{\"a\": [1e300, \"\\u0001 \\ud83d\\ude00\"]}"] {
            assert_eq!(document_text(fine), fine);
        }
    }
}
