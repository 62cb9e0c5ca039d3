//! One tile's product with AVX-512 VNNI: sixteen rows by four columns a `vpdpbusd`.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, reason = "pointer loads; each block names the bound that holds")]

use std::arch::x86_64::*;

use crate::LANES;
use crate::cpu::matmul_portable;
use crate::matmul::{Input, Tile};
use crate::quant::{BLOCK_BYTES, QuantRows};

/// `out[token][16]` for all tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(crate) fn tile(tile: Tile<'_>, x: Input<'_>, out: &mut [f32]) {
    match (tile, x) {
        (Tile::Four { codes, scales }, Input::Quant(x)) => split(x, out, |x, first, out, count| match count {
            8 => four::<8>(codes, scales, x, first, out),
            4 => four::<4>(codes, scales, x, first, out),
            _ => four::<1>(codes, scales, x, first, out),
        }),
        (Tile::Eight { codes, scales }, Input::Quant(x)) => split(x, out, |x, first, out, count| match count {
            8 => eight::<8>(codes, scales, x, first, out),
            4 => eight::<4>(codes, scales, x, first, out),
            _ => eight::<1>(codes, scales, x, first, out),
        }),
        (Tile::Full { values }, Input::Full(x)) => matmul_portable::full(values, x, out),
        (Tile::Four { .. } | Tile::Eight { .. }, Input::Full(_)) | (Tile::Full { .. }, Input::Quant(_)) => {}
    }
}

/// Eight tokens at a time, then four, then single ones; a token's own sum is the same in each.
#[inline(always)]
fn split(x: &QuantRows, out: &mut [f32], work: impl Fn(&QuantRows, usize, &mut [f32], usize)) {
    let tokens = out.len() / LANES;
    assert!(tokens <= x.rows, "one output row for each input row");
    let mut first = 0;
    while first < tokens {
        let count = match tokens - first {
            8.. => 8,
            4..8 => 4,
            _ => 1,
        };
        work(x, first, &mut out[first * LANES..(first + count) * LANES], count);
        first += count;
    }
}

/// Word `j` of block `at` in all lanes: 0..8 are the high bytes, 8..16 the low ones, of four columns each.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
#[inline]
fn word(x: &QuantRows, at: usize, j: usize) -> __m512i {
    debug_assert!((at + 1) * BLOCK_BYTES <= x.bytes.len() && j < 16);
    // SAFETY: block `at` lies within `bytes` (asserted by the callers), and j < 16 words of 4 bytes lie within a block.
    let word = unsafe { x.bytes.as_ptr().add(at * BLOCK_BYTES + j * 4).cast::<i32>().read_unaligned() };
    _mm512_set1_epi32(word)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
#[inline]
fn halves(scales: &[u16]) -> __m512 {
    let scales: &[u16; 16] = scales.first_chunk().unwrap_or(&[0; 16]);
    // SAFETY: a reference to 16 u16 is 32 readable bytes.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(scales.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
#[inline]
fn load(codes: &[u8], j: usize) -> __m512i {
    let part = &codes[j * 64..(j + 1) * 64];
    // SAFETY: the slice above is 64 bytes long.
    unsafe { _mm512_loadu_si512(part.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
#[inline]
fn store(sums: &[__m512], out: &mut [f32]) {
    for (sum, out) in sums.iter().zip(out.chunks_exact_mut(LANES)) {
        // SAFETY: the chunk is 16 f32 long.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *sum) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn four<const T: usize>(codes: &[u8], scales: &[u16], x: &QuantRows, first: usize, out: &mut [f32]) {
    let blocks = x.blocks;
    assert!((first + T) * blocks * BLOCK_BYTES <= x.bytes.len(), "the tokens lie within the input");
    let low = _mm512_set1_epi8(15);
    let mut sums = [_mm512_setzero_ps(); T];
    for (b, (codes, scales)) in codes.chunks_exact(256).zip(scales.chunks_exact(32)).enumerate().take(blocks) {
        let (mut top, mut rest) = ([_mm512_setzero_si512(); T], [_mm512_setzero_si512(); T]);
        for j in 0..4 {
            let pair = load(codes, j);
            let lows = _mm512_and_si512(pair, low);
            let highs = _mm512_and_si512(_mm512_srli_epi16(pair, 4), low);
            for t in 0..T {
                let at = (first + t) * blocks + b;
                top[t] = _mm512_dpbusd_epi32(top[t], lows, word(x, at, j));
                rest[t] = _mm512_dpbusd_epi32(rest[t], lows, word(x, at, j + 8));
                top[t] = _mm512_dpbusd_epi32(top[t], highs, word(x, at, j + 4));
                rest[t] = _mm512_dpbusd_epi32(rest[t], highs, word(x, at, j + 12));
            }
        }
        let (scale, min) = (halves(scales), halves(&scales[16..]));
        for t in 0..T {
            let at = (first + t) * blocks + b;
            let unit = x.scales[at];
            let scaled = _mm512_mul_ps(scale, _mm512_set1_ps(unit));
            let whole = _mm512_add_epi32(_mm512_slli_epi32(top[t], 7), rest[t]);
            sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), scaled, sums[t]);
            sums[t] = _mm512_fmadd_ps(min, _mm512_set1_ps(unit * x.sums[at] as f32), sums[t]);
        }
    }
    store(&sums, out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn eight<const T: usize>(codes: &[u8], scales: &[u16], x: &QuantRows, first: usize, out: &mut [f32]) {
    let blocks = x.blocks;
    assert!((first + T) * blocks * BLOCK_BYTES <= x.bytes.len(), "the tokens lie within the input");
    let mut sums = [_mm512_setzero_ps(); T];
    for (b, (codes, scales)) in codes.chunks_exact(512).zip(scales.chunks_exact(16)).enumerate().take(blocks) {
        let (mut top, mut rest) = ([_mm512_setzero_si512(); T], [_mm512_setzero_si512(); T]);
        for (t, rest) in rest.iter_mut().enumerate() {
            *rest = _mm512_set1_epi32(-128 * x.sums[(first + t) * blocks + b]);
        }
        for j in 0..8 {
            let codes = load(codes, j);
            for t in 0..T {
                let at = (first + t) * blocks + b;
                top[t] = _mm512_dpbusd_epi32(top[t], codes, word(x, at, j));
                rest[t] = _mm512_dpbusd_epi32(rest[t], codes, word(x, at, j + 8));
            }
        }
        let scale = halves(scales);
        for t in 0..T {
            let unit = x.scales[(first + t) * blocks + b];
            let scaled = _mm512_mul_ps(scale, _mm512_set1_ps(unit));
            let whole = _mm512_add_epi32(_mm512_slli_epi32(top[t], 7), rest[t]);
            sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), scaled, sums[t]);
        }
    }
    store(&sums, out);
}
