//! Items of `/v1/responses` that stand for what lies at the provider.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fault::EnvelopeFault;
use crate::endpoint::Endpoint;

/// What is read of one item.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    role: Option<IgnoredAny>,
}

/// Refuses items that refer to stored ones by their id: whose they are, nobody here could say. An item without a type
/// and a role is such a reference too.
///
/// # Errors
/// There is one, or an item that can't be read.
pub(super) fn refuse_references(endpoint: Endpoint, input: &[u8]) -> Result<(), EnvelopeFault> {
    if endpoint != Endpoint::Responses || !input.starts_with(b"[") {
        return Ok(());
    }
    let wrong = |_| EnvelopeFault::Type { param: "input".into(), expected: "a string or an array of items" };
    let items: Vec<Item<'_>> = serde_json::from_slice(input).map_err(wrong)?;
    let refers = |item: &Item<'_>| match item.kind.as_deref() {
        Some(kind) => kind == "item_reference",
        None => item.role.is_none(),
    };
    match items.iter().any(refers) {
        true => Err(EnvelopeFault::Unsupported { param: "input[].item_reference" }),
        false => Ok(()),
    }
}
