//! Against a real Redis, where there is one.

mod counts;
mod faults;
mod nodes;
mod places;
mod scene;
mod suite;
