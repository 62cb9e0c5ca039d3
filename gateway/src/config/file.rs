//! The file as written: YAML into a tree that keeps every key, also the one that stands twice.
//!
//! Refuses what is no YAML, and a file beyond [`FILE_BYTES_MAX`]. Knows no key by name.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::fault::Wrong;

/// Bytes of a configuration file at most: far above 10,000 tenants.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// One value of the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `null`, `~`, or nothing after the colon.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number from 0 up.
    Whole(u64),
    /// Any other number, as written.
    Number(String),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file, duplicates included.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The kind of value, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Null => "nothing",
            Node::Bool(_) => "true or false",
            Node::Whole(_) | Node::Number(_) => "a number",
            Node::Text(_) => "text",
            Node::List(_) => "a list",
            Node::Map(_) => "a mapping",
        }
    }

    /// The text, where it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            Node::Null | Node::Bool(_) | Node::Whole(_) | Node::Number(_) | Node::List(_) | Node::Map(_) => None,
        }
    }

    /// The first entry of that name in a mapping; `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match self {
            Node::Map(entries) => {
                entries.iter().find(|(key, _)| key == name).map(|(_, node)| node).filter(|n| **n != Node::Null)
            }
            Node::Null | Node::Bool(_) | Node::Whole(_) | Node::Number(_) | Node::Text(_) | Node::List(_) => None,
        }
    }
}

/// Reads and parses the file.
pub fn read(path: &Path) -> Result<Node, Wrong> {
    let file = File::open(path).map_err(|e| Wrong::Unreadable(e.to_string()))?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX.saturating_add(1)).read_to_string(&mut text);
    read.map_err(|e| Wrong::Unreadable(e.to_string()))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(Wrong::FileSize(FILE_BYTES_MAX));
    }
    parse(&text)
}

/// Parses the text of a file; an empty one is an empty mapping.
pub fn parse(text: &str) -> Result<Node, Wrong> {
    let blank = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if blank {
        return Ok(Node::Map(Vec::new()));
    }
    let node = serde_yaml_ng::from_str(text).map_err(|e| Wrong::Yaml(e.to_string()))?;
    Ok(if node == Node::Null { Node::Map(Vec::new()) } else { node })
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Node;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain YAML without tags")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Whole(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(u64::try_from(value).map_or_else(|_| Node::Number(value.to_string()), Node::Whole))
    }
    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }
    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<Node, Node>()? {
            entries.push((key_text(key), node));
        }
        Ok(Node::Map(entries))
    }
}

fn key_text(key: Node) -> String {
    match key {
        Node::Text(text) | Node::Number(text) => text,
        Node::Whole(number) => number.to_string(),
        Node::Bool(value) => value.to_string(),
        Node::Null => "null".to_owned(),
        Node::List(_) => "[..]".to_owned(),
        Node::Map(_) => "{..}".to_owned(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_keeps_a_key_that_stands_twice() {
        let Node::Map(entries) = parse("a: 1\nb: x\na: -2\n").unwrap() else { panic!("no mapping") };
        let names: Vec<_> = entries.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(names, ["a", "b", "a"]);
        assert_eq!(entries[2].1, Node::Number("-2".to_owned()));
    }

    #[test]
    fn an_empty_file_is_an_empty_mapping() {
        for text in ["", "\n\n", "# only a comment\n", "~", "---\n"] {
            assert_eq!(parse(text), Ok(Node::Map(Vec::new())), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        let Err(Wrong::Yaml(text)) = parse("a: [1, 2\nb: 3\n") else { panic!("was taken") };
        assert!(text.contains("line"), "{text}");
        assert!(matches!(parse("a: !secret x"), Err(Wrong::Yaml(_))));
    }
}
