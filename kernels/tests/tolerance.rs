//! The fast operations against the f64 reference, at every instruction set that this machine has.
//!
//! Tolerances: attention 1e-5 absolute (values within ±1, so 1e-5 is about 80 units in the last place of 1.0);
//! a product over quantised weights: half a unit of each activation's rounding, summed as a random walk.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test")]

mod support;

use support::Noise;
use weir_kernels::cpu::Level;
use weir_kernels::matmul::{Input, Place, matmul_at};
use weir_kernels::pack::{Format, PackedMatrix, quantise_q8};
use weir_kernels::paged_attention::{Heads, KvPages, Span, paged_attention, paged_attention_at, write_kv};
use weir_kernels::quant::QuantRows;
use weir_kernels::{KernelError, PAGE_TOKENS, reference};

const ATTENTION_TOLERANCE: f64 = 1e-5;

/// A pool of pages filled through `write_kv`, pages handed out in a scrambled order; unused slots hold NaN.
struct Pool {
    heads: Heads,
    keys: Vec<f32>,
    values: Vec<f32>,
    tables: Vec<Vec<u32>>,
}

impl Pool {
    fn fill(heads: Heads, lengths: &[usize], noise: &mut Noise) -> Self {
        let needed: usize = lengths.iter().map(|len| len.div_ceil(PAGE_TOKENS)).sum();
        let mut free: Vec<u32> = (0..needed as u32 + 3).collect();
        for i in (1..free.len()).rev() {
            free.swap(i, noise.bits() as usize % (i + 1));
        }
        let pool = (needed + 3) * heads.page_len();
        let mut out = Self { heads, keys: vec![f32::NAN; pool], values: vec![f32::NAN; pool], tables: vec![] };
        for len in lengths {
            let table: Vec<u32> = free.drain(..len.div_ceil(PAGE_TOKENS)).collect();
            for pos in 0..*len {
                let (keys, values) = (noise.vec(heads.kv * heads.dim), noise.vec(heads.kv * heads.dim));
                write_kv(heads, &mut out.keys, &mut out.values, &table, pos, (&keys, &values)).unwrap();
            }
            out.tables.push(table);
        }
        out
    }

    fn pages(&self) -> KvPages<'_> {
        KvPages { keys: &self.keys, values: &self.values }
    }
}

fn compare(heads: Heads, chunks: &[(usize, usize)], noise: &mut Noise) {
    let lengths: Vec<usize> = chunks.iter().map(|(pos, len)| pos + len).collect();
    let pool = Pool::fill(heads, &lengths, noise);
    let spans: Vec<Span<'_>> =
        chunks.iter().zip(&pool.tables).map(|((pos, len), pages)| Span { pos: *pos, len: *len, pages }).collect();
    let tokens: usize = chunks.iter().map(|(_, len)| len).sum();
    let queries: Vec<f32> = noise.vec(tokens * heads.query * heads.dim).iter().map(|v| v * 4.0).collect();
    let want = reference::paged_attention(pool.heads, pool.pages(), &spans, &queries);
    let mut first: Option<Vec<f32>> = None;
    for level in Level::available() {
        let mut out = vec![f32::NAN; queries.len()];
        paged_attention_at(level, heads, pool.pages(), &spans, &queries, &mut out).unwrap();
        for (i, (got, want)) in out.iter().zip(&want).enumerate() {
            let error = (f64::from(*got) - want).abs();
            assert!(error <= ATTENTION_TOLERANCE, "{level:?} {heads:?} {chunks:?} value {i}: {got} for {want}");
        }
        let first = first.get_or_insert_with(|| out.clone());
        assert!(*first == out, "{level:?} gives other bits than the first level: {heads:?} {chunks:?}");
    }
}

#[test]
fn attention_agrees_with_the_reference_over_many_shapes() {
    let mut noise = Noise(1);
    for dim in [16, 32, 64, 80, 96, 128, 256] {
        for (kv, group) in [(1, 1), (1, 8), (3, 3), (2, 4), (4, 1), (1, 16)] {
            let heads = Heads { query: kv * group, kv, dim };
            for chunks in [&[(0, 1)][..], &[(15, 1)], &[(16, 1)], &[(0, 33)], &[(40, 1), (0, 5), (17, 16), (63, 2)]] {
                compare(heads, chunks, &mut noise);
            }
        }
    }
    compare(Heads { query: 9, kv: 3, dim: 64 }, &[(1_000, 1), (511, 3)], &mut noise);
}

#[test]
fn attention_in_chunks_gives_the_bits_of_attention_in_one() {
    let heads = Heads { query: 6, kv: 2, dim: 32 };
    let mut noise = Noise(2);
    let pool = Pool::fill(heads, &[75], &mut noise);
    let row = heads.query * heads.dim;
    let queries = noise.vec(75 * row);
    let mut whole = vec![0.0; queries.len()];
    let span = |pos, len| [Span { pos, len, pages: &pool.tables[0] }];
    paged_attention(heads, pool.pages(), &span(0, 75), &queries, &mut whole).unwrap();
    for step in [1, 7, 16, 40] {
        let mut parts = vec![0.0; queries.len()];
        for pos in (0..75).step_by(step) {
            let end = (pos + step).min(75);
            let range = pos * row..end * row;
            paged_attention(heads, pool.pages(), &span(pos, end - pos), &queries[range.clone()], &mut parts[range])
                .unwrap();
        }
        assert!(parts == whole, "chunks of {step}");
    }
}

