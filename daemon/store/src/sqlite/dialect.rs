//! How SQLite keeps what [`shared`](crate::shared) speaks of: times, ids and documents as text.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{ColumnIndex, Row as _};
use uuid::Uuid;

use crate::task::TaskId;
use crate::{Error, stamp};

pub type Connection = sqlx::sqlite::SqliteConnection;
pub type Pool = sqlx::sqlite::SqlitePool;
pub type Row = sqlx::sqlite::SqliteRow;

pub fn at(at: DateTime<Utc>) -> String {
    stamp(at)
}

pub fn id(id: TaskId) -> String {
    id.to_string()
}

pub fn text(text: &str) -> &str {
    text
}

pub fn document(json: &str) -> &str {
    json
}

pub fn get_id(row: &Row, column: impl ColumnIndex<Row>) -> Result<TaskId, Error> {
    let id = row.get::<&str, _>(column).parse();
    id.map_err(|_| Error::Database("a row of task_queue has a broken id".into()))
}

/// Only we write these, in one form; a row that somebody edited by hand shows the epoch rather than failing all.
pub fn get_time(row: &Row, column: impl ColumnIndex<Row>) -> DateTime<Utc> {
    maybe_time(row, column).unwrap_or_default()
}

pub fn maybe_time(row: &Row, column: impl ColumnIndex<Row>) -> Option<DateTime<Utc>> {
    let text = row.get::<Option<&str>, _>(column)?;
    Some(DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).unwrap_or_default())
}

pub fn get_text(row: &Row, column: impl ColumnIndex<Row>) -> String {
    row.get(column)
}

pub fn maybe_text(row: &Row, column: impl ColumnIndex<Row>) -> Option<String> {
    row.get(column)
}

pub fn get_document(row: &Row, column: impl ColumnIndex<Row>) -> String {
    row.get(column)
}

pub fn maybe_document(row: &Row, column: impl ColumnIndex<Row>) -> Option<String> {
    row.get(column)
}

pub fn maybe_id(row: &Row, column: impl ColumnIndex<Row>) -> Result<Option<Uuid>, Error> {
    let id = row.get::<Option<&str>, _>(column).map(str::parse).transpose();
    id.map_err(|_| Error::Database("a row has a broken id".into()))
}

pub fn maybe_value(row: &Row, column: impl ColumnIndex<Row>) -> Option<Value> {
    let json = row.get::<Option<&str>, _>(column)?;
    Some(serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.into())))
}
