//! Activations in blocks of 32 fifteen-bit integers with one f32 scale: the left side of a product with quantised
//! weights.
//!
//! An integer lies as two signed bytes, `128 · high + low`, so that byte products serve and their sums are exact. Eight
//! bits alone would halve the multiplications, but move a small model's log-probabilities by 0.09 on average;
//! fifteen move them by less than f32 sums in another order do, and decoding waits for the weights anyway.

use crate::KernelError;
use crate::cpu::{Level, per_level};

/// Values in one block, of activations and of every supported weight format.
pub const BLOCK: usize = 32;

/// Bytes of one block of activations.
pub(crate) const BLOCK_BYTES: usize = 2 * BLOCK;
/// The largest integer: 127 · 128.
const WHOLE_MAX: f32 = 16_256.0;

/// Rows of quantised activations; a buffer to be reused from step to step.
#[derive(Debug, Clone, Default)]
pub struct QuantRows {
    /// Rows held.
    pub(crate) rows: usize,
    /// Blocks in one row.
    pub(crate) blocks: usize,
    /// `[row][block][high × 32, low × 32]`: high within -127..=127, low within -64..=64.
    pub(crate) bytes: Vec<i8>,
    /// `[row][block]`: what one unit is worth.
    pub(crate) scales: Vec<f32>,
    /// `[row][block]`: the sum of the block's integers.
    pub(crate) sums: Vec<i32>,
}

impl QuantRows {
    /// Replaces the contents by `x`, whose rows are `cols` long; `cols` is a multiple of 32.
    pub fn fill(&mut self, x: &[f32], cols: usize) -> Result<(), KernelError> {
        if cols == 0 || !cols.is_multiple_of(BLOCK) {
            return Err(KernelError::Shape { name: "cols", found: cols, rule: "a multiple of 32" });
        }
        if !x.len().is_multiple_of(cols) {
            return Err(KernelError::Shape { name: "x", found: x.len(), rule: "a multiple of `cols`" });
        }
        self.rows = x.len() / cols;
        self.blocks = cols / BLOCK;
        self.bytes.clear();
        self.bytes.resize(2 * x.len(), 0);
        self.scales.resize(x.len() / BLOCK, 0.0);
        self.sums.resize(x.len() / BLOCK, 0);
        round_blocks(Level::best(), x, &mut self.bytes, &mut self.scales, &mut self.sums);
        Ok(())
    }
}

per_level! { fn round_blocks(x: &[f32], bytes: &mut [i8], scales: &mut [f32], sums: &mut [i32]) = round_body }

#[inline(always)]
fn round_body(x: &[f32], bytes: &mut [i8], scales: &mut [f32], sums: &mut [i32]) {
    // Adding 1.5 · 2^23 leaves the nearest whole number in the low bits: rounding and conversion in one addition.
    const ROUND: f32 = 12_582_912.0;
    let blocks = x.as_chunks::<BLOCK>().0.iter().zip(bytes.as_chunks_mut::<BLOCK_BYTES>().0);
    for ((block, bytes), (scale, sum)) in blocks.zip(scales.iter_mut().zip(sums)) {
        let mut peaks = [0.0_f32; 8];
        for (i, value) in block.iter().enumerate() {
            let size = value.abs();
            peaks[i % 8] = if size > peaks[i % 8] { size } else { peaks[i % 8] };
        }
        let peak = peaks.into_iter().fold(0.0, f32::max);
        let inverse = if peak > 0.0 { WHOLE_MAX / peak } else { 0.0 };
        let (high, low) = bytes.split_at_mut(BLOCK);
        let mut total = 0_i32;
        for ((value, high), low) in block.iter().zip(high).zip(low) {
            let whole = (value * inverse + ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
            let top = (whole + 64) >> 7;
            *high = top as i8;
            *low = (whole - (top << 7)) as i8;
            total += whole;
        }
        *scale = peak / WHOLE_MAX;
        *sum = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_within_half_a_unit() {
        let x: Vec<f32> = (0..4 * 64).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.07).collect();
        let mut rows = QuantRows::default();
        rows.fill(&x, 64).unwrap();
        for (block, x) in x.chunks(BLOCK).enumerate() {
            let (high, low) = rows.bytes[block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES].split_at(BLOCK);
            let whole: Vec<i32> = high.iter().zip(low).map(|(h, l)| 128 * i32::from(*h) + i32::from(*l)).collect();
            assert!(high.iter().all(|h| (-127..=127).contains(h)) && low.iter().all(|l| (-64..=64).contains(l)));
            for (whole, x) in whole.iter().zip(x) {
                assert!((*whole as f32 * rows.scales[block] - x).abs() <= rows.scales[block] * 0.51);
            }
            assert_eq!(whole.iter().sum::<i32>(), rows.sums[block]);
        }
    }

    #[test]
    fn zeros_and_bad_shapes() {
        let mut rows = QuantRows::default();
        rows.fill(&[0.0; 32], 32).unwrap();
        assert_eq!(rows.scales, [0.0]);
        assert_eq!(rows.bytes, [0; BLOCK_BYTES]);
        assert!(rows.fill(&[0.0; 33], 33).is_err());
        assert!(rows.fill(&[0.0; 33], 32).is_err());
    }
}
