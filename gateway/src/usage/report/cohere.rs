//! Cohere's way of counting: what is billed stands beside what was used, and a reranker counts searches.

use super::Broken;
use super::leaves::Leaves;
use crate::usage::buckets::{Bucket, Buckets};

/// `billed_units`.
pub(super) fn billed(leaves: &Leaves) -> Result<Buckets, Broken> {
    let of = |name: &str| leaves.zero(&format!("billed_units.{name}"));
    let buckets = Buckets::text(of("input_tokens")?, of("output_tokens")?)
        .with(Bucket::SearchUnits, of("search_units")?)
        .with(Bucket::InputImage, of("image_tokens")?);
    Ok(buckets)
}
