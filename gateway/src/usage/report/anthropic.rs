//! Anthropic's way of counting: what was read from caches and what was written to them stand beside the input, and
//! what was written is said twice, as a sum and by how long it is kept.

use super::leaves::Leaves;
use super::{Broken, Fault, rest};
use crate::usage::buckets::{Bucket, Buckets};

/// Messages.
pub(super) fn messages(leaves: &Leaves) -> Result<Buckets, Broken> {
    let (input, output) = (leaves.zero("input_tokens")?, leaves.zero("output_tokens")?);
    let thoughts =
        leaves.first(&["output_tokens_details.thinking_tokens", "output_tokens_details.reasoning_tokens"])?;
    let thoughts = thoughts.unwrap_or(0);
    let (read, written) = (leaves.zero("cache_read_input_tokens")?, leaves.count("cache_creation_input_tokens")?);
    let short = leaves.count("cache_creation.ephemeral_5m_input_tokens")?;
    let long = leaves.count("cache_creation.ephemeral_1h_input_tokens")?;
    let parts = short.unwrap_or(0).checked_add(long.unwrap_or(0)).ok_or(Fault::CacheWrite)?;
    let totals = [read, written.unwrap_or(parts)].iter().try_fold(input, |sum, part| sum.checked_add(*part));
    let totals = (totals.ok_or(Fault::Input)?, output);
    let broken = |fault| Broken { totals: Some(totals), fault };
    let short = match (written, short.or(long)) {
        // Not said for how long: for the usual time.
        (Some(written), None) => written,
        (Some(written), Some(_)) if written != parts => return Err(broken(Fault::CacheWrite)),
        (None | Some(_), _) => short.unwrap_or(0),
    };
    let text = rest(output, &[thoughts], Fault::Output).map_err(broken)?;
    let buckets = Buckets::text(input, text)
        .with(Bucket::Reasoning, thoughts)
        .with(Bucket::CacheRead, read)
        .with(Bucket::CacheWrite5m, short)
        .with(Bucket::CacheWrite1h, long.unwrap_or(0))
        .with(Bucket::WebSearches, leaves.zero("server_tool_use.web_search_requests")?);
    Ok(buckets)
}
