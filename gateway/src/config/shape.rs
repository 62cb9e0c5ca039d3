//! Whether the tree has the shape that the table of keys says: names, types, ranges, nothing twice.
//!
//! [`Section`] then reads values by name; a value that was reported here reads as its default, so that the checks
//! that follow report their own faults only.

use std::collections::BTreeMap;

use std::net::SocketAddr;

use super::fault::{Fault, Wrong, nearest};
use super::file::Node;
use super::keys_table::{Absent, Key, Kind};

/// Reports every fault of shape in the whole tree.
pub fn check(root: &Node, keys: &'static [Key], faults: &mut Vec<Fault>) {
    section(root, keys, "", faults);
}

/// `outer.name`, or just the name at the root.
pub fn join(outer: &str, name: &str) -> String {
    if outer.is_empty() { name.to_owned() } else { format!("{outer}.{name}") }
}

fn report(faults: &mut Vec<Fault>, path: &str, wrong: Wrong) {
    faults.push(Fault { path: path.to_owned(), wrong });
}

fn section(node: &Node, keys: &'static [Key], path: &str, faults: &mut Vec<Fault>) {
    let Node::Map(entries) = node else {
        return report(faults, path, Wrong::Type { want: "a mapping", got: node.kind() });
    };
    for (at, (name, value)) in entries.iter().enumerate() {
        let path = join(path, name);
        if entries.iter().take(at).any(|(earlier, _)| earlier == name) {
            report(faults, &path, Wrong::DuplicateKey);
        }
        match keys.iter().find(|key| key.name == name) {
            None => report(faults, &path, Wrong::UnknownKey(nearest(name, keys.iter().map(|key| key.name)))),
            Some(_) if *value == Node::Null => {}
            Some(key) => typed(value, key.kind, &path, faults),
        }
    }
    for key in keys.iter().filter(|key| matches!(key.absent, Absent::Fault) && node.get(key.name).is_none()) {
        let example = if key.example.is_empty() { ".." } else { key.example };
        report(faults, &join(path, key.name), Wrong::Missing { key: key.name, example });
    }
}

fn typed(node: &Node, kind: Kind, path: &str, faults: &mut Vec<Fault>) {
    match (kind, node) {
        (Kind::Text | Kind::Path | Kind::Url | Kind::Secret, Node::Text(text)) if text.is_empty() => {
            report(faults, path, Wrong::Type { want: want(kind), got: "an empty text" });
        }
        (Kind::Text | Kind::Path | Kind::Url | Kind::Secret, Node::Text(_)) | (Kind::Bool, Node::Bool(_)) => {}
        (Kind::Address | Kind::Listeners(_), Node::Text(text)) => {
            if text.parse::<SocketAddr>().is_err() {
                report(faults, path, Wrong::Address(text.clone()));
            }
        }
        (Kind::Int { min, max }, Node::Whole(got)) if (min..=max).contains(got) => {}
        (Kind::Int { min, max }, Node::Whole(got)) => {
            report(faults, path, Wrong::Range { min, max, got: got.to_string() })
        }
        (Kind::Int { min, max }, Node::Number(got)) => {
            report(faults, path, Wrong::Range { min, max, got: got.clone() })
        }
        (Kind::Choice(choices), Node::Text(got)) => {
            if !choices.contains(&got.as_str()) {
                let suggestion = nearest(got, choices.iter().copied());
                report(faults, path, Wrong::Choice { got: got.clone(), choices, suggestion });
            }
        }
        (Kind::Texts, Node::List(items)) => {
            texts(items.iter().enumerate().map(|(at, item)| (format!("{path}[{at}]"), item)), faults)
        }
        (Kind::TextMap, Node::Map(entries)) => text_map(entries, path, faults),
        (Kind::Section(keys), Node::Map(_)) => section(node, keys, path, faults),
        (Kind::Sections(keys) | Kind::Listeners(keys), Node::List(items)) => {
            for (at, item) in items.iter().enumerate() {
                section(item, keys, &format!("{path}[{at}]"), faults);
            }
        }
        (
            Kind::Text
            | Kind::Path
            | Kind::Secret
            | Kind::Address
            | Kind::Url
            | Kind::Bool
            | Kind::Int { .. }
            | Kind::Choice(_)
            | Kind::Texts
            | Kind::TextMap
            | Kind::Section(_)
            | Kind::Sections(_)
            | Kind::Listeners(_),
            _,
        ) => report(faults, path, Wrong::Type { want: want(kind), got: node.kind() }),
    }
}

