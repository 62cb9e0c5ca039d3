//! Weights as the processor wants them: sixteen output rows interleaved into a tile.
//!
//! ```text
//! 4-bit tile, per block of 32 columns: 4 × 64 bytes; byte (j, row, c) holds columns 4j+c (low half) and 16+4j+c (high)
//! 8-bit tile, per block of 32 columns: 8 × 64 bytes; byte (j, row, c) holds column 4j+c, plus 128
//! f32 tile:   [column][row]
//! ```
//!
//! So one 64-byte register meets four columns of sixteen rows, and the four activations are one broadcast word.
//! Values are those of the file: repacking moves bits, it never rounds. `w = scale · q + min` for 4 bits,
//! `w = scale · (q − 128)` for 8. Owns: the layouts and the file formats of blocks. Refuses: K-quants, which the
//! caller turns into f32 first.

use half::f16;

use crate::quant::BLOCK;
use crate::{KernelError, LANES, check_len};

/// How one matrix's rows lie in a file; quantised rows are blocks of 32 columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// f16 scale, 16 bytes; `scale · (q − 8)`.
    Q4_0,
    /// f16 scale, f16 minimum, 16 bytes; `scale · q + min`.
    Q4_1,
    /// f16 scale, 32 signed bytes.
    Q8_0,
    /// Little-endian f32.
    F32,
    /// Little-endian f16.
    F16,
    /// Little-endian bfloat16.
    Bf16,
}

impl Format {
    /// Bytes of one row of `cols` values; `None` where `cols` doesn't fit the block.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let blocks = cols / BLOCK;
        let whole = cols.is_multiple_of(BLOCK);
        match self {
            Self::Q4_0 => whole.then_some(blocks * 18),
            Self::Q4_1 => whole.then_some(blocks * 20),
            Self::Q8_0 => whole.then_some(blocks * 34),
            Self::F32 => Some(cols * 4),
            Self::F16 | Self::Bf16 => Some(cols * 2),
        }
    }
}

/// The values of a packed matrix.
#[derive(Debug, Clone)]
pub(crate) enum Tiles {
    /// `codes`: `[tile][block][256]`; `scales`: `[tile][block][scale × 16, min × 16]` as f16 bits.
    Four { codes: Vec<u8>, scales: Vec<u16> },
    /// `codes`: `[tile][block][512]`; `scales`: `[tile][block][16]` as f16 bits.
    Eight { codes: Vec<u8>, scales: Vec<u16> },
    /// `[tile][column][16]`.
    Full { values: Vec<f32> },
}

/// A weight matrix, `rows` outputs by `cols` inputs, packed into tiles of sixteen rows (the last one padded with 0).
#[derive(Debug, Clone)]
pub struct PackedMatrix {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) tiles: Tiles,
}

