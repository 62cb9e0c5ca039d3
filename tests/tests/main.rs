//! The end-to-end chapters: the real binaries, driven from outside. Each chapter is one module; the first test of all
//! is in [`hang_up`].
// A panic here is a failed test with its reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods
)]

mod admin;
mod authz_table;
mod bad_input;
mod bad_start;
mod budgets;
mod bundles;
mod certificates;
mod costs;
mod crash;
mod cut;
mod decision_log;
mod dpop;
mod envoy;
mod fail_over;
mod field_reports;
mod finance;
mod finance_page;
mod framing;
mod full_disk;
mod hang_up;
mod hostile;
mod http2;
mod idp;
mod isolation;
mod json;
mod keys;
mod ldap;
mod lifecycle;
mod limits;
mod messages;
mod oauth;
mod opa_data;
mod oracle;
mod origin;
mod own_engine;
mod passing;
mod paths;
mod policy;
mod policy_cli;
mod prices;
mod provider;
mod provider_http;
mod queue;
mod redis_faults;
mod responses;
mod scene;
mod scim;
mod sdk;
mod secrets;
mod servers;
mod shared_kills;
mod shared_limits;
mod shared_store;
mod soak;
mod stream;
mod stream_bounds;
mod stream_faults;
mod supervision;
mod tenant_secrets;
mod tenants;
mod tls;
mod tokens;
mod usage;
mod vectors;
mod waits;
