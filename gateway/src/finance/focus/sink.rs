//! Rows of FOCUS as CSV and as Parquet.
//!
//! Parquet's decimals are DECIMAL(38,9), whole numbers inside: no float is on the way. Its moments are milliseconds.
//! Both are written piece by piece; nothing is held but the rows of one piece.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;

use super::{Charge, Column, Holds, Value, Version, columns, decimal_text, time_text};

/// Digits of a decimal, and those of them behind the point.
const DIGITS: (i32, i32) = (38, 9);
/// Bytes of a decimal: 38 digits.
const DECIMAL_BYTES: i32 = 16;

/// Why rows can't be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The output can't be written.
    #[error("the output can't be written")]
    Io(#[from] std::io::Error),
    /// CSV.
    #[error("the rows can't be written as CSV")]
    Csv(#[from] csv::Error),
    /// Parquet.
    #[error("the rows can't be written as Parquet")]
    Parquet(#[from] ParquetError),
}

/// Formats of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// FOCUS as CSV
    FocusCsv,
    /// FOCUS as Parquet
    FocusParquet,
}

impl Format {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::FocusCsv => "text/csv; charset=utf-8",
            Format::FocusParquet => "application/vnd.apache.parquet",
        }
    }
}

/// Writes rows.
pub enum Sink<W: Write + Send> {
    /// As CSV, with a line of names.
    Csv(Box<csv::Writer<W>>, Version),
    /// As Parquet, one group of rows a piece.
    Parquet(Box<SerializedFileWriter<W>>, Version),
}

impl<W: Write + Send> Sink<W> {
    /// Begins a file.
    pub fn new(out: W, format: Format, version: Version) -> Result<Self, SinkError> {
        match format {
            Format::FocusCsv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(columns(version).map(|column| column.name))?;
                Ok(Self::Csv(Box::new(writer), version))
            }
            Format::FocusParquet => {
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let writer = SerializedFileWriter::new(out, schema(version)?, Arc::new(properties))?;
                Ok(Self::Parquet(Box::new(writer), version))
            }
        }
    }

    /// Writes a piece, and hands it to the output.
    pub fn write(&mut self, rows: &[Charge]) -> Result<(), SinkError> {
        if rows.is_empty() {
            return Ok(());
        }
        match self {
            Self::Csv(writer, version) => {
                for row in rows {
                    writer.write_record(columns(*version).map(|column| csv_text(column.of(row))))?;
                }
                writer.flush()?;
            }
            Self::Parquet(writer, version) => {
                let mut group = writer.next_row_group()?;
                for column in columns(*version) {
                    let Some(mut to) = group.next_column()? else { break };
                    put(column, &mut to, rows)?;
                    to.close()?;
                }
                group.close()?;
            }
        }
        Ok(())
    }

    /// Ends the file.
    pub fn finish(self) -> Result<(), SinkError> {
        match self {
            Self::Csv(mut writer, _) => writer.flush()?,
            Self::Parquet(mut writer, _) => {
                writer.finish()?;
                writer.inner_mut().flush()?;
            }
        }
        Ok(())
    }
}

fn csv_text(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text,
        Value::Nano(nano) => decimal_text(nano),
        Value::Time(at_ms) => time_text(at_ms),
    }
}

fn schema(version: Version) -> Result<Arc<Type>, ParquetError> {
    let field = |column: &Column| {
        let optional =
            |physical| Type::primitive_type_builder(column.name, physical).with_repetition(Repetition::OPTIONAL);
        let field = match column.holds {
            Holds::Text => optional(Physical::BYTE_ARRAY).with_logical_type(Some(LogicalType::String)),
            Holds::Time => {
                optional(Physical::INT64).with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::MILLIS)))
            }
            Holds::Decimal => optional(Physical::FIXED_LEN_BYTE_ARRAY)
                .with_length(DECIMAL_BYTES)
                .with_precision(DIGITS.0)
                .with_scale(DIGITS.1)
                .with_logical_type(Some(LogicalType::decimal(DIGITS.1, DIGITS.0))),
        };
        field.build().map(Arc::new)
    };
    let fields = columns(version).map(field).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Type::group_type_builder("focus").with_fields(fields).build()?))
}

fn put(column: &Column, to: &mut SerializedColumnWriter<'_>, rows: &[Charge]) -> Result<(), ParquetError> {
    let values = rows.iter().map(|row| column.of(row));
    let levels: Vec<i16> = values.clone().map(|value| i16::from(value != Value::Null)).collect();
    match column.holds {
        Holds::Text => {
            let text = |value| match value {
                Value::Text(text) => Some(ByteArray::from(text.into_bytes())),
                Value::Null | Value::Nano(_) | Value::Time(_) => None,
            };
            let values: Vec<ByteArray> = values.filter_map(text).collect();
            to.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
        }
        Holds::Time => {
            let ms = |value| match value {
                Value::Time(at_ms) => i64::try_from(at_ms).ok(),
                Value::Null | Value::Nano(_) | Value::Text(_) => None,
            };
            let values: Vec<i64> = values.filter_map(ms).collect();
            to.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
        }
        Holds::Decimal => {
            let nano = |value| match value {
                Value::Nano(nano) => Some(FixedLenByteArray::from(nano.to_be_bytes().to_vec())),
                Value::Null | Value::Time(_) | Value::Text(_) => None,
            };
            let values: Vec<FixedLenByteArray> = values.filter_map(nano).collect();
            to.typed::<FixedLenByteArrayType>().write_batch(&values, Some(&levels), None)?;
        }
    }
    Ok(())
}