impl PackedMatrix {
    /// Packs `rows × cols` values that lie row by row in `bytes`.
    pub fn pack(format: Format, bytes: &[u8], rows: usize, cols: usize) -> Result<Self, KernelError> {
        let row_bytes = format.row_bytes(cols).filter(|bytes| *bytes > 0);
        let row_bytes =
            row_bytes.ok_or(KernelError::Shape { name: "cols", found: cols, rule: "whole blocks of 32" })?;
        check_len("weights", bytes.len(), rows.saturating_mul(row_bytes))?;
        let tiles = rows.div_ceil(LANES);
        let row = |tile: usize, lane: usize| bytes.chunks_exact(row_bytes).nth(tile * LANES + lane);
        let tiles = match format {
            Format::Q4_0 => pack_four(tiles, cols, row, |block| {
                let scale = f16::from_le_bytes([block[0], block[1]]);
                (scale.to_bits(), f16::from_f32(scale.to_f32() * -8.0).to_bits(), 2)
            }),
            Format::Q4_1 => pack_four(tiles, cols, row, |block| {
                (u16::from_le_bytes([block[0], block[1]]), u16::from_le_bytes([block[2], block[3]]), 4)
            }),
            Format::Q8_0 => pack_eight(tiles, cols, row),
            Format::F32 => pack_full(tiles, cols, row, 4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Format::F16 => pack_full(tiles, cols, row, 2, |b| f16::from_le_bytes([b[0], b[1]]).to_f32()),
            Format::Bf16 => pack_full(tiles, cols, row, 2, |b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        };
        Ok(Self { rows, cols, tiles })
    }

    /// Outputs of the product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of the product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Whether the product wants its left side as quantised rows.
    pub fn is_quantised(&self) -> bool {
        !matches!(self.tiles, Tiles::Full { .. })
    }

    /// Bytes that the weights occupy, scales included.
    pub fn bytes(&self) -> usize {
        match &self.tiles {
            Tiles::Four { codes, scales } | Tiles::Eight { codes, scales } => codes.len() + 2 * scales.len(),
            Tiles::Full { values } => 4 * values.len(),
        }
    }

    /// Appends `other`'s rows below these: one product then gives both. Both must be of the same format and width,
    /// and these rows must fill their last tile; if not, `other` comes back unharmed.
    pub fn stack(&mut self, other: Self) -> Result<(), Self> {
        if self.cols != other.cols || !self.rows.is_multiple_of(LANES) {
            return Err(other);
        }
        let (rows, cols) = (other.rows, other.cols);
        match (&mut self.tiles, other.tiles) {
            (Tiles::Four { codes, scales }, Tiles::Four { codes: more, scales: more_scales })
            | (Tiles::Eight { codes, scales }, Tiles::Eight { codes: more, scales: more_scales }) => {
                codes.extend(more);
                scales.extend(more_scales);
            }
            (Tiles::Full { values }, Tiles::Full { values: more }) => values.extend(more),
            (Tiles::Four { .. } | Tiles::Eight { .. } | Tiles::Full { .. }, tiles) => {
                return Err(Self { rows, cols, tiles });
            }
        }
        self.rows += rows;
        Ok(())
    }

    /// The same values in f32 tiles: products then take unrounded activations. Four to six times the memory.
    pub fn widen(&self) -> Self {
        let tiles = self.rows.div_ceil(LANES);
        let mut values = vec![0.0_f32; tiles * self.cols * LANES];
        let mut row = vec![0.0_f32; self.cols];
        for index in 0..self.rows {
            if self.row(index, &mut row).is_ok() {
                for (col, value) in row.iter().enumerate() {
                    values[(index / LANES * self.cols + col) * LANES + index % LANES] = *value;
                }
            }
        }
        Self { rows: self.rows, cols: self.cols, tiles: Tiles::Full { values } }
    }

    /// Writes row `row` as f32 into `out`: an embedding look-up.
    pub fn row(&self, row: usize, out: &mut [f32]) -> Result<(), KernelError> {
        check_len("out", out.len(), self.cols)?;
        if row >= self.rows {
            return Err(KernelError::Shape { name: "row", found: row, rule: "below the matrix's rows" });
        }
        let (tile, lane) = (row / LANES, row % LANES);
        let blocks = self.cols / BLOCK;
        for (col, out) in out.iter_mut().enumerate() {
            let (block, i) = (tile * blocks + col / BLOCK, col % BLOCK);
            *out = match &self.tiles {
                Tiles::Four { codes, scales } => {
                    let byte = codes[block * 256 + (i % 16) / 4 * 64 + lane * 4 + i % 4];
                    let code = if i < 16 { byte & 15 } else { byte >> 4 };
                    let [scale, min] = [scales[block * 32 + lane], scales[block * 32 + 16 + lane]]
                        .map(|bits| f16::from_bits(bits).to_f32());
                    scale.mul_add(f32::from(code), min)
                }
                Tiles::Eight { codes, scales } => {
                    let code = codes[block * 512 + i / 4 * 64 + lane * 4 + i % 4];
                    f16::from_bits(scales[block * 16 + lane]).to_f32() * (f32::from(code) - 128.0)
                }
                Tiles::Full { values } => values[(tile * self.cols + col) * LANES + lane],
            };
        }
        Ok(())
    }
}

fn pack_four<'a>(
    tiles: usize,
    cols: usize,
    row: impl Fn(usize, usize) -> Option<&'a [u8]>,
    head: impl Fn(&[u8]) -> (u16, u16, usize),
) -> Tiles {
    let blocks = cols / BLOCK;
    let mut codes = vec![0_u8; tiles * blocks * 256];
    let mut scales = vec![0_u16; tiles * blocks * 32];
    for tile in 0..tiles {
        for lane in 0..LANES {
            let Some(row) = row(tile, lane) else { continue };
            for (b, block) in row.chunks_exact(row.len() / blocks).enumerate() {
                let at = tile * blocks + b;
                let (scale, min, skip) = head(block);
                scales[at * 32 + lane] = scale;
                scales[at * 32 + 16 + lane] = min;
                for (i, byte) in block[skip..].iter().enumerate() {
                    codes[at * 256 + i / 4 * 64 + lane * 4 + i % 4] = *byte;
                }
            }
        }
    }
    Tiles::Four { codes, scales }
}

fn pack_eight<'a>(tiles: usize, cols: usize, row: impl Fn(usize, usize) -> Option<&'a [u8]>) -> Tiles {
    let blocks = cols / BLOCK;
    let mut codes = vec![128_u8; tiles * blocks * 512];
    let mut scales = vec![0_u16; tiles * blocks * 16];
    for tile in 0..tiles {
        for lane in 0..LANES {
            let Some(row) = row(tile, lane) else { continue };
            for (b, block) in row.chunks_exact(34).enumerate() {
                let at = tile * blocks + b;
                scales[at * 16 + lane] = u16::from_le_bytes([block[0], block[1]]);
                for (i, byte) in block[2..].iter().enumerate() {
                    codes[at * 512 + i / 4 * 64 + lane * 4 + i % 4] = byte.wrapping_add(128);
                }
            }
        }
    }
    Tiles::Eight { codes, scales }
}

