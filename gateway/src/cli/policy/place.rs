//! Faults as `opa` writes them: message, code, location.

use serde_json::{Value as Json, json};

use crate::policy::rego::RegoFault;

/// `{"errors": [...]}`.
pub(super) fn errors(faults: &[RegoFault]) -> Json {
    json!({ "errors": faults.iter().map(error).collect::<Vec<_>>() })
}

/// One fault.
pub(super) fn error(fault: &RegoFault) -> Json {
    let mut json = json!({"message": message(&fault.text), "code": fault.code});
    if let (Some((row, col)), Some(members)) = (fault.place, json.as_object_mut()) {
        let file = fault.file.clone().unwrap_or_default();
        members.insert("location".to_owned(), json!({"file": file, "row": row, "col": col}));
    }
    json
}

/// The last part of the engine's words, which is what is wrong; its place is told beside it.
fn message(text: &str) -> &str {
    text.rsplit_once("^ error: ").map_or(text, |(_, message)| message)
}
