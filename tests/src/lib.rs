//! Drives the real binaries against real servers on the loopback: what the end-to-end chapters are written with.
//!
//! Owns the scripted provider ([`upstream`]), the processes ([`gateway`], [`engine`]), raw clients ([`client`]), and
//! TLS around both sides ([`tls`]).
//! It links no code of the gateway or the engine: it knows them by their ports, command lines and files alone.
//! The chapters are in `tests/tests/`; start at its `main.rs`.
// A panic here is a failed test with its reason; nothing in this package is shipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods
)]

pub mod bundles;
pub mod client;
pub mod clock;
pub mod config;
pub mod demo;
pub mod dpop;
pub mod engine;
pub mod gateway;
pub mod http1;
pub mod idp;
pub mod issuer;
pub mod ports;
pub mod program;
pub mod say;
pub mod sdk;
pub mod servers;
pub mod slapd;
pub mod tls;
pub mod upstream;