fn pack_full<'a>(
    tiles: usize,
    cols: usize,
    row: impl Fn(usize, usize) -> Option<&'a [u8]>,
    width: usize,
    read: impl Fn(&[u8]) -> f32,
) -> Tiles {
    let mut values = vec![0.0_f32; tiles * cols * LANES];
    for tile in 0..tiles {
        for lane in 0..LANES {
            let Some(row) = row(tile, lane) else { continue };
            for (col, bytes) in row.chunks_exact(width).enumerate() {
                values[(tile * cols + col) * LANES + lane] = read(bytes);
            }
        }
    }
    Tiles::Full { values }
}

/// `values` as Q8_0 rows of `cols` values each, for formats that have no tiles of their own.
pub fn quantise_q8(values: &[f32], cols: usize) -> Result<Vec<u8>, KernelError> {
    if cols == 0 || !cols.is_multiple_of(BLOCK) || !values.len().is_multiple_of(cols) {
        return Err(KernelError::Shape { name: "cols", found: cols, rule: "whole blocks of 32" });
    }
    let mut out = Vec::with_capacity(values.len() / BLOCK * 34);
    for block in values.chunks_exact(BLOCK) {
        let peak = block.iter().fold(0.0_f32, |peak, v| peak.max(v.abs()));
        let scale = f16::from_f32(peak / 127.0);
        let inverse = if scale.to_f32() > 0.0 { 1.0 / scale.to_f32() } else { 0.0 };
        out.extend(scale.to_le_bytes());
        out.extend(block.iter().map(|v| ((v * inverse).round().clamp(-127.0, 127.0) as i8).to_le_bytes()[0]));
    }
    Ok(out)
}
