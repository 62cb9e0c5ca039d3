//! `y = x · Wᵀ` over packed weights: the checked launcher.
//!
//! All tokens of a step go through one product: a tile of weights is read once and meets every token while it is in
//! the first-level cache. Owns: shapes, the split of tiles over threads. Start at `matmul`.

use crate::cpu::{self, Level, matmul_portable};
#[cfg(target_arch = "x86_64")]
use crate::cpu::{matmul_avx2, matmul_avx512};
use crate::pack::{PackedMatrix, Tiles};
use crate::quant::QuantRows;
use crate::{KernelError, LANES, check_len};

/// The left side: f32 rows, or the same rows quantised.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// `[token][cols]`, for f32 weights.
    Full(&'a [f32]),
    /// For quantised weights.
    Quant(&'a QuantRows),
}

/// Where the result goes: row `t` of the output starts at `t · stride + offset`.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Values from one token's output to the next token's.
    pub stride: usize,
    /// Where in a token's output the product starts.
    pub offset: usize,
}

/// One tile's weights, as the inner loops take them.
#[derive(Clone, Copy)]
pub(crate) enum Tile<'a> {
    Four { codes: &'a [u8], scales: &'a [u16] },
    Eight { codes: &'a [u8], scales: &'a [u16] },
    Full { values: &'a [f32] },
}

/// `out[t] = x[t] · weightsᵀ` for every token `t`. `scratch` is a buffer to reuse.
pub fn matmul(
    weights: &PackedMatrix,
    x: Input<'_>,
    out: &mut [f32],
    place: Place,
    scratch: &mut Vec<f32>,
) -> Result<(), KernelError> {
    matmul_at(Level::best(), weights, x, out, place, scratch)
}

/// As `matmul`, with the instruction set given: at most `Level::best()`.
pub fn matmul_at(
    level: Level,
    weights: &PackedMatrix,
    x: Input<'_>,
    out: &mut [f32],
    place: Place,
    scratch: &mut Vec<f32>,
) -> Result<(), KernelError> {
    let tokens = check(weights, x, out, place)?;
    let level = level.min(Level::best());
    let tile_count = weights.rows.div_ceil(LANES);
    if tokens == 0 || tile_count == 0 {
        return Ok(());
    }
    // One token of full tiles is written in place; else tiles write [tile][token][16], which is then turned.
    if tokens == 1 && weights.rows.is_multiple_of(LANES) {
        run(level, weights, x, tokens, &mut out[place.offset..place.offset + weights.rows]);
        return Ok(());
    }
    scratch.clear();
    scratch.resize(tile_count * tokens * LANES, 0.0);
    run(level, weights, x, tokens, scratch);
    for (token, out) in out.chunks_mut(place.stride).enumerate() {
        let out = &mut out[place.offset..place.offset + weights.rows];
        for (tile, out) in out.chunks_mut(LANES).enumerate() {
            let at = (tile * tokens + token) * LANES;
            out.copy_from_slice(&scratch[at..at + out.len()]);
        }
    }
    Ok(())
}

fn run(level: Level, weights: &PackedMatrix, x: Input<'_>, tokens: usize, out: &mut [f32]) {
    let tile_count = weights.rows.div_ceil(LANES);
    // Four parts a thread: enough to level the load, few enough that the hand-over costs little.
    let per_job = tile_count.div_ceil(cpu::threads() * 4).max(1);
    cpu::for_each_chunk(out, per_job * tokens * LANES, |job, out| {
        for (i, out) in out.chunks_exact_mut(tokens * LANES).enumerate() {
            one_tile(level, tile(weights, job * per_job + i), x, out);
        }
    });
}

fn tile(weights: &PackedMatrix, index: usize) -> Tile<'_> {
    fn part<T>(all: &[T], index: usize, count: usize) -> &[T] {
        let len = all.len() / count;
        &all[index * len..(index + 1) * len]
    }
    let count = weights.rows.div_ceil(LANES);
    match &weights.tiles {
        Tiles::Four { codes, scales } => {
            Tile::Four { codes: part(codes, index, count), scales: part(scales, index, count) }
        }
        Tiles::Eight { codes, scales } => {
            Tile::Eight { codes: part(codes, index, count), scales: part(scales, index, count) }
        }
        Tiles::Full { values } => Tile::Full { values: part(values, index, count) },
    }
}

#[allow(unsafe_code)]
fn one_tile(level: Level, tile: Tile<'_>, x: Input<'_>, out: &mut [f32]) {
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level::best()` bounds the level, and it was detected on this processor.
        Level::Avx512 => unsafe { matmul_avx512::tile(tile, x, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { matmul_avx2::tile(tile, x, out) },
        #[cfg(not(target_arch = "x86_64"))]
        Level::Avx512 | Level::Avx2 => matmul_portable::tile(tile, x, out),
        Level::Portable => matmul_portable::tile(tile, x, out),
    }
}

/// The number of tokens, if every shape fits.
fn check(weights: &PackedMatrix, x: Input<'_>, out: &[f32], place: Place) -> Result<usize, KernelError> {
    let tokens = match (x, weights.is_quantised()) {
        (Input::Quant(rows), true) => {
            check_len("quantised row", rows.blocks * crate::quant::BLOCK, weights.cols)?;
            rows.rows
        }
        (Input::Full(x), false) => {
            let tokens = x.len().checked_div(weights.cols).unwrap_or(0);
            check_len("x", x.len(), tokens * weights.cols)?;
            tokens
        }
        (Input::Quant(_), false) | (Input::Full(_), true) => {
            return Err(KernelError::Shape {
                name: "x",
                found: weights.cols,
                rule: "quantised rows for quantised weights, f32 for f32",
            });
        }
    };
    if place.offset.saturating_add(weights.rows) > place.stride {
        return Err(KernelError::Shape {
            name: "stride",
            found: place.stride,
            rule: "at least the offset plus the product's rows",
        });
    }
    check_len("out", out.len(), tokens.saturating_mul(place.stride))?;
    Ok(tokens)
}
