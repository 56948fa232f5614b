//! Tables as CSV files of one directory.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::Path,
};

use super::{
    Sink,
    tables::{Cell, TABLES, Table},
};
use crate::failure::Failure;

/// A file for each table.
pub struct Csv {
    writers: Vec<csv::Writer<BufWriter<File>>>,
}

impl Csv {
    /// Makes the directory, which must not be there or be empty, and the files with their titles.
    pub fn create(directory: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", directory.display()));
        fs::create_dir_all(directory).map_err(failed)?;
        if fs::read_dir(directory).map_err(failed)?.next().is_some() {
            return Err(Failure::failed(format!("{} is not empty: give another directory", directory.display())));
        }
        let mut writers = Vec::new();
        for table in &TABLES {
            let file = File::create_new(directory.join(format!("{}.csv", table.name))).map_err(failed)?;
            let mut writer = csv::Writer::from_writer(BufWriter::new(file));
            writer.write_record(table.columns).map_err(lost)?;
            writers.push(writer);
        }
        Ok(Self { writers })
    }
}

impl Sink for Csv {
    fn row(&mut self, table: Table, cells: &[Cell<'_>]) -> Result<(), Failure> {
        let writer = &mut self.writers[table as usize];
        for cell in cells {
            match cell {
                Cell::Null => writer.write_field(""),
                Cell::Integer(number) => writer.write_field(number.to_string()),
                Cell::Large(number) => writer.write_field(number.to_string()),
                Cell::Text(text) => writer.write_field(text),
            }
            .map_err(lost)?;
        }
        writer.write_record(None::<&[u8]>).map_err(lost)
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.writers.iter_mut().try_for_each(|writer| writer.flush().map_err(|error| lost(error.into())))
    }
}

fn lost(error: csv::Error) -> Failure {
    Failure::failed(format!("the tables cannot be written: {error}"))
}
