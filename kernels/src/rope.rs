//! Rotary position embedding: turns each pair of a head's dimensions by an angle that grows with the position.
//!
//! Owns: the frequencies and both pairings. The files differ: GGUF's Llama weights are permuted so that a pair lies
//! side by side, the safetensors of the same model pair dimension `i` with `i + dim/2`.

use crate::KernelError;

/// Which dimensions of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// `(0,1) (2,3) …`: Llama weights in GGUF.
    Adjacent,
    /// `(0,dim/2) (1,dim/2+1) …`: safetensors, and most other architectures in GGUF.
    Halves,
}

/// The angles per position of one model.
#[derive(Debug, Clone)]
pub struct Rope {
    frequencies: Vec<f64>,
    pairing: Pairing,
}

/// Cosines and sines of one position, one of each per pair.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    /// `base` is the model's theta; `dim` its head dimension.
    pub fn new(base: f64, dim: usize, pairing: Pairing) -> Self {
        let frequencies = (0..dim / 2).map(|i| base.powf(-2.0 * i as f64 / dim as f64)).collect();
        Self { frequencies, pairing }
    }

    /// The turn of position `pos`.
    pub fn turn(&self, pos: usize) -> Turn {
        let (sin, cos) = self
            .frequencies
            .iter()
            .map(|frequency| {
                let (sin, cos) = (pos as f64 * frequency).sin_cos();
                (sin as f32, cos as f32)
            })
            .unzip();
        Turn { cos, sin }
    }

    /// Turns every head of `heads`, each `dim` long, in place.
    pub fn apply(&self, turn: &Turn, heads: &mut [f32]) -> Result<(), KernelError> {
        let half = self.frequencies.len();
        if half == 0 || !heads.len().is_multiple_of(2 * half) {
            return Err(KernelError::Shape {
                name: "heads",
                found: heads.len(),
                rule: "a multiple of the head dimension",
            });
        }
        let (step, gap) = match self.pairing {
            Pairing::Adjacent => (2, 1),
            Pairing::Halves => (1, half),
        };
        for head in heads.chunks_exact_mut(2 * half) {
            for (i, (cos, sin)) in turn.cos.iter().zip(&turn.sin).enumerate() {
                let (a, b) = (head[i * step], head[i * step + gap]);
                head[i * step] = a * cos - b * sin;
                head[i * step + gap] = a * sin + b * cos;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairings_agree_after_permutation() {
        let dim = 8;
        let adjacent = Rope::new(1e4, dim, Pairing::Adjacent);
        let halves = Rope::new(1e4, dim, Pairing::Halves);
        let source: Vec<f32> = (0..dim).map(|i| i as f32 + 1.0).collect();
        let mut a: Vec<f32> = (0..dim).map(|i| source[i / 2 + (i % 2) * dim / 2]).collect();
        let mut h = source.clone();
        adjacent.apply(&adjacent.turn(7), &mut a).unwrap();
        halves.apply(&halves.turn(7), &mut h).unwrap();
        for i in 0..dim {
            assert_eq!(a[i], h[i / 2 + (i % 2) * dim / 2]);
        }
    }

    #[test]
    fn a_turn_keeps_the_length_and_position_zero_changes_nothing() {
        let rope = Rope::new(1e5, 16, Pairing::Adjacent);
        let source: Vec<f32> = (0..32).map(|i| (i as f32).cos()).collect();
        let mut x = source.clone();
        rope.apply(&rope.turn(0), &mut x).unwrap();
        assert_eq!(x, source);
        rope.apply(&rope.turn(8191), &mut x).unwrap();
        let norm = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>();
        assert!((norm(&x) - norm(&source)).abs() < 1e-4);
        assert!(rope.apply(&rope.turn(1), &mut x[..15]).is_err());
    }
}
