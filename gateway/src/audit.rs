//! Audit: one record per call, each carrying the hash of the one before.
//!
//! Owns the lines and the files `audit/000001.jsonl` and on. The journal's writer is the only one that appends.
//! Start at [`record`]; [`sink`] appends and repairs, [`verify`] checks without a lock, also beside a running gateway.

pub mod files;
pub mod record;
pub mod sink;
pub mod verify;

#[cfg(test)]
mod tests;

pub use record::AuditNote;
