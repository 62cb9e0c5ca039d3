//! A GGUF file: its metadata by key, its tensors as packed matrices.
//!
//! Candle reads the header and bounds its lengths against the file; the tensors' bytes go straight into tiles,
//! unrounded. Formats without tiles of their own (K-quants and rarer ones) are widened by candle and stored as Q8_0,
//! which is the one place where loading rounds. Refuses: split files.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};
use candle_core::{DType, Device};
use weir_kernels::pack::{Format, PackedMatrix, quantise_q8};

use super::LoadError;
use super::weights::{Tensors, unpack_vector};

/// An open GGUF file whose header has been read.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    file: BufReader<File>,
    bytes_total: u64,
    content: Content,
}

impl GgufFile {
    /// Opens the file and reads its header.
    ///
    /// # Errors
    /// [`LoadError::Io`] when it can't be read, [`LoadError::Format`] when it is no GGUF file.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let bytes_total = file.metadata().map_err(io)?.len();
        let mut file = BufReader::new(file);
        let content =
            Content::read(&mut file).map_err(|e| LoadError::Format { path: path.to_owned(), reason: e.to_string() })?;
        if content.metadata.contains_key("split.count") {
            return Err(LoadError::Format {
                path: path.to_owned(),
                reason: "it is one part of a split file".to_owned(),
            });
        }
        Ok(Self { path: path.to_owned(), file, bytes_total, content })
    }

    /// The value of a metadata key, if it is there.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }

    /// A text.
    ///
    /// # Errors
    /// [`LoadError::Setting`] when it is missing or no text.
    pub fn text(&self, key: &str) -> Result<&str, LoadError> {
        let value = self.value(key).ok_or_else(|| LoadError::setting(key, "is missing"))?;
        value.to_string().map(String::as_str).map_err(|_| LoadError::setting(key, "is not a text"))
    }

    /// A count.
    ///
    /// # Errors
    /// [`LoadError::Setting`] when it is missing or no count.
    pub fn count(&self, key: &str) -> Result<usize, LoadError> {
        let value = self.value(key).ok_or_else(|| LoadError::setting(key, "is missing"))?;
        let count = value.to_u64().ok().or_else(|| value.to_i32().ok().and_then(|v| u64::try_from(v).ok()));
        count.and_then(|count| usize::try_from(count).ok()).ok_or_else(|| LoadError::setting(key, "is not a count"))
    }

    /// A count, or `default` where the key is missing.
    ///
    /// # Errors
    /// [`LoadError::Setting`] when it is there and no count.
    pub fn count_or(&self, key: &str, default: usize) -> Result<usize, LoadError> {
        if self.value(key).is_some() { self.count(key) } else { Ok(default) }
    }

    /// A number, or `default` where the key is missing.
    ///
    /// # Errors
    /// [`LoadError::Setting`] when it is there and no number.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64, LoadError> {
        let Some(value) = self.value(key) else { return Ok(default) };
        let number = value.to_f32().map(f64::from).or_else(|_| value.to_f64());
        number.map_err(|_| LoadError::setting(key, "is not a number"))
    }

    /// The length of an array.
    ///
    /// # Errors
    /// [`LoadError::Setting`] when it is missing or no array.
    pub fn array_len(&self, key: &str) -> Result<usize, LoadError> {
        self.array(key).map(<[Value]>::len)
    }

    /// An array.
    ///
    /// # Errors
    /// [`LoadError::Setting`] when it is missing or no array.
    pub fn array(&self, key: &str) -> Result<&[Value], LoadError> {
        let value = self.value(key).ok_or_else(|| LoadError::setting(key, "is missing"))?;
        value.to_vec().map(Vec::as_slice).map_err(|_| LoadError::setting(key, "is not a list"))
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, LoadError> {
        self.content.tensor_infos.get(name).ok_or_else(|| LoadError::tensor(name, "is missing"))
    }

    /// The tensor's bytes as they lie in the file, `len` of them.
    fn bytes(&mut self, name: &str, len: usize) -> Result<Vec<u8>, LoadError> {
        let start = self.content.tensor_data_offset.saturating_add(self.info(name)?.offset);
        let end = start.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if end > self.bytes_total {
            return Err(LoadError::tensor(name, "lies beyond the end of the file"));
        }
        let mut bytes = vec![0; len];
        let read = self.file.seek(SeekFrom::Start(start)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|source| LoadError::Io { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    fn widen(&mut self, name: &str) -> Result<Vec<f32>, LoadError> {
        let fail = |e: candle_core::Error| LoadError::tensor(name, format!("can't be read: {e}"));
        let tensor = self.content.tensor(&mut self.file, name, &Device::Cpu).map_err(fail)?;
        let wide = tensor.dequantize(&Device::Cpu).and_then(|t| t.to_dtype(DType::F32)).and_then(|t| t.flatten_all());
        wide.and_then(|t| t.to_vec1()).map_err(fail)
    }
}

impl Tensors for GgufFile {
    fn contains(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<PackedMatrix, LoadError> {
        let info = self.info(name)?;
        if info.shape.dims() != [rows, cols] {
            return Err(LoadError::tensor(name, format!("is {:?}, {rows} x {cols} expected", info.shape.dims())));
        }
        let (format, bytes) = match format(info.ggml_dtype) {
            Some(format) => {
                let row = format.row_bytes(cols).ok_or_else(|| LoadError::tensor(name, "has rows of broken blocks"))?;
                (format, self.bytes(name, rows.saturating_mul(row))?)
            }
            None => (Format::Q8_0, quantise_q8(&self.widen(name)?, cols).map_err(|e| LoadError::tensor(name, e))?),
        };
        PackedMatrix::pack(format, &bytes, rows, cols).map_err(|e| LoadError::tensor(name, e))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let info = self.info(name)?;
        if info.shape.dims() != [len] {
            return Err(LoadError::tensor(name, format!("is {:?}, {len} expected", info.shape.dims())));
        }
        let format = format(info.ggml_dtype).ok_or_else(|| LoadError::tensor(name, "is not a plain vector"))?;
        let row = format.row_bytes(len).ok_or_else(|| LoadError::tensor(name, "has broken blocks"))?;
        let bytes = self.bytes(name, row)?;
        unpack_vector(name, format, &bytes)
    }
}

/// The format whose tiles hold the file's bits unchanged.
#[allow(clippy::wildcard_enum_match_arm, reason = "every other format, of today or of a later candle, is widened")]
fn format(dtype: GgmlDType) -> Option<Format> {
    match dtype {
        GgmlDType::F32 => Some(Format::F32),
        GgmlDType::F16 => Some(Format::F16),
        GgmlDType::BF16 => Some(Format::Bf16),
        GgmlDType::Q4_0 => Some(Format::Q4_0),
        GgmlDType::Q4_1 => Some(Format::Q4_1),
        GgmlDType::Q8_0 => Some(Format::Q8_0),
        _ => None,
    }
}
