//! What this machine's processor can do, and how work is spread over threads.
//!
//! Owns: the run-time choice between AVX-512 (VNNI), AVX2 and portable code. Refuses: build-time `target-cpu`.

use std::sync::LazyLock;

use rayon::prelude::*;

/// Compiles a plain function once per instruction set and calls the one that `level` names, which must be at most
/// `Level::best()`. The body must be `#[inline(always)]`, or it keeps the baseline's instructions, and its
/// `mul_add`s become calls of a library function.
macro_rules! per_level {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:path) => {
        $(#[$doc])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name(level: $crate::cpu::Level, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($arg: $ty),*) {
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($arg: $ty),*) {
                $body($($arg),*)
            }
            match level {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: levels above `Portable` exist only where this processor was found to have the instructions.
                $crate::cpu::Level::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::cpu::Level::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(not(target_arch = "x86_64"))]
                $crate::cpu::Level::Avx512 | $crate::cpu::Level::Avx2 => $body($($arg),*),
                $crate::cpu::Level::Portable => $body($($arg),*),
            }
        }
    };
}
pub(crate) use per_level;

pub(crate) mod matmul_avx2;
pub(crate) mod matmul_avx512;
pub(crate) mod matmul_portable;
pub(crate) mod paged_attention;

/// The instruction sets that the fast paths are written for; all give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain Rust with fused multiply-add through the standard library.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, VL and VNNI.
    Avx512,
}

static DETECTED: LazyLock<Level> = LazyLock::new(detect);

impl Level {
    /// The best level of this machine.
    pub fn best() -> Self {
        *DETECTED
    }

    /// Every level that this machine can run, for tests.
    pub fn available() -> Vec<Self> {
        [Self::Portable, Self::Avx2, Self::Avx512].into_iter().filter(|level| *level <= Self::best()).collect()
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        (false, _) => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Portable
}

/// Calls `work(index, chunk)` for every `chunk_len` part of `data`: on the current pool's threads, else one by one.
pub(crate) fn for_each_chunk(data: &mut [f32], chunk_len: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if threads() > 1 && data.len() > chunk_len {
        data.par_chunks_mut(chunk_len).enumerate().for_each(|(index, chunk)| work(index, chunk));
    } else {
        data.chunks_mut(chunk_len).enumerate().for_each(|(index, chunk)| work(index, chunk));
    }
}

/// Threads of the pool that the caller runs in, 1 outside any.
pub(crate) fn threads() -> usize {
    if rayon::current_thread_index().is_some() { rayon::current_num_threads() } else { 1 }
}
