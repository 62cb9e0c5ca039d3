//! Weir, the gateway: every call is identified, authorised, limited, routed, metered and recorded.
//!
//! The modules stand in the order in which a call meets them. Start at [`proxy`], the story of one call.

pub mod audit;
pub mod catalogue;
pub mod converse;
pub mod exchange;
pub mod fetch;
pub mod identity;
pub mod journal;
pub mod key_notes;
pub mod limits;
pub mod origin;
pub mod policy;
pub mod privacy;
pub mod providers;
pub mod proxy;
pub mod refusal;
pub mod request;
pub mod routing;
pub mod settle;
pub mod store;
pub mod usage;

pub mod finance;

pub mod admin;
pub mod cli;
pub mod config;
pub mod engine;
pub mod reload;
pub mod running;
pub mod serve;
pub mod telemetry;
pub mod tls;
pub mod world;

pub mod bounds;
pub mod clock;

/// Redis and PostgreSQL for the tests of the rooms that speak to them; the end-to-end tests have them too.
#[cfg(test)]
#[path = "../../tests/src/servers.rs"]
mod servers;
