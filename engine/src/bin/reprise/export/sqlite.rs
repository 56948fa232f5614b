//! Tables as an SQLite file: one transaction, prepared statements, indexes and views at the end. Written under another
//! name and renamed when it is whole.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::{
    Connection, params_from_iter,
    types::{ToSqlOutput, Value, ValueRef},
};

use super::{
    Sink,
    tables::{Cell, TABLES, Table},
};
use crate::failure::Failure;

/// An SQLite file being written.
pub struct Sqlite {
    connection: Connection,
    inserts: Vec<String>,
    partial: PathBuf,
    file: PathBuf,
}

impl Sqlite {
    /// Begins the file, which must not be there.
    pub fn create(file: &Path) -> Result<Self, Failure> {
        if file.exists() {
            return Err(Failure::failed(format!("{} is there already: give another name", file.display())));
        }
        let mut partial = file.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        // What an export that was stopped has left.
        let _ = fs::remove_file(&partial);
        let connection = Connection::open(&partial).map_err(lost)?;
        connection.set_prepared_statement_cache_capacity(TABLES.len());
        connection
            .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536; BEGIN;")
            .map_err(lost)?;
        connection.execute_batch(SCHEMA).map_err(lost)?;
        let insert = |table: &super::tables::Definition| {
            let places = vec!["?"; table.columns.len()].join(", ");
            format!("INSERT INTO {} ({}) VALUES ({places})", table.name, table.columns.join(", "))
        };
        Ok(Self { connection, inserts: TABLES.iter().map(insert).collect(), partial, file: file.to_owned() })
    }
}

impl Sink for Sqlite {
    fn row(&mut self, table: Table, cells: &[Cell<'_>]) -> Result<(), Failure> {
        let mut statement = self.connection.prepare_cached(&self.inserts[table as usize]).map_err(lost)?;
        statement.execute(params_from_iter(cells)).map_err(lost)?;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        self.connection.execute_batch(include_str!("views.sql")).map_err(lost)?;
        self.connection.execute_batch("COMMIT; ANALYZE;").map_err(lost)?;
        self.connection.close().map_err(|(_, error)| lost(error))?;
        fs::rename(&self.partial, &self.file)
            .map_err(|error| Failure::failed(format!("{}: {error}", self.file.display())))
    }
}

impl rusqlite::ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match *self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Integer(number) => ToSqlOutput::Owned(Value::Integer(number)),
            Self::Large(number) => ToSqlOutput::Owned(Value::Text(number.to_string())),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

fn lost(error: rusqlite::Error) -> Failure {
    Failure::failed(format!("the SQLite file cannot be written: {error}"))
}

const SCHEMA: &str = include_str!("schema.sql");
