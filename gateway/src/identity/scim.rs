//! SCIM 2.0 (RFC 7643, RFC 7644): how identity providers tell Weir of users and groups. Pure: documents, filters and
//! changes come in, documents go out.
//!
//! Owns the schemas ([`schema`]), what a resource may hold ([`resource`]), filters ([`filter`]), changes by PATCH
//! ([`patch`]) and what of a resource is shown ([`shown`]). Refuses what no schema allows. Passwords are in none: they
//! are neither taken nor kept. Start at [`resource::accept`]; `admin/scim.rs` is the shell around it.

pub mod fault;
pub mod filter;
pub mod moment;
pub mod patch;
pub mod place;
pub mod resource;
pub mod schema;
mod schema_table;
pub mod shown;
mod words;

pub use fault::{Kind, ScimFault};
pub use schema::{Schema, Type};

#[cfg(test)]
mod tests;
