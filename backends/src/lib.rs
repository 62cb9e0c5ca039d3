//! Weir's own inference engine: process 2, behind a Unix socket, restarted without taking the gateway along.
//!
//! In the order in which a call meets them: `server` reads the HTTP request, `language` (tokenizer and template)
//! turns text into tokens, `scheduler` decides what each forward pass computes over the pages of `kv`, an `executor`
//! computes it, `sampler` draws a token from the logits, `detok` and `stop` turn tokens into text that is safe to show.
//! Newcomers start with `scheduler.rs`: the story of one step.

pub mod clock;
pub mod core;
pub mod detok;
pub mod executor;
pub mod kv;
pub mod language;
pub mod metrics;
pub mod model;
pub mod sampler;
pub mod scheduler;
pub mod server;
pub mod stop;
pub mod template;
pub mod tokenizer;
