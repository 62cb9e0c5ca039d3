//! Names of the tools that a call offers: policies may list which are allowed.

use serde_json::{Map, Value};

use super::fault::EnvelopeFault;
use crate::endpoint::Endpoint;

/// Tools of one call; a policy must see all of them, so more are refused.
pub const TOOLS_MAX: usize = 512;
/// Bytes of a tool's name.
const NAME_BYTES_MAX: usize = 256;
/// Names that are read here, whose other spellings some servers would take for them.
const READ: [&str; 3] = ["type", "function", "name"];

/// Names of the tools in a JSON array, in its order: a function's own name, else the tool's type. On
/// `/v1/responses` what is no function goes by its type: a name beside it means nothing there.
///
/// # Errors
/// A tool without a name that can be read: nobody could decide about it.
pub(super) fn names(param: &'static str, array: &[u8], endpoint: Endpoint) -> Result<Vec<String>, EnvelopeFault> {
    let wrong = |expected| EnvelopeFault::Type { param: param.to_owned(), expected };
    let tools: Vec<Value> = serde_json::from_slice(array).map_err(|_| wrong("an array of tools"))?;
    if tools.len() > TOOLS_MAX {
        return Err(EnvelopeFault::Range { param: param.to_owned(), expected: "at most 512 tools" });
    }
    tools
        .iter()
        .map(|tool| name(param, tool.as_object().ok_or_else(|| wrong("an array of objects"))?, endpoint))
        .collect()
}

fn name(param: &'static str, tool: &Map<String, Value>, endpoint: Endpoint) -> Result<String, EnvelopeFault> {
    refuse_variants(param, tool)?;
    let wrong = |expected| EnvelopeFault::Type { param: param.to_owned(), expected };
    let inner = match tool.get("function") {
        None | Some(Value::Null) => tool,
        Some(function) => function.as_object().ok_or_else(|| wrong("tools whose `function` is an object"))?,
    };
    refuse_variants(param, inner)?;
    let kind = tool.get("type").and_then(Value::as_str).filter(|kind| *kind != "function");
    let own = inner.get("name").and_then(Value::as_str);
    let text = match kind {
        Some(kind) if endpoint == Endpoint::Responses && kind != "custom" => Some(kind),
        Some(_) | None => own.or(kind),
    };
    text.filter(|text| !text.is_empty() && text.len() <= NAME_BYTES_MAX)
        .map(str::to_owned)
        .ok_or_else(|| wrong("tools that each have a name of at most 256 bytes"))
}

fn refuse_variants(param: &'static str, object: &Map<String, Value>) -> Result<(), EnvelopeFault> {
    let known = |found: &str| READ.into_iter().find(|name| found.eq_ignore_ascii_case(name) && found != *name);
    match object.keys().find_map(|found| known(found).map(|name| (found, name))) {
        Some((found, name)) => {
            Err(EnvelopeFault::Spelling { found: found.clone(), param: format!("{param}[].{name}") })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_known_by_its_functions_name_or_its_type() {
        let array = br#"[{"type":"function","function":{"name":"get_weather","parameters":{}}},{"name":"old"},{"type":"web_search"}]"#;
        assert_eq!(names("tools", array, Endpoint::ChatCompletions).unwrap(), ["get_weather", "old", "web_search"]);
        let array = br#"[{"type":"web_search","name":"get_weather"},{"type":"function","name":"f"}]"#;
        assert_eq!(names("tools", array, Endpoint::Responses).unwrap(), ["web_search", "f"]);
        assert!(names("tools", b"[]", Endpoint::Messages).unwrap().is_empty());
    }

    #[test]
    fn a_tool_that_nobody_could_decide_about_is_refused() {
        for array in [
            r#"[{}]"#,
            r#"["x"]"#,
            r#"[{"type":"function"}]"#,
            r#"[{"type":"function","function":{}}]"#,
            r#"[{"type":"function","function":"x"}]"#,
            r#"[{"function":{"name":""}}]"#,
            r#"[{"function":{"name":7}}]"#,
            r#"[{"function":{"name":"ok","Name":"exec"}}]"#,
            r#"[{"Function":{"name":"exec"},"function":{"name":"ok"}}]"#,
        ] {
            assert!(names("tools", array.as_bytes(), Endpoint::ChatCompletions).is_err(), "{array}");
        }
        let many = format!("[{}]", vec![r#"{"name":"x"}"#; TOOLS_MAX + 1].join(","));
        assert!(matches!(names("tools", many.as_bytes(), Endpoint::Responses), Err(EnvelopeFault::Range { .. })));
    }
}
