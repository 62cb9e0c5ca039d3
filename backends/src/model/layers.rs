//! The parts that a transformer is made of, each a few lines over `weir-kernels`.
//!
//! Owns: which matrices are multiplied in one go ([`Linear`]), the buffers that steps share ([`Scratch`]).

use weir_kernels::KernelError;
use weir_kernels::matmul::{Input, Place, matmul};
use weir_kernels::pack::PackedMatrix;
use weir_kernels::quant::QuantRows;
use weir_kernels::vector::rms_norm;

use super::LoadError;
use super::weights::Tensors;

/// Several weight matrices with the same input; their outputs lie one after another in a token's row.
#[derive(Debug, Clone)]
pub struct Linear {
    parts: Vec<PackedMatrix>,
    rows: usize,
    cols: usize,
}

impl Linear {
    /// Loads matrices of `cols` inputs each, given by name and outputs; those of one format become one product.
    ///
    /// # Errors
    /// [`LoadError`] from the tensors.
    pub fn load(tensors: &mut dyn Tensors, parts: &[(&str, usize)], cols: usize) -> Result<Self, LoadError> {
        let mut this = Self { parts: Vec::new(), rows: 0, cols };
        for (name, rows) in parts {
            this.push(tensors.matrix(name, *rows, cols)?);
        }
        Ok(this)
    }

    fn push(&mut self, matrix: PackedMatrix) {
        self.rows = self.rows.saturating_add(matrix.rows());
        let left = match self.parts.last_mut() {
            Some(last) => last.stack(matrix).err(),
            None => Some(matrix),
        };
        self.parts.extend(left);
    }

    /// Outputs of one token.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(PackedMatrix::bytes).sum()
    }

    /// `out` becomes `x · Wᵀ` for every row of `x`.
    ///
    /// # Errors
    /// [`KernelError`] when `x` is not whole rows.
    pub fn forward(&self, x: &[f32], out: &mut Vec<f32>, scratch: &mut MatmulScratch) -> Result<(), KernelError> {
        product(&self.parts, (self.rows, self.cols), x, out, scratch)
    }
}

/// As [`Linear::forward`], for a matrix that is also an embedding table.
///
/// # Errors
/// [`KernelError`] when `x` is not whole rows.
pub fn project(
    matrix: &PackedMatrix,
    x: &[f32],
    out: &mut Vec<f32>,
    scratch: &mut MatmulScratch,
) -> Result<(), KernelError> {
    product(std::slice::from_ref(matrix), (matrix.rows(), matrix.cols()), x, out, scratch)
}

fn product(
    parts: &[PackedMatrix],
    (rows, cols): (usize, usize),
    x: &[f32],
    out: &mut Vec<f32>,
    scratch: &mut MatmulScratch,
) -> Result<(), KernelError> {
    let tokens = x.len().checked_div(cols).unwrap_or(0);
    out.resize(tokens.saturating_mul(rows), 0.0);
    if parts.iter().any(PackedMatrix::is_quantised) {
        scratch.quant.fill(x, cols)?;
    }
    let mut offset = 0_usize;
    for part in parts {
        let input = if part.is_quantised() { Input::Quant(&scratch.quant) } else { Input::Full(x) };
        matmul(part, input, out, Place { stride: rows, offset }, &mut scratch.turned)?;
        offset = offset.saturating_add(part.rows());
    }
    Ok(())
}

/// Root-mean-square norm.
#[derive(Debug, Clone)]
pub struct Norm {
    weight: Vec<f32>,
    eps: f32,
}

impl Norm {
    /// Loads the norm's weights.
    ///
    /// # Errors
    /// [`LoadError`] from the tensors.
    pub fn load(tensors: &mut dyn Tensors, name: &str, len: usize, eps: f32) -> Result<Self, LoadError> {
        Ok(Self { weight: tensors.vector(name, len)?, eps })
    }

    /// `out` becomes the norm of every row of `x`.
    ///
    /// # Errors
    /// [`KernelError`] when `x` is not whole rows.
    pub fn forward(&self, x: &[f32], out: &mut Vec<f32>) -> Result<(), KernelError> {
        out.resize(x.len(), 0.0);
        rms_norm(x, &self.weight, self.eps, out)
    }
}

/// What a product needs besides its arguments.
#[derive(Debug, Default)]
pub struct MatmulScratch {
    quant: QuantRows,
    turned: Vec<f32>,
}

/// Buffers of one step, kept from step to step; each grows to the largest step's size and stays.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The residual stream, `[token][width]`.
    pub stream: Vec<f32>,
    /// A norm's output.
    pub normed: Vec<f32>,
    /// Queries, keys and values side by side, or gates and ups.
    pub wide: Vec<f32>,
    /// Queries alone, `[token][query head][dim]`.
    pub queries: Vec<f32>,
    /// Attention's output, or the gated activation.
    pub mixed: Vec<f32>,
    /// A branch's output before it joins the stream.
    pub branch: Vec<f32>,
    /// For products.
    pub matmul: MatmulScratch,
}
