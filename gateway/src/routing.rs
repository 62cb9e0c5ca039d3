//! Which deployment serves a call. Owns the order of attempts and the memory of failures.
//!
//! Start at [`pick`], which is pure; [`health`], [`budget`] and the lines of [`queue`] are state that outlives every
//! World.

pub mod budget;
pub mod fair;
pub mod health;
pub mod hint;
pub mod pick;
pub mod queue;
pub mod stored;

pub use budget::RetryBudget;
pub use health::{Health, Setback};
pub use pick::order;
pub use queue::Queues;