#[test]
fn attention_refuses_what_does_not_fit() {
    let heads = Heads { query: 2, kv: 1, dim: 16 };
    let pool = vec![0.0; 2 * heads.page_len()];
    let kv = KvPages { keys: &pool, values: &pool };
    let mut out = vec![0.0; 32];
    let mut run = |heads, pages: &[u32], pos, queries: &[f32]| {
        paged_attention(heads, kv, &[Span { pos, len: 1, pages }], queries, &mut out)
    };
    let query = [0.0; 32];
    assert_eq!(run(heads, &[0], 0, &query), Ok(()));
    assert_eq!(run(heads, &[2], 0, &query), Err(KernelError::Page { index: 0, page: 2, pages: 2 }));
    assert_eq!(run(heads, &[0], 16, &query), Err(KernelError::Table { found: 1, needed: 2, tokens: 17 }));
    assert!(matches!(run(heads, &[0], 0, &query[1..]), Err(KernelError::Length { name: "queries", .. })));
    assert!(matches!(run(heads, &[0, 1], usize::MAX, &query), Err(KernelError::Table { .. })));
    assert!(matches!(
        run(Heads { dim: 24, ..heads }, &[0], 0, &query),
        Err(KernelError::Shape { name: "head_dim", .. })
    ));
    assert!(matches!(run(Heads { kv: 4, ..heads }, &[0], 0, &query), Err(KernelError::Shape { .. })));
}

fn weights(format: Format, rows: usize, cols: usize, noise: &mut Noise) -> PackedMatrix {
    let values = noise.vec(rows * cols);
    let bytes: Vec<u8> = match format {
        Format::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Format::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
        Format::Bf16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        Format::Q8_0 => quantise_q8(&values, cols).unwrap(),
        Format::Q4_0 | Format::Q4_1 => {
            let mut bytes = Vec::new();
            for _ in 0..rows * cols / 32 {
                bytes.extend(half::f16::from_f32(noise.next() * 0.1).to_le_bytes());
                if format == Format::Q4_1 {
                    bytes.extend(half::f16::from_f32(noise.next()).to_le_bytes());
                }
                bytes.extend((0..16).map(|_| noise.bits() as u8));
            }
            bytes
        }
    };
    PackedMatrix::pack(format, &bytes, rows, cols).unwrap()
}

#[test]
fn products_agree_with_the_reference_and_with_each_other() {
    let mut noise = Noise(3);
    for format in [Format::Q4_0, Format::Q4_1, Format::Q8_0, Format::F32, Format::F16, Format::Bf16] {
        for (rows, cols) in [(16, 32), (48, 576), (40, 96), (5, 64), (960, 160)] {
            let weights = weights(format, rows, cols, &mut noise);
            for tokens in [1, 2, 4, 9, 21] {
                let x = noise.vec(tokens * cols);
                let want = reference::matmul(&weights, &x);
                let mut quant = QuantRows::default();
                quant.fill(&x, cols).unwrap();
                let input = if weights.is_quantised() { Input::Quant(&quant) } else { Input::Full(&x) };
                // Rounding an activation within ±1 to 16,256 steps: at most 1/32,512 each, weights within about ±2.5.
                let tolerance = if weights.is_quantised() { (cols as f64).sqrt() * 2.5 * 4.0 / 32_512.0 } else { 1e-4 };
                let mut first: Option<Vec<f32>> = None;
                for level in Level::available() {
                    let mut out = vec![0.0; tokens * (rows + 3)];
                    let place = Place { stride: rows + 3, offset: 2 };
                    matmul_at(level, &weights, input, &mut out, place, &mut Vec::new()).unwrap();
                    for (i, want) in want.iter().enumerate() {
                        let got = out[i / rows * (rows + 3) + 2 + i % rows];
                        let error = (f64::from(got) - want).abs();
                        assert!(error <= tolerance, "{level:?} {format:?} {rows}x{cols} t{tokens}: {got} for {want}");
                    }
                    let first = first.get_or_insert_with(|| out.clone());
                    assert!(*first == out, "{level:?} gives other bits: {format:?} {rows}x{cols} t{tokens}");
                }
            }
        }
    }
}

#[test]
fn a_token_gets_the_same_bits_alone_and_in_a_batch() {
    let mut noise = Noise(4);
    for format in [Format::Q4_1, Format::Q8_0, Format::F32] {
        let weights = weights(format, 64, 64, &mut noise);
        let x = noise.vec(23 * 64);
        let product = |x: &[f32]| {
            let mut quant = QuantRows::default();
            quant.fill(x, 64).unwrap();
            let input = if weights.is_quantised() { Input::Quant(&quant) } else { Input::Full(x) };
            let mut out = vec![0.0; x.len()];
            matmul_at(Level::best(), &weights, input, &mut out, Place { stride: 64, offset: 0 }, &mut Vec::new())
                .unwrap();
            out
        };
        let alone: Vec<f32> = x.chunks_exact(64).flat_map(product).collect();
        assert!(alone == product(&x), "{format:?}");
    }
}

#[test]
fn packing_keeps_values_and_stacking_keeps_rows() {
    let mut noise = Noise(5);
    let values = noise.vec(32 * 64);
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut both = PackedMatrix::pack(Format::F32, &bytes[..16 * 64 * 4], 16, 64).unwrap();
    both.stack(PackedMatrix::pack(Format::F32, &bytes[16 * 64 * 4..], 16, 64).unwrap()).unwrap();
    let mut row = vec![0.0; 64];
    for r in 0..32 {
        both.row(r, &mut row).unwrap();
        assert_eq!(row, values[r * 64..(r + 1) * 64]);
    }
    assert!(both.row(32, &mut row).is_err());
    let other = weights(Format::Q8_0, 16, 64, &mut noise);
    assert!(both.stack(other).is_err(), "formats don't mix");
    assert!(PackedMatrix::pack(Format::Q8_0, &[0; 33], 1, 32).is_err(), "one byte short");
    assert!(PackedMatrix::pack(Format::Q4_1, &[0; 20], 1, 33).is_err(), "half a block");
}
