//! What operators see: metrics and logs. Labels are bounded; no prompt text, key or tenant's user ever appears.

pub mod metric;
