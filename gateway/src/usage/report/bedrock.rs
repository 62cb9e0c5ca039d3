//! The way of Bedrock's converse: caches beside the input, as Anthropic has it, and a total with or without them.

use super::leaves::Leaves;
use super::{Broken, Fault, rest};
use crate::usage::buckets::{Bucket, Buckets};

/// `converse` and `converse-stream`.
pub(super) fn converse(leaves: &Leaves) -> Result<Buckets, Broken> {
    let (input, output) = (leaves.zero("inputTokens")?, leaves.zero("outputTokens")?);
    let (read, written) = (leaves.zero("cacheReadInputTokens")?, leaves.zero("cacheWriteInputTokens")?);
    let sum = |parts: &[u64]| parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part)).ok_or(Fault::Total);
    let all = sum(&[input, read, written])?;
    let broken = |fault| Broken { totals: Some((all, output)), fault };
    let total = leaves.count("totalTokens")?.filter(|total| *total > 0);
    let (plain, full) = (sum(&[input, output])?, sum(&[all, output])?);
    if total.is_some_and(|total| total != plain && total != full) {
        return Err(broken(Fault::Total));
    }
    let of_ttl = |ttl| leaves.list("cacheDetails", "inputTokens").filter(move |(name, _)| *name == ttl).map(|(_, n)| n);
    let long = of_ttl("1h").fold(0, u64::saturating_add);
    let short = rest(written, &[long], Fault::CacheWrite).map_err(broken)?;
    if leaves.has("cacheDetails") && of_ttl("5m").fold(0, u64::saturating_add) != short {
        return Err(broken(Fault::CacheWrite));
    }
    let buckets = Buckets::text(input, output)
        .with(Bucket::CacheRead, read)
        .with(Bucket::CacheWrite5m, short)
        .with(Bucket::CacheWrite1h, long);
    Ok(buckets)
}
