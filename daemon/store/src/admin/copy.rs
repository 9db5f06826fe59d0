//! From one database to another, table by table, in one transaction: all of it, or nothing.

use std::time::Duration;

use serde::Serialize;
use sqlx::AssertSqlSafe;

use super::cell::{Cell, Digested, postgres, sqlite};
use super::tables::{Kind, TABLES, Table};
use super::{Database, Raw};
use crate::Error;
use crate::postgres::locks;

/// Rows that are read and written at once.
const PAGE: usize = 1000;

/// How many tenths of a second a server may take to see that a daemon has ended.
const ENDING: u32 = 20;

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Which table.
    pub table: &'static str,
    /// How many of its rows are copied.
    pub rows: u64,
}

/// A table that was copied.
#[derive(Clone, Debug, Serialize)]
pub struct Copied {
    /// Its name.
    pub table: &'static str,
    /// Its rows.
    pub rows: u64,
    /// The SHA-256 of its rows, the same in both.
    pub sha256: String,
}

impl Database {
    /// Copies everything to an empty database, which is brought to this binary's form first, and compares.
    ///
    /// # Errors
    /// [`Error::Copy`] when the target is not empty, the source is of another version, either is in use, or they differ: then the
    /// target is as it was. Those of [`open`](Self::open).
    pub async fn copy(&self, to: &Self, mut progress: impl FnMut(Progress)) -> Result<Vec<Copied>, Error> {
        let status = self.status().await?;
        if status.migration != Some(status.newest) {
            let what = format!(
                "{} is not of this binary's version: run `openclaw db migrate` for it first",
                self.shown()
            );
            return Err(Error::Copy(what));
        }
        to.open().await?.close().await;
        let (mut source, mut target) = (Raw::open(self).await?, Raw::open(to).await?);
        // Before anything is read: nobody stores what the copy would not have, in either.
        keep_others_out(&mut source, self).await?;
        keep_others_out(&mut target, to).await?;
        source
            .run(if source.is_postgres() { "begin isolation level repeatable read" } else { "begin" })
            .await?;
        target.run(if target.is_postgres() { "begin" } else { "begin immediate" }).await?;
        for table in TABLES {
            if target.number(&format!("select count(*) from {}", table.name)).await? > 0 {
                let what = format!(
                    "{} is not empty (table {}): name a database without any rows",
                    to.shown(),
                    table.name
                );
                return Err(Error::Copy(what));
            }
        }
        let mut copied = Vec::new();
        for table in TABLES {
            let (rows, sha256) = fill(&mut source, &mut target, table, &mut progress).await?;
            let mut again = Digested::default();
            let mut after = None;
            while let Some(page) = page(&mut target, table, after.as_deref()).await? {
                page.iter().for_each(|row| again.add(row));
                after = page.last().map(|row| row[..table.key].to_vec());
            }
            if again.finish() != (rows, sha256.clone()) {
                let what =
                    format!("{} did not arrive as it was: nothing was copied; this is a defect", table.name);
                return Err(Error::Copy(what));
            }
            copied.push(Copied { table: table.name, rows, sha256 });
        }
        renumber(&mut target).await?;
        target.run("commit").await?;
        Ok(copied)
    }
}

/// While this connection lives no daemon writes to a server's database, nor starts on it; a file is its home's, whose lock is
/// the caller's to hold. One that is cut off or was killed a moment ago is known by its leases.
async fn keep_others_out(raw: &mut Raw, database: &Database) -> Result<(), Error> {
    if !raw.is_postgres() {
        return Ok(());
    }
    let sql =
        "select (select count(*) from task_queue where state = 'leased' and lease_until > clock_timestamp())
                    + (select count(*) from agent_state where lease_until > clock_timestamp())";
    // The server sees only after a moment that a daemon has ended.
    for _ in 0..ENDING {
        let alone = raw.number(&locks::alone()).await? == 1;
        match raw.number(sql).await? {
            0 if alone => return Ok(()),
            0 => tokio::time::sleep(Duration::from_millis(100)).await,
            held => {
                let what = format!(
                    "{held} tasks and agents are held by daemons: stop them, and try again when their leases have run out"
                );
                return Err(Error::Copy(format!("{} is in use, {what}", database.shown())));
            }
        }
    }
    let what = "sessions of daemons are open: stop them, and try again";
    Err(Error::Copy(format!("{} is in use, {what}", database.shown())))
}

