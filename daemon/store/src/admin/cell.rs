//! Values on their way from one database to another.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Bool(bool),
    Text(String),
    Time(DateTime<Utc>),
    /// JSON text.
    Doc(String),
    Id(Uuid),
}

impl Cell {
    fn int(&self) -> Option<i64> {
        if let Self::Int(n) = self { Some(*n) } else { None }
    }

    fn real(&self) -> Option<f64> {
        if let Self::Real(n) = self { Some(*n) } else { None }
    }

    fn bool(&self) -> Option<bool> {
        if let Self::Bool(so) = self { Some(*so) } else { None }
    }

    fn text(&self) -> Option<&str> {
        if let Self::Text(text) | Self::Doc(text) = self { Some(text) } else { None }
    }

    fn time(&self) -> Option<DateTime<Utc>> {
        if let Self::Time(at) = self { Some(*at) } else { None }
    }

    fn id(&self) -> Option<Uuid> {
        if let Self::Id(id) = self { Some(*id) } else { None }
    }
}

/// How each database reads and takes a cell.
macro_rules! cells {
    ($module:ident, $database:ty, $arguments:ty) => {
        pub mod $module {
            use sqlx::Row as _;
            use sqlx::query::Query;

            use super::super::tables::Kind;
            use super::Cell;
            use crate::Error;
            use crate::$module::dialect::{self, Row};

            pub fn read(row: &Row, at: usize, kind: Kind) -> Result<Cell, Error> {
                let cell = match kind {
                    Kind::Int => row.try_get::<Option<i64>, _>(at)?.map(Cell::Int),
                    Kind::Real => row.try_get::<Option<f64>, _>(at)?.map(Cell::Real),
                    Kind::Bool => row.try_get::<Option<bool>, _>(at)?.map(Cell::Bool),
                    Kind::Text => dialect::maybe_text(row, at).map(Cell::Text),
                    Kind::Time => dialect::maybe_time(row, at).map(Cell::Time),
                    Kind::Doc => dialect::maybe_document(row, at).map(Cell::Doc),
                    Kind::Id => dialect::maybe_id(row, at)?.map(Cell::Id),
                };
                Ok(cell.unwrap_or(Cell::Null))
            }

            pub fn bind<'q>(
                query: Query<'q, $database, $arguments>,
                cell: &'q Cell,
                kind: Kind,
            ) -> Query<'q, $database, $arguments> {
                match kind {
                    Kind::Int => query.bind(cell.int()),
                    Kind::Real => query.bind(cell.real()),
                    Kind::Bool => query.bind(cell.bool()),
                    Kind::Text => query.bind(cell.text().map(dialect::text)),
                    Kind::Time => query.bind(cell.time().map(dialect::at)),
                    Kind::Doc => query.bind(cell.text().map(dialect::document)),
                    Kind::Id => query.bind(cell.id().map(|id| dialect::id(id.into()))),
                }
            }
        }
    };
}

cells!(sqlite, sqlx::Sqlite, sqlx::sqlite::SqliteArguments);
cells!(postgres, sqlx::Postgres, sqlx::postgres::PgArguments);

/// Rows that went by, and what they were.
#[derive(Default)]
pub struct Digested {
    pub rows: u64,
    sha256: Sha256,
}

impl Digested {
    pub fn add(&mut self, row: &[Cell]) {
        self.rows += 1;
        for cell in row {
            // The length stands before the text: what ends one value begins no other.
            let text = canonical(cell);
            self.sha256.update(text.len().to_le_bytes());
            self.sha256.update(text);
        }
    }

    pub fn finish(self) -> (u64, String) {
        let hex = self.sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (self.rows, hex)
    }
}

/// The same for what is the same in both databases.
fn canonical(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".into(),
        Cell::Int(n) => format!("i{n}"),
        Cell::Real(n) => format!("r{n}"),
        Cell::Bool(so) => format!("b{so}"),
        Cell::Text(text) => format!("t{text}"),
        Cell::Time(at) => format!("@{}", at.to_rfc3339_opts(SecondsFormat::Micros, true)),
        Cell::Id(id) => format!("u{id}"),
        Cell::Doc(json) => match serde_json::from_str(json) {
            Ok(value) => format!("d{}", plain(value)),
            Err(_) => format!("d{json}"),
        },
    }
}

/// jsonb writes 1e2 as 100.
fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and in the range")]
            Some(n) if n.fract() == 0.0 && n.abs() < 9e15 => Value::Number(Number::from(n as i64)),
            _ => Value::Number(number),
        },
        Value::Array(list) => list.into_iter().map(plain).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        other => other,
    }
}
