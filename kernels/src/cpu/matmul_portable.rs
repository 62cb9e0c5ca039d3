//! One tile's product in plain Rust: what runs without AVX2, and the body of the f32 product at every level.
//!
//! The integer sums are exact and the f32 operations are the same, in the same order, as in the SIMD versions.

use half::f16;

use crate::LANES;
use crate::matmul::{Input, Tile};
use crate::quant::{BLOCK, BLOCK_BYTES, QuantRows};

/// `out[token][16]` for all tokens.
pub(crate) fn tile(tile: Tile<'_>, x: Input<'_>, out: &mut [f32]) {
    match (tile, x) {
        (Tile::Four { codes, scales }, Input::Quant(x)) => four(codes, scales, x, out),
        (Tile::Eight { codes, scales }, Input::Quant(x)) => eight(codes, scales, x, out),
        (Tile::Full { values }, Input::Full(x)) => full(values, x, out),
        // The launcher pairs them.
        (Tile::Four { .. } | Tile::Eight { .. }, Input::Full(_)) | (Tile::Full { .. }, Input::Quant(_)) => {}
    }
}

fn four(codes: &[u8], scales: &[u16], x: &QuantRows, out: &mut [f32]) {
    for (token, out) in out.chunks_exact_mut(LANES).enumerate() {
        out.fill(0.0);
        for b in 0..x.blocks {
            let at = token * x.blocks + b;
            let min_unit = x.scales[at] * x.sums[at] as f32;
            for (lane, out) in out.iter_mut().enumerate() {
                let mut sum = 0_i32;
                for i in 0..16 {
                    let byte = codes[b * 256 + i / 4 * 64 + lane * 4 + i % 4];
                    sum += i32::from(byte & 15) * whole(x, at, i) + i32::from(byte >> 4) * whole(x, at, 16 + i);
                }
                let scale = f16::from_bits(scales[b * 32 + lane]).to_f32();
                let min = f16::from_bits(scales[b * 32 + 16 + lane]).to_f32();
                *out = (sum as f32).mul_add(scale * x.scales[at], *out);
                *out = min.mul_add(min_unit, *out);
            }
        }
    }
}

fn eight(codes: &[u8], scales: &[u16], x: &QuantRows, out: &mut [f32]) {
    for (token, out) in out.chunks_exact_mut(LANES).enumerate() {
        out.fill(0.0);
        for b in 0..x.blocks {
            let at = token * x.blocks + b;
            for (lane, out) in out.iter_mut().enumerate() {
                let mut sum = -128 * x.sums[at];
                for i in 0..BLOCK {
                    sum += i32::from(codes[b * 512 + i / 4 * 64 + lane * 4 + i % 4]) * whole(x, at, i);
                }
                let scale = f16::from_bits(scales[b * 16 + lane]).to_f32();
                *out = (sum as f32).mul_add(scale * x.scales[at], *out);
            }
        }
    }
}

/// Integer `i` of block `at`.
fn whole(x: &QuantRows, at: usize, i: usize) -> i32 {
    128 * i32::from(x.bytes[at * BLOCK_BYTES + i]) + i32::from(x.bytes[at * BLOCK_BYTES + BLOCK + i])
}

/// The f32 product, compiled again with wider registers by the SIMD modules.
#[inline(always)]
pub(crate) fn full(values: &[f32], x: &[f32], out: &mut [f32]) {
    let cols = values.len() / LANES;
    // Four tokens share each load of weights; a token's own sum doesn't depend on its neighbours.
    let mut xs = x.chunks_exact(4 * cols);
    let mut outs = out.chunks_exact_mut(4 * LANES);
    for (x, out) in (&mut xs).zip(&mut outs) {
        full_tokens::<4>(values, x, out, cols);
    }
    for (x, out) in xs.remainder().chunks_exact(cols).zip(outs.into_remainder().chunks_exact_mut(LANES)) {
        full_tokens::<1>(values, x, out, cols);
    }
}

#[inline(always)]
fn full_tokens<const T: usize>(values: &[f32], x: &[f32], out: &mut [f32], cols: usize) {
    let mut sums = [[0.0_f32; LANES]; T];
    let rows: [&[f32]; T] = std::array::from_fn(|token| &x[token * cols..(token + 1) * cols]);
    for (col, weights) in values.as_chunks::<LANES>().0.iter().enumerate() {
        for token in 0..T {
            let x = rows[token][col];
            for lane in 0..LANES {
                sums[token][lane] = weights[lane].mul_add(x, sums[token][lane]);
            }
        }
    }
    for (sums, out) in sums.iter().zip(out.chunks_exact_mut(LANES)) {
        out.copy_from_slice(sums);
    }
}
