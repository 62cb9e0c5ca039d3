//! What the table of keys says, for readers and for editors: `docs/configuration.md` and `config/schema.json`.
//!
//! Both files are goldens: a test compares them with what this module writes.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::keys_table::{Absent, Key, Kind, ROOT};

/// The JSON schema of the file.
pub fn schema() -> String {
    let mut root = object(ROOT);
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("Weir's configuration file"));
    let text = serde_json::to_string_pretty(&Value::Object(root)).unwrap_or_default();
    format!("{text}\n")
}

fn object(keys: &[Key]) -> Map<String, Value> {
    let properties: Map<_, _> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<_> = keys.iter().filter(|key| matches!(key.absent, Absent::Fault)).map(|key| key.name).collect();
    let mut map = Map::new();
    map.insert("type".to_owned(), json!("object"));
    map.insert("additionalProperties".to_owned(), json!(false));
    map.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        map.insert("required".to_owned(), json!(required));
    }
    map
}

fn property(key: &Key) -> Value {
    let mut schema = kind_schema(key.kind);
    let described = match key.absent {
        Absent::Means(text) => format!("{} Without it: {text}.", key.doc),
        Absent::Fault | Absent::Default(_) => key.doc.to_owned(),
    };
    schema.insert("description".to_owned(), json!(described));
    if let Some(value) = scalar_default(key) {
        schema.insert("default".to_owned(), value);
    }
    Value::Object(schema)
}

fn scalar_default(key: &Key) -> Option<Value> {
    let Absent::Default(text) = key.absent else { return None };
    match key.kind {
        Kind::Int { .. } | Kind::Bool => serde_json::from_str(text).ok(),
        Kind::Text | Kind::Path | Kind::Address | Kind::Url | Kind::Choice(_) | Kind::Listeners(_) => Some(json!(text)),
        Kind::Secret | Kind::Texts | Kind::TextMap | Kind::Section(_) | Kind::Sections(_) => None,
    }
}

fn kind_schema(kind: Kind) -> Map<String, Value> {
    let schema = match kind {
        Kind::Text | Kind::Path | Kind::Address => json!({"type": "string", "minLength": 1}),
        Kind::Secret => json!({"type": "string", "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"}),
        Kind::Url => json!({"type": "string", "pattern": "^(https?://|unix:).+$"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Choice(words) => json!({"enum": words}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::TextMap => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Kind::Section(keys) => Value::Object(object(keys)),
        Kind::Sections(keys) => json!({"type": "array", "items": object(keys)}),
        Kind::Listeners(keys) => {
            json!({"oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": object(keys)}]})
        }
    };
    match schema {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// The reference page, in Markdown.
pub fn page() -> String {
    let mut page = String::from(concat!(
        "# Configuration\n\n",
        "One YAML file. Relative paths in it start at its own folder. Unknown keys, keys that stand twice and secrets ",
        "that are not references (`env:NAME`, `file:PATH`) are faults; `weir check --config FILE` reports all of them ",
        "at once.\n\n",
        "A change of the file, or of a file that it names, is taken over at once and as a whole, or not at all. ",
        "Keys marked \"needs a restart\" can't change in a running gateway.\n\n",
        "`config/gateway.yaml` is the smallest useful file, `config/production.yaml` a fuller one. ",
        "This page is written by `UPDATE=1 cargo test -p weir config` from the table that the gateway itself reads.\n",
    ));
    rows(&mut page, "", ROOT);
    page
}

fn rows(page: &mut String, path: &str, keys: &'static [Key]) {
    let title = if path.is_empty() { "The file" } else { path };
    let quote = if path.is_empty() { "" } else { "`" };
    page.push_str(&format!(
        "\n## {quote}{title}{quote}\n\n| key | takes | without it | example | meaning |\n|---|---|---|---|---|\n"
    ));
    for key in keys {
        let absent = match key.absent {
            Absent::Fault => "a fault".to_owned(),
            Absent::Means(text) => text.to_owned(),
            Absent::Default("{}" | "[]") => "empty".to_owned(),
            Absent::Default(text) => format!("`{text}`"),
        };
        let example = if key.example.is_empty() { String::new() } else { format!("`{}`", key.example) };
        let row = writeln!(page, "| `{}` | {} | {absent} | {example} | {} |", key.name, takes(key.kind), key.doc);
        debug_assert!(row.is_ok(), "writing to a String can't fail");
    }
    for key in keys {
        let outer = super::shape::join(path, key.name);
        match key.kind {
            Kind::Section(keys) => rows(page, &outer, keys),
            Kind::Sections(keys) | Kind::Listeners(keys) => rows(page, &format!("{outer}[]"), keys),
            Kind::Text
            | Kind::Path
            | Kind::Secret
            | Kind::Address
            | Kind::Url
            | Kind::Bool
            | Kind::Int { .. }
            | Kind::Choice(_)
            | Kind::Texts
            | Kind::TextMap => {}
        }
    }
}

fn takes(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Secret => "`env:NAME` or `file:PATH`".to_owned(),
        Kind::Address => "`IP:PORT`".to_owned(),
        Kind::Url => "URL".to_owned(),
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Int { min, max } => format!("{min} to {max}"),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
        Kind::Texts => "list of texts".to_owned(),
        Kind::TextMap => "mapping of texts".to_owned(),
        Kind::Section(_) => "section".to_owned(),
        Kind::Sections(_) => "list of sections".to_owned(),
        Kind::Listeners(_) => "`IP:PORT` or list of sections".to_owned(),
    }
}
