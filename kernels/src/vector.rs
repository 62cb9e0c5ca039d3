//! The small operations between the matrix products: root-mean-square norm, gated activation, addition, exp.
//!
//! Owns: plain loops that the compiler vectorises. Refuses: anything that mixes tokens.

use crate::cpu::{self, Level, per_level};
use crate::{KernelError, LANES, check_len};

/// `e^x` within 2 units in the last place for `-87 ≤ x ≤ 88`; below that 0, above it clamped. `-inf` gives 0.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 · 2^23 leaves the nearest whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped.mul_add(LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = whole.mul_add(-LN2_LOW, whole.mul_add(-LN2_HIGH, clamped));
    let mut poly = 1.987_569e-4_f32;
    poly = poly.mul_add(rest, 1.398_2e-3);
    poly = poly.mul_add(rest, 8.333_452e-3);
    poly = poly.mul_add(rest, 4.166_579_6e-2);
    poly = poly.mul_add(rest, 1.666_666_5e-1);
    poly = poly.mul_add(rest, 0.5);
    let small = poly.mul_add(rest * rest, rest) + 1.0;
    let power = f32::from_bits(((shifted.to_bits() as i32 - ROUND.to_bits() as i32 + 127) << 23) as u32);
    if x < -87.0 { 0.0 } else { small * power }
}

/// Each row of `x`, `cols` long, divided by its root mean square and multiplied by `weight`, into `out`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), KernelError> {
    check_len("out", out.len(), x.len())?;
    let cols = weight.len();
    if cols == 0 || !x.len().is_multiple_of(cols) {
        return Err(KernelError::Shape { name: "x", found: x.len(), rule: "a multiple of the norm's length" });
    }
    norm_rows(Level::best(), x, weight, eps, out);
    Ok(())
}

per_level! { fn norm_rows(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = norm_body }

#[inline(always)]
fn norm_body(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let cols = weight.len();
    for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
        let mut squares = [0.0_f32; LANES];
        let mut parts = x.chunks_exact(LANES);
        for part in &mut parts {
            for lane in 0..LANES {
                squares[lane] = part[lane].mul_add(part[lane], squares[lane]);
            }
        }
        let tail: f32 = parts.remainder().iter().map(|v| v * v).sum();
        let mean = (squares.iter().sum::<f32>() + tail) / cols as f32;
        let inverse = 1.0 / (mean + eps).sqrt();
        for ((x, weight), out) in x.iter().zip(weight).zip(out) {
            *out = x * inverse * weight;
        }
    }
}

/// `x += y`.
pub fn add(x: &mut [f32], y: &[f32]) -> Result<(), KernelError> {
    check_len("y", y.len(), x.len())?;
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    Ok(())
}

/// `out = silu(gate) · up`, where each row of `x` is `width` gates followed by `width` ups.
pub fn silu_mul(x: &[f32], width: usize, out: &mut [f32]) -> Result<(), KernelError> {
    check_len("x", x.len(), 2 * out.len())?;
    if width == 0 || !out.len().is_multiple_of(width) {
        return Err(KernelError::Shape { name: "width", found: width, rule: "a divisor of the output's length" });
    }
    let level = Level::best();
    cpu::for_each_chunk(out, width, |row, out| {
        let (gate, up) = x[2 * row * width..2 * (row + 1) * width].split_at(width);
        gated(level, gate, up, out);
    });
    Ok(())
}

per_level! { fn gated(gate: &[f32], up: &[f32], out: &mut [f32]) = gated_body }

#[inline(always)]
fn gated_body(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((gate, up), out) in gate.iter().zip(up).zip(out) {
        *out = gate / (1.0 + exp(-gate)) * up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_standard_library() {
        for i in -86_999..88_000 {
            let x = i as f32 * 1e-3;
            let want = f64::from(x).exp();
            let error = (f64::from(exp(x)) - want).abs() / want;
            assert!(error < 3e-7, "exp({x}): relative error {error}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn rms_norm_agrees_with_f64() {
        let x: Vec<f32> = (0..3 * 37).map(|i| (i as f32 * 0.37).sin()).collect();
        let weight: Vec<f32> = (0..37).map(|i| 1.0 + i as f32 * 0.01).collect();
        let mut out = vec![0.0; x.len()];
        rms_norm(&x, &weight, 1e-5, &mut out).unwrap();
        for row in 0..3 {
            let x = &x[row * 37..(row + 1) * 37];
            let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 37.0;
            for (i, v) in x.iter().enumerate() {
                let want = f64::from(*v) / (mean + 1e-5).sqrt() * f64::from(weight[i]);
                assert!((f64::from(out[row * 37 + i]) - want).abs() < 1e-6);
            }
        }
    }
}