fn texts<'a>(items: impl Iterator<Item = (String, &'a Node)>, faults: &mut Vec<Fault>) {
    for (path, item) in items {
        if item.as_text().is_none() {
            report(faults, &path, Wrong::Type { want: want(Kind::Text), got: item.kind() });
        }
    }
}

fn text_map(entries: &[(String, Node)], path: &str, faults: &mut Vec<Fault>) {
    for (at, (name, _)) in entries.iter().enumerate() {
        if entries.iter().take(at).any(|(earlier, _)| earlier == name) {
            report(faults, &join(path, name), Wrong::DuplicateKey);
        }
    }
    texts(entries.iter().map(|(name, value)| (join(path, name), value)), faults);
}

fn want(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text (in quotes, where YAML sees something else)",
        Kind::Path => "a path",
        Kind::Secret => "`env:NAME` or `file:PATH`",
        Kind::Address => "IP:PORT",
        Kind::Url => "a URL",
        Kind::Bool => "true or false",
        Kind::Int { .. } => "a whole number",
        Kind::Choice(_) => "a word",
        Kind::Texts => "a list of texts",
        Kind::TextMap => "a mapping of texts",
        Kind::Section(_) => "a mapping",
        Kind::Sections(_) => "a list of mappings",
        Kind::Listeners(_) => "IP:PORT, or a list of listeners",
    }
}

/// One mapping of the file beside its part of the table; reads values with their defaults.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    node: Option<&'a Node>,
    keys: &'static [Key],
    /// Place in the file.
    pub path: String,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub fn root(node: &'a Node, keys: &'static [Key]) -> Self {
        Self { node: Some(node), keys, path: String::new() }
    }

    /// Place of a key in the file.
    pub fn at(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// The value as written.
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        self.node.and_then(|node| node.get(name))
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    fn usual(&self, name: &str) -> Option<&'static str> {
        match self.key(name)?.absent {
            Absent::Default(text) => Some(text),
            Absent::Fault | Absent::Means(_) => None,
        }
    }

    /// Text as written, or its default.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        match self.get(name) {
            Some(Node::Text(text)) => Some(text),
            _ => self.usual(name),
        }
    }

    /// A number within its range, or its default.
    pub fn int(&self, name: &str) -> Option<u64> {
        match (self.get(name), self.key(name)?.kind) {
            (Some(Node::Whole(number)), Kind::Int { min, max }) if (min..=max).contains(number) => Some(*number),
            _ => self.usual(name)?.parse().ok(),
        }
    }

    /// `true` or `false`, or its default.
    pub fn bool(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Node::Bool(value)) => *value,
            _ => self.usual(name) == Some("true"),
        }
    }

    /// The texts of a list, each with its place, or of its default.
    pub fn texts(&self, name: &str) -> Vec<(String, &'a str)> {
        let Some(Node::List(items)) = self.get(name) else {
            let usual = self.usual(name).filter(|_| self.get(name).is_none()).unwrap_or_default();
            let words = usual.trim_matches(['[', ']']).split(',').map(str::trim).filter(|word| !word.is_empty());
            return words.map(|word| (self.at(name), word)).collect();
        };
        let text = |(at, item): (usize, &'a Node)| Some((format!("{}[{at}]", self.at(name)), item.as_text()?));
        items.iter().enumerate().filter_map(text).collect()
    }

    /// A mapping from text to text, as written; what is no text is left out, its fault is told elsewhere.
    pub fn text_map(&self, name: &str) -> BTreeMap<String, String> {
        let Some(Node::Map(entries)) = self.get(name) else { return BTreeMap::new() };
        let text = |(name, node): &(String, Node)| Some((name.clone(), node.as_text()?.to_owned()));
        entries.iter().filter_map(text).collect()
    }

    /// The section of that name, empty where it is absent.
    pub fn section(&self, name: &str) -> Section<'a> {
        let keys = match self.key(name).map(|key| key.kind) {
            Some(Kind::Section(keys)) => keys,
            _ => &[],
        };
        Section { node: self.get(name), keys, path: self.at(name) }
    }

    /// The sections of a list.
    pub fn sections(&self, name: &str) -> Vec<Section<'a>> {
        let keys = match self.key(name).map(|key| key.kind) {
            Some(Kind::Sections(keys) | Kind::Listeners(keys)) => keys,
            _ => &[],
        };
        let Some(Node::List(items)) = self.get(name) else { return Vec::new() };
        let one = |(at, node)| Section { node: Some(node), keys, path: format!("{}[{at}]", self.at(name)) };
        items.iter().enumerate().map(one).collect()
    }
}
