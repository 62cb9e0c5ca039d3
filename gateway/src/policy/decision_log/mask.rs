//! Masks of a decision: what is erased from its event, and what is put in its place. Pure.
//!
//! An entry is a text such as `/input/subject/email`, or `{op: remove | upsert, path, value}`. Paths begin with
//! `/input`, `/result`, `/nd_builtin_cache` or `/requested_by`, which is the client's address; `~1` stands for a slash
//! in a name and `~0` for a tilde. Whatever else stands in the list is a fault, and a fault keeps the payload out.

use std::cmp::Ordering;

use serde_json::{Map, Value as Json};

/// Entries of one decision.
const MASKS_MAX: usize = 1_024;
/// What may be masked.
const ROOTS: [&str; 4] = ["input", "result", "nd_builtin_cache", "requested_by"];

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    path: String,
    parts: Vec<String>,
    /// Put there; erased without one.
    value: Option<Json>,
}

/// Why a list of masks can't be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskFault {
    /// No list.
    #[error("the masks are no list")]
    NoList,
    /// Too long a list.
    #[error("more than {MASKS_MAX} masks")]
    TooMany,
    /// Neither text nor object, or an object with other members.
    #[error("a mask is neither a path nor an object of `op`, `path` and `value`")]
    Shape,
    /// Something that is not `remove` or `upsert`.
    #[error("a mask's `op` is neither `remove` nor `upsert`")]
    Op,
    /// A path that leads elsewhere.
    #[error("a mask's path begins with none of `/input`, `/result`, `/nd_builtin_cache` and `/requested_by`")]
    Path,
}

/// What became of a list of masks. Each is a list of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Gone.
    pub erased: Vec<String>,
    /// Replaced.
    pub masked: Vec<String>,
    /// Not there, so that nothing was done.
    pub not_erased: Vec<String>,
}

/// Reads the value of a mask rule.
///
/// # Errors
/// It is no list of masks.
pub fn read(masks: &Json) -> Result<Vec<Mask>, MaskFault> {
    let list = masks.as_array().ok_or(MaskFault::NoList)?;
    if list.len() > MASKS_MAX {
        return Err(MaskFault::TooMany);
    }
    list.iter().map(one).collect()
}

fn one(entry: &Json) -> Result<Mask, MaskFault> {
    if let Some(path) = entry.as_str() {
        return Ok(Mask { path: path.to_owned(), parts: parts(path)?, value: None });
    }
    let members = entry.as_object().ok_or(MaskFault::Shape)?;
    if members.keys().any(|name| !matches!(name.as_str(), "op" | "path" | "value")) {
        return Err(MaskFault::Shape);
    }
    let path = members.get("path").and_then(Json::as_str).ok_or(MaskFault::Shape)?;
    let value = match members.get("op").and_then(Json::as_str) {
        Some("remove") => None,
        // OPA takes one without a value for null.
        Some("upsert") => Some(members.get("value").cloned().unwrap_or(Json::Null)),
        Some(_) | None => return Err(MaskFault::Op),
    };
    Ok(Mask { path: path.to_owned(), parts: parts(path)?, value })
}

fn parts(path: &str) -> Result<Vec<String>, MaskFault> {
    let rest = path.strip_prefix('/').ok_or(MaskFault::Path)?;
    let parts: Vec<String> = rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
    match parts.first().is_some_and(|first| ROOTS.contains(&first.as_str())) {
        true => Ok(parts),
        false => Err(MaskFault::Path),
    }
}

/// Does what the masks say to an event of one's own. What is erased goes last and from the back, so that every index
/// means the element that it meant when the masks were made.
pub fn apply(masks: &[Mask], event: &mut Map<String, Json>) -> Applied {
    let mut applied = Applied::default();
    for mask in masks {
        let Some(value) = &mask.value else { continue };
        match upsert(event, &mask.parts, value) {
            Some(()) => applied.masked.push(mask.path.clone()),
            None => applied.not_erased.push(mask.path.clone()),
        }
    }
    let mut removals: Vec<&Mask> = masks.iter().filter(|mask| mask.value.is_none()).collect();
    removals.sort_by(|a, b| order(&b.parts, &a.parts));
    for mask in removals {
        match remove(event, &mask.parts) {
            Some(()) => applied.erased.push(mask.path.clone()),
            None => applied.not_erased.push(mask.path.clone()),
        }
    }
    applied.erased.sort_unstable();
    applied
}