async fn fill(
    source: &mut Raw,
    target: &mut Raw,
    table: &'static Table,
    progress: &mut impl FnMut(Progress),
) -> Result<(u64, String), Error> {
    let mut digested = Digested::default();
    let mut after = None;
    while let Some(page) = page(source, table, after.as_deref()).await? {
        for row in &page {
            digested.add(row);
            insert(target, table, row).await?;
        }
        progress(Progress { table: table.name, rows: digested.rows });
        after = page.last().map(|row| row[..table.key].to_vec());
    }
    Ok(digested.finish())
}

/// The next rows in the order of the key, if there are any.
async fn page(raw: &mut Raw, table: &Table, after: Option<&[Cell]>) -> Result<Option<Vec<Vec<Cell>>>, Error> {
    let postgres = raw.is_postgres();
    let column = |(name, kind): &(&str, Kind)| match kind {
        Kind::Int if postgres => format!("{name}::bigint"),
        _ => (*name).to_owned(),
    };
    let columns: Vec<_> = table.columns.iter().map(column).collect();
    // By bytes, as SQLite compares them.
    let bytewise = |(name, kind): &(&str, Kind)| match kind {
        Kind::Text if postgres => format!("{name} collate \"C\""),
        _ => (*name).to_owned(),
    };
    let key: Vec<_> = table.columns[..table.key].iter().map(bytewise).collect();
    let key = key.join(", ");
    let beyond = match after {
        None => String::new(),
        Some(_) => {
            let parameters: Vec<_> = (1..=table.key).map(|n| format!("${n}")).collect();
            format!("where ({key}) > ({})", parameters.join(", "))
        }
    };
    let (columns, name) = (columns.join(", "), table.name);
    let sql = AssertSqlSafe(format!("select {columns} from {name} {beyond} order by {key} limit {PAGE}"));
    let after = after.unwrap_or_default().iter().zip(table.columns);
    let rows: Result<Vec<Vec<Cell>>, Error> = match raw {
        Raw::Sqlite(db) => {
            let query =
                after.fold(sqlx::query(sql), |query, (cell, (_, kind))| sqlite::bind(query, cell, *kind));
            let rows = query.fetch_all(db).await?;
            rows.iter().map(|row| row_of(table, |at, kind| sqlite::read(row, at, kind))).collect()
        }
        Raw::Postgres(db) => {
            let query =
                after.fold(sqlx::query(sql), |query, (cell, (_, kind))| postgres::bind(query, cell, *kind));
            let rows = query.fetch_all(db).await?;
            rows.iter().map(|row| row_of(table, |at, kind| postgres::read(row, at, kind))).collect()
        }
    };
    let rows = rows?;
    Ok((!rows.is_empty()).then_some(rows))
}

fn row_of(table: &Table, read: impl Fn(usize, Kind) -> Result<Cell, Error>) -> Result<Vec<Cell>, Error> {
    table.columns.iter().enumerate().map(|(at, (_, kind))| read(at, *kind)).collect()
}

async fn insert(raw: &mut Raw, table: &Table, row: &[Cell]) -> Result<(), Error> {
    let columns: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
    let parameters: Vec<_> = (1..=columns.len()).map(|n| format!("${n}")).collect();
    let (columns, parameters, name) = (columns.join(", "), parameters.join(", "), table.name);
    let sql = AssertSqlSafe(format!("insert into {name} ({columns}) values ({parameters})"));
    let cells = row.iter().zip(table.columns);
    match raw {
        Raw::Sqlite(db) => {
            let bind = |query, (cell, (_, kind)): (_, &(_, _))| sqlite::bind(query, cell, *kind);
            cells.fold(sqlx::query(sql), bind).execute(db).await?;
        }
        Raw::Postgres(db) => {
            let bind = |query, (cell, (_, kind)): (_, &(_, _))| postgres::bind(query, cell, *kind);
            cells.fold(sqlx::query(sql), bind).execute(db).await?;
        }
    }
    Ok(())
}

/// The next number is beyond those that are taken. SQLite sees to it by itself.
async fn renumber(raw: &mut Raw) -> Result<(), Error> {
    if !raw.is_postgres() {
        return Ok(());
    }
    for (table, column) in TABLES.iter().filter_map(|table| Some((table.name, table.numbered?))) {
        let sql = format!(
            "select setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) from {table}
             having max({column}) is not null"
        );
        raw.run(&sql).await?;
    }
    Ok(())
}
