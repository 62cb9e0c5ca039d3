//! The bytes on the wire: what clients, gateway, engine and tests exchange, read and written the same way by all.
//!
//! Owns the JSON scanner, the envelope of a call, the request, response and error shapes of OpenAI's and Anthropic's
//! endpoints, and server-sent events. Refuses what two readers could read differently: duplicate members, case variants,
//! conflicting fields.
//! Knows no sockets, clocks or tenants. Start at [`envelope`], which is what the gateway does with each request.

pub mod chat;
pub mod completion;
pub mod delta;
pub mod ending;
pub mod endpoint;
pub mod envelope;
pub mod event;
pub mod fault;
pub mod json;
pub mod reply;
pub mod sse;
pub mod texts;
pub mod usage;
