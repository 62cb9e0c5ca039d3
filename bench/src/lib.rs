//! What the three programs of the benchmark share: flags, a loopback guard, an HTTP/1.1 client, readings of /proc.
//!
//! The programs are `mock` (a provider), `bare` (the smallest Pingora pass-through) and `load` (the client that
//! measures). `bench/run` starts them and compares. Nothing here speaks to anything but the machine itself.

pub mod client;
pub mod flags;
pub mod machine;
pub mod reading;
