//! Every queue, buffer, loop and retry of the gateway by name, each with its reason.

/// Bytes of a request body that Weir reads at most. 4 MiB holds a 1M-token prompt; a larger one gets 413.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Bytes of an upstream's whole (not streamed) reply.
pub const REPLY_BYTES_MAX: usize = 64 << 20;
/// Bytes of one server-sent event. Images and long tool calls come as one event.
pub const EVENT_BYTES_MAX: usize = 16 << 20;
/// Openings and closings that wait for the journal's writer. One call takes one place at its birth.
pub const JOURNAL_QUEUE: usize = 65_536;
/// Closings written to the store in one transaction.
pub const PROJECTION_BATCH: usize = 512;
/// Upstream attempts of one call, the first included.
pub const ATTEMPTS_MAX: u16 = 4;
/// Milliseconds between two looks at the store's revision, and at a running stream's key.
pub const REVISION_POLL_MS: u64 = 250;