/// By part; numbers by their size.
fn order(a: &[String], b: &[String]) -> Ordering {
    let by_part = a.iter().zip(b).map(|(a, b)| match (a.parse::<usize>(), b.parse::<usize>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => a.cmp(b),
    });
    by_part.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// The member or element of that name.
fn below<'j>(node: &'j mut Json, part: &str) -> Option<&'j mut Json> {
    if let Json::Object(members) = node {
        return members.get_mut(part);
    }
    node.as_array_mut()?.get_mut(part.parse::<usize>().ok()?)
}

fn remove(event: &mut Map<String, Json>, parts: &[String]) -> Option<()> {
    let (last, above) = parts.split_last()?;
    let Some((first, between)) = above.split_first() else { return event.remove(last).map(drop) };
    let mut node = event.get_mut(first)?;
    for part in between {
        node = below(node, part)?;
    }
    if let Json::Object(members) = node {
        return members.remove(last).map(drop);
    }
    let items = node.as_array_mut()?;
    let index = last.parse::<usize>().ok().filter(|index| *index < items.len())?;
    items.remove(index);
    Some(())
}

/// Objects on the way are made where they are missing, as OPA does.
fn upsert(event: &mut Map<String, Json>, parts: &[String], value: &Json) -> Option<()> {
    let (last, above) = parts.split_last()?;
    let Some((first, between)) = above.split_first() else {
        event.insert(last.clone(), value.clone());
        return Some(());
    };
    let new = || Json::Object(Map::new());
    let mut node = event.entry(first.clone()).or_insert_with(new);
    for part in between {
        node = match node {
            Json::Object(members) => members.entry(part.clone()).or_insert_with(new),
            Json::Array(items) => items.get_mut(part.parse::<usize>().ok()?)?,
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => return None,
        };
    }
    match node {
        Json::Object(members) => drop(members.insert(last.clone(), value.clone())),
        Json::Array(items) => *items.get_mut(last.parse::<usize>().ok()?)? = value.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(masks: Json, mut event: Json) -> (Applied, Json) {
        let masks = read(&masks).unwrap();
        let applied = apply(&masks, event.as_object_mut().unwrap());
        (applied, event)
    }

    #[test]
    fn members_and_elements_are_erased_and_replaced_where_they_are() {
        let event = json!({"input": {"list": [1, 2, 3, 4], "a/b": {"c": 1}, "text": "x"}, "result": {"allow": true}});
        let masks = json!([
            "/input/list/0",
            "/input/list/2",
            "/input/a~1b/c",
            {"op": "upsert", "path": "/input/text", "value": "***"},
            {"op": "upsert", "path": "/input/new/deep", "value": 1},
            {"op": "upsert", "path": "/input/text/deeper", "value": 1},
            {"op": "remove", "path": "/result/none"},
            "/input/list/9",
        ]);
        let (applied, event) = applied(masks, event);
        let left = json!({"input": {"list": [2, 4], "a/b": {}, "text": "***", "new": {"deep": 1}},
            "result": {"allow": true}});
        assert_eq!(event, left, "an index means what it meant before anything was erased");
        assert_eq!(applied.erased, ["/input/a~1b/c", "/input/list/0", "/input/list/2"]);
        assert_eq!(applied.masked, ["/input/text", "/input/new/deep"]);
        assert_eq!(applied.not_erased, ["/input/text/deeper", "/result/none", "/input/list/9"]);
        let (_, event) = super::tests::applied(json!(["/input", "/result"]), json!({"input": 1, "result": 2, "x": 3}));
        assert_eq!(event, json!({"x": 3}));
    }

    #[test]
    fn what_is_no_mask_is_a_fault() {
        let table = [
            (json!({"a": 1}), MaskFault::NoList),
            (json!([1]), MaskFault::Shape),
            (json!(["input/x"]), MaskFault::Path),
            (json!(["/labels/id"]), MaskFault::Path),
            (json!(["/"]), MaskFault::Path),
            (json!([{"op": "remove"}]), MaskFault::Shape),
            (json!([{"op": "hide", "path": "/input/x"}]), MaskFault::Op),
            (json!([{"path": "/input/x"}]), MaskFault::Op),
            (json!([{"op": "remove", "path": "/input/x", "valeu": 1}]), MaskFault::Shape),
            (json!(vec!["/input/x"; MASKS_MAX + 1]), MaskFault::TooMany),
        ];
        for (masks, fault) in table {
            assert_eq!(read(&masks), Err(fault), "{masks}");
        }
    }
}
