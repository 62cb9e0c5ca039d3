//! Where tensors come from: the seam between a file format and the model, and the safetensors folder.
//!
//! Names are GGUF's (`blk.3.attn_q.weight`); [`SafetensorsFolder`] translates them to Hugging Face's. The folder's
//! weights are kept in f32 tiles, whatever their width in the file: nothing is rounded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use weir_kernels::pack::{Format, PackedMatrix};

use super::LoadError;

/// A set of named tensors.
pub trait Tensors {
    /// Whether the tensor is there.
    fn contains(&self, name: &str) -> bool;

    /// A weight matrix of `rows` outputs and `cols` inputs.
    ///
    /// # Errors
    /// [`LoadError`] when it is missing, damaged or of another shape.
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<PackedMatrix, LoadError>;

    /// A vector.
    ///
    /// # Errors
    /// As for `matrix`.
    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LoadError>;
}

/// Tensors whose matrices are widened to f32, so that products round no activation: the exact values of the same
/// file, for measuring what rounding costs. Four to six times the memory, and slow.
pub struct Widened<'a>(pub &'a mut dyn Tensors);

impl Tensors for Widened<'_> {
    fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<PackedMatrix, LoadError> {
        self.0.matrix(name, rows, cols).map(|matrix| matrix.widen())
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        self.0.vector(name, len)
    }
}

/// A plain vector's values.
pub(super) fn unpack_vector(name: &str, format: Format, bytes: &[u8]) -> Result<Vec<f32>, LoadError> {
    let values = match format {
        Format::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Format::F16 => bytes.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        Format::Bf16 => bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        Format::Q4_0 | Format::Q4_1 | Format::Q8_0 => return Err(LoadError::tensor(name, "is not a plain vector")),
    };
    Ok(values)
}

/// A folder with one `model.safetensors`, or with the parts that `model.safetensors.index.json` lists.
#[derive(Debug)]
pub struct SafetensorsFolder {
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Tensor name to index in `files`.
    places: HashMap<String, usize>,
}

impl SafetensorsFolder {
    /// Reads the folder's files into memory; they go once the model is packed.
    ///
    /// # Errors
    /// [`LoadError`] when there is none, or one is damaged.
    pub fn open(folder: &Path) -> Result<Self, LoadError> {
        let mut paths = vec![folder.join("model.safetensors")];
        let index = folder.join("model.safetensors.index.json");
        if index.is_file() {
            paths = part_names(&index)?.into_iter().map(|name| folder.join(name)).collect();
        }
        let mut this = Self { files: Vec::new(), places: HashMap::new() };
        for path in paths {
            let bytes = std::fs::read(&path).map_err(|source| LoadError::Io { path: path.clone(), source })?;
            let names = SafeTensors::deserialize(&bytes)
                .map(|tensors| tensors.names().into_iter().map(str::to_owned).collect::<Vec<_>>())
                .map_err(|e| LoadError::Format { path: path.clone(), reason: e.to_string() })?;
            let place = this.files.len();
            this.places.extend(names.into_iter().map(|name| (name, place)));
            this.files.push((path, bytes));
        }
        Ok(this)
    }

    /// The tensor's format, shape and bytes.
    #[allow(clippy::wildcard_enum_match_arm, reason = "every other type is refused by name")]
    fn find(&self, name: &str) -> Result<(Format, Vec<usize>, &[u8]), LoadError> {
        let name = translate(name);
        let file = self.places.get(&name).and_then(|place| self.files.get(*place));
        let (path, bytes) = file.ok_or_else(|| LoadError::tensor(&name, "is missing"))?;
        let fail = |e: safetensors::SafeTensorError| LoadError::Format { path: path.clone(), reason: e.to_string() };
        let tensors = SafeTensors::deserialize(bytes).map_err(fail)?;
        let view = tensors.tensor(&name).map_err(fail)?;
        let format = match view.dtype() {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::Bf16,
            other => {
                return Err(LoadError::tensor(&name, format!("is of type {other:?}; F32, F16 and BF16 are known")));
            }
        };
        Ok((format, view.shape().to_vec(), view.data()))
    }
}

/// The distinct part names of an index file, each a plain file name.
fn part_names(index: &Path) -> Result<Vec<String>, LoadError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let bytes = std::fs::read(index).map_err(|source| LoadError::Io { path: index.to_owned(), source })?;
    let fail = |reason: String| LoadError::Format { path: index.to_owned(), reason };
    let parsed: Index = serde_json::from_slice(&bytes).map_err(|e| fail(e.to_string()))?;
    let names: std::collections::BTreeSet<String> = parsed.weight_map.into_values().collect();
    if let Some(name) = names.iter().find(|name| name.contains(['/', '\\']) || name.starts_with('.')) {
        return Err(fail(format!("it names `{name}`, which is not a file of the folder")));
    }
    Ok(names.into_iter().collect())
}

/// GGUF's name of a tensor as Hugging Face's Llama spells it.
fn translate(name: &str) -> String {
    const PARTS: [(&str, &str); 9] = [
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ];
    match name {
        "token_embd.weight" => return "model.embed_tokens.weight".to_owned(),
        "output_norm.weight" => return "model.norm.weight".to_owned(),
        "output.weight" => return "lm_head.weight".to_owned(),
        _ => {}
    }
    let mut pieces = name.splitn(3, '.');
    let (Some("blk"), Some(layer), Some(rest)) = (pieces.next(), pieces.next(), pieces.next()) else {
        return name.to_owned();
    };
    let part = rest.strip_suffix(".weight").unwrap_or(rest);
    let part = PARTS.iter().find(|(gguf, _)| *gguf == part).map_or(part, |(_, folder)| folder);
    format!("model.layers.{layer}.{part}.weight")
}

impl Tensors for SafetensorsFolder {
    fn contains(&self, name: &str) -> bool {
        self.places.contains_key(&translate(name))
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<PackedMatrix, LoadError> {
        let (format, shape, bytes) = self.find(name)?;
        if shape != [rows, cols] {
            return Err(LoadError::tensor(name, format!("is {shape:?}, {rows} x {cols} expected")));
        }
        PackedMatrix::pack(format, bytes, rows, cols).map_err(|e| LoadError::tensor(name, e))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let (format, shape, bytes) = self.find(name)?;
        if shape != [len] {
            return Err(LoadError::tensor(name, format!("is {shape:?}, {len} expected")));
        }
        unpack_vector(name, format, bytes)
    }
}
