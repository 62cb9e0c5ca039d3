//! Against a real Redis, where there is one.
#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

mod counts;
mod faults;
mod lease;
mod lost;
mod nodes;
mod places;
mod scene;
mod suite;
