//! Which deployment serves a call. Owns the order of attempts and the memory of failures.
//!
//! Start at [`pick`], which is pure; [`health`] and [`budget`] hold the state that outlives every World.

pub mod budget;
pub mod health;
pub mod pick;

pub use budget::RetryBudget;
pub use health::{Health, Setback};
pub use pick::order;
