//! One tile's product with AVX2: eight rows by four columns a `vpmaddubsw`; a tile is two halves of eight rows.
//!
//! Eight products of at most 15 · 127 · 2 fit a signed 16-bit sum (30,480), so one block needs one widening. 8-bit
//! codes are taken as two 4-bit ones for the same reason: the sums stay exact.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, reason = "pointer loads; each block names the bound that holds")]

use std::arch::x86_64::*;

use crate::LANES;
use crate::cpu::matmul_portable;
use crate::matmul::{Input, Tile};
use crate::quant::{BLOCK_BYTES, QuantRows};

/// `out[token][16]` for all tokens.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn tile(tile: Tile<'_>, x: Input<'_>, out: &mut [f32]) {
    match (tile, x) {
        (Tile::Four { codes, scales }, Input::Quant(x)) => {
            for (token, out) in out.chunks_exact_mut(LANES).enumerate() {
                four(codes, scales, x, token, out);
            }
        }
        (Tile::Eight { codes, scales }, Input::Quant(x)) => {
            for (token, out) in out.chunks_exact_mut(LANES).enumerate() {
                eight(codes, scales, x, token, out);
            }
        }
        (Tile::Full { values }, Input::Full(x)) => matmul_portable::full(values, x, out),
        (Tile::Four { .. } | Tile::Eight { .. }, Input::Full(_)) | (Tile::Full { .. }, Input::Quant(_)) => {}
    }
}

/// Word `j` of a block in all lanes: 0..8 are the high bytes, 8..16 the low ones, of four columns each.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn word(block: &[i8], j: usize) -> __m256i {
    let part = &block[j * 4..j * 4 + 4];
    // SAFETY: the slice above is 4 bytes long.
    _mm256_set1_epi32(unsafe { part.as_ptr().cast::<i32>().read_unaligned() })
}

/// Half `half` (eight rows of four columns) of the 64 bytes of group `j`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn load(codes: &[u8], j: usize, half: usize) -> __m256i {
    let at = j * 64 + half * 32;
    let part = &codes[at..at + 32];
    // SAFETY: the slice above is 32 bytes long.
    unsafe { _mm256_loadu_si256(part.as_ptr().cast()) }
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn halves(scales: &[u16]) -> __m256 {
    let scales: &[u16; 8] = scales.first_chunk().unwrap_or(&[0; 8]);
    // SAFETY: a reference to 8 u16 is 16 readable bytes.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(scales.as_ptr().cast()) })
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn store(sums: [__m256; 2], out: &mut [f32]) {
    for (sum, out) in sums.iter().zip(out.chunks_exact_mut(8)) {
        // SAFETY: the chunk is 8 f32 long.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), *sum) };
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn four(codes: &[u8], scales: &[u16], x: &QuantRows, token: usize, out: &mut [f32]) {
    let (low, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let mut sums = [_mm256_setzero_ps(); 2];
    for (b, (codes, scales)) in codes.chunks_exact(256).zip(scales.chunks_exact(32)).enumerate().take(x.blocks) {
        let at = token * x.blocks + b;
        let block = &x.bytes[at * BLOCK_BYTES..(at + 1) * BLOCK_BYTES];
        let unit = x.scales[at];
        let min_unit = _mm256_set1_ps(unit * x.sums[at] as f32);
        for (half, sum) in sums.iter_mut().enumerate() {
            let mut short = [_mm256_setzero_si256(); 2];
            for j in 0..4 {
                let pair = load(codes, j, half);
                let lows = _mm256_and_si256(pair, low);
                let highs = _mm256_and_si256(_mm256_srli_epi16(pair, 4), low);
                for (plane, short) in short.iter_mut().enumerate() {
                    *short = _mm256_add_epi16(*short, _mm256_maddubs_epi16(lows, word(block, plane * 8 + j)));
                    *short = _mm256_add_epi16(*short, _mm256_maddubs_epi16(highs, word(block, plane * 8 + j + 4)));
                }
            }
            let [top, rest] = short.map(|short| _mm256_madd_epi16(short, ones));
            let whole = _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_slli_epi32(top, 7), rest));
            let scaled = _mm256_mul_ps(halves(&scales[half * 8..]), _mm256_set1_ps(unit));
            *sum = _mm256_fmadd_ps(whole, scaled, *sum);
            *sum = _mm256_fmadd_ps(halves(&scales[16 + half * 8..]), min_unit, *sum);
        }
    }
    store(sums, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn eight(codes: &[u8], scales: &[u16], x: &QuantRows, token: usize, out: &mut [f32]) {
    let (low, ones, sixteen) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1), _mm256_set1_epi16(16));
    let mut sums = [_mm256_setzero_ps(); 2];
    for (b, (codes, scales)) in codes.chunks_exact(512).zip(scales.chunks_exact(16)).enumerate().take(x.blocks) {
        let at = token * x.blocks + b;
        let block = &x.bytes[at * BLOCK_BYTES..(at + 1) * BLOCK_BYTES];
        let offset = _mm256_set1_epi32(-128 * x.sums[at]);
        for (half, sum) in sums.iter_mut().enumerate() {
            let (mut small, mut large) = ([_mm256_setzero_si256(); 2], [_mm256_setzero_si256(); 2]);
            for j in 0..8 {
                let codes = load(codes, j, half);
                let lows = _mm256_and_si256(codes, low);
                let highs = _mm256_and_si256(_mm256_srli_epi16(codes, 4), low);
                for plane in 0..2 {
                    let word = word(block, plane * 8 + j);
                    small[plane] = _mm256_add_epi16(small[plane], _mm256_maddubs_epi16(lows, word));
                    large[plane] = _mm256_add_epi16(large[plane], _mm256_maddubs_epi16(highs, word));
                }
            }
            let join = |plane| {
                _mm256_add_epi32(_mm256_madd_epi16(small[plane], ones), _mm256_madd_epi16(large[plane], sixteen))
            };
            let whole = _mm256_add_epi32(_mm256_slli_epi32(join(0), 7), join(1));
            let whole = _mm256_cvtepi32_ps(_mm256_add_epi32(whole, offset));
            let scaled = _mm256_mul_ps(halves(&scales[half * 8..]), _mm256_set1_ps(x.scales[at]));
            *sum = _mm256_fmadd_ps(whole, scaled, *sum);
        }
    }
    store(sums, out);
}
