//! The arithmetic of a model, one operation a module: a checked launcher, a plain reference and a fast CPU version.
//!
//! Owns: paged attention, matrix products over quantised weights, the small vector operations between them.
//! Refuses: model structure, scheduling, files. An operation sees slices and shapes, checks them once, and computes.
//!
//! Every fast path gives the same bits for a token whatever shares its step: the order of additions depends on the
//! token alone. So chunking and batching can't change a model's answer, and tests can demand equality.
//!
//! Called inside a rayon pool (`ThreadPool::install`), the operations use its threads; outside one they run serially.
//! Start at `paged_attention.rs`, then `matmul.rs`.

pub mod cpu;
pub mod matmul;
pub mod pack;
pub mod paged_attention;
pub mod quant;
pub mod reference;
pub mod rope;
pub mod vector;

/// Tokens in one KV page, and rows in one weight tile: sixteen f32 fill one 512-bit register.
pub const LANES: usize = 16;

/// Tokens in one KV page.
pub const PAGE_TOKENS: usize = LANES;

/// Why an operation refused its arguments: always the caller's fault, never to be retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// A buffer is not as long as the shapes say.
    #[error("`{name}` holds {found} values, {expected} expected")]
    Length {
        /// The argument.
        name: &'static str,
        /// Its length.
        found: usize,
        /// The length that the shapes give.
        expected: usize,
    },
    /// A dimension that the operation can't work with.
    #[error("`{name}` is {found}: {rule}")]
    Shape {
        /// The argument.
        name: &'static str,
        /// Its value.
        found: usize,
        /// What it must be.
        rule: &'static str,
    },
    /// A block table names a page that the pool doesn't have.
    #[error("block table entry {index} names page {page}, the pool has {pages}")]
    Page {
        /// Place in the block table.
        index: usize,
        /// The page that it names.
        page: u32,
        /// Pages in the pool.
        pages: usize,
    },
    /// A block table too short for the sequence.
    #[error("the block table has {found} pages, {needed} needed for {tokens} tokens")]
    Table {
        /// Pages in the table.
        found: usize,
        /// Pages that the tokens need.
        needed: usize,
        /// Tokens of the sequence.
        tokens: usize,
    },
}

/// `found == expected`, or the error that names the buffer.
pub(crate) fn check_len(name: &'static str, found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected { Ok(()) } else { Err(KernelError::Length { name, found, expected }) }
}
