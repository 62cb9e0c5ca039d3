//! Inputs on which the machine and the interpreter must agree before the machine is trusted: made from what the policy
//! itself reads and names, so that they reach its rules. Pure and repeatable: the same policy gives the same probes.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::Module;

use crate::policy::rego::tokens::{Kind, tokens};
use crate::policy::walk::{self, Found};

/// Probes made for one policy: some tens of milliseconds at activation.
const PROBES: usize = 256;
/// Words taken from the policy and its data; more would thin out the ones that matter.
const WORDS_MAX: usize = 512;
/// Nesting of data looked into for words.
const DEPTH_MAX: usize = 6;
/// Members of a path that a policy reads of `input`.
const PATH_MAX: usize = 8;

/// The probes of a policy with its data.
pub(in crate::policy) fn make(modules: &[&Module], data: &Value) -> Vec<Value> {
    let (paths, words) = (paths(modules), words(modules, data));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    (0..PROBES).map(|_| probe(&paths, &words, &mut dice)).collect()
}

fn probe(paths: &[Vec<String>], words: &[Value], dice: &mut Dice) -> Value {
    let mut input = Node::default();
    for path in paths {
        // Most of the time everything is there; what is missing matters as much as what is wrong.
        if dice.below(8) > 0 {
            input.put(path, value(words, dice, 0));
        }
    }
    input.into_value()
}

fn value(words: &[Value], dice: &mut Dice, depth: usize) -> Value {
    let word = |dice: &mut Dice| words.get(dice.below(words.len().max(1))).cloned().unwrap_or(Value::Null);
    match dice.below(if depth > 1 { 8 } else { 12 }) {
        0 => Value::from(dice.below(2) == 0),
        1 => Value::from(dice.below(200)),
        2 if depth == 0 => Value::Null,
        8 | 9 => (0..dice.below(4)).map(|_| value(words, dice, depth.saturating_add(1))).collect::<Vec<_>>().into(),
        10 => {
            let members = (0..dice.below(4)).map(|_| (word(dice), value(words, dice, depth.saturating_add(1))));
            Value::from(members.collect::<BTreeMap<_, _>>())
        }
        _ => word(dice),
    }
}

/// Paths below `input` that the policy names, such as `subject.roles`.
fn paths(modules: &[&Module]) -> Vec<Vec<String>> {
    let mut found = BTreeSet::new();
    for module in modules {
        let walked: Result<(), std::convert::Infallible> = walk::each(module, &mut |_, shown| {
            if let Found::Reference { root: Some("input"), path } = shown {
                let fixed = path.iter().take(PATH_MAX).map_while(|name| name.map(str::to_owned));
                found.insert(fixed.collect::<Vec<_>>());
            }
            Ok(())
        });
        let Ok(()) = walked;
    }
    found.remove(&Vec::new());
    found.into_iter().collect()
}

/// Texts and numbers of the policies, with near misses of both, and the names and texts of the data.
fn words(modules: &[&Module], data: &Value) -> Vec<Value> {
    let mut words = BTreeSet::new();
    for module in modules {
        let text = module.package.span.source.get_contents();
        for token in tokens(text).iter().filter(|token| token.kind == Kind::Text || token.kind == Kind::Number) {
            if let Ok(word) = Value::from_json_str(token.text) {
                words.extend(near(&word));
                words.insert(word);
            }
        }
    }
    gather(data, 0, &mut words);
    words.into_iter().take(WORDS_MAX).collect()
}

fn near(word: &Value) -> Vec<Value> {
    if let Value::String(text) = word {
        return vec![Value::from(format!("{text}x")), Value::from(text.trim_end_matches('*'))];
    }
    match word.as_i64() {
        Ok(number) => vec![Value::from(number.saturating_add(1)), Value::from(number.saturating_sub(1))],
        Err(_) => Vec::new(),
    }
}

fn gather(data: &Value, depth: usize, words: &mut BTreeSet<Value>) {
    if depth > DEPTH_MAX || words.len() >= WORDS_MAX {
        return;
    }
    match data {
        Value::Object(members) => {
            for (name, value) in members.iter_sorted() {
                words.insert(name.clone());
                gather(value, depth.saturating_add(1), words);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, depth.saturating_add(1), words)),
        Value::Set(items) => items.iter_sorted().for_each(|item| gather(item, depth.saturating_add(1), words)),
        Value::String(_) | Value::Number(_) => {
            words.insert(data.clone());
        }
        Value::Null | Value::Bool(_) | Value::Undefined => {}
    }
}

/// A document under construction.
#[derive(Default)]
struct Node {
    value: Option<Value>,
    members: BTreeMap<String, Node>,
}

impl Node {
    fn put(&mut self, path: &[String], value: Value) {
        match path.split_first() {
            Some((first, rest)) => self.members.entry(first.clone()).or_default().put(rest, value),
            None => self.value = Some(value),
        }
    }

    /// Members win over a value of their own: the longer path was named too.
    fn into_value(self) -> Value {
        if self.members.is_empty() {
            return self.value.unwrap_or_else(Value::new_object);
        }
        let members = self.members.into_iter().map(|(name, node)| (Value::from(name), node.into_value()));
        Value::from(members.collect::<BTreeMap<_, _>>())
    }
}

/// Repeatable numbers (xorshift64*): chance has no place where a policy is activated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).unwrap_or_default().checked_rem(bound).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rego::{Rego, builtins::OnError};

    #[test]
    fn probes_reach_both_sides_of_a_rule_and_repeat() {
        let mut rego = Rego::new(OnError::Undefined);
        let text = "package x\nok if { input.subject.role == \"chief\"; input.n > 5; input.kind in data.kinds }";
        rego.add("x.rego", text).unwrap();
        rego.engine.add_data(Value::from(serde_json::json!({"kinds": ["a", "b"]}))).unwrap();
        let modules = rego.engine.get_modules().clone();
        let modules: Vec<_> = modules.iter().map(AsRef::as_ref).collect();
        let data = rego.engine.get_data();
        let probes = make(&modules, &data);
        assert_eq!(probes, make(&modules, &data));
        let chiefs = probes.iter().filter(|probe| probe["subject"]["role"] == Value::from("chief")).count();
        assert!((1..PROBES).contains(&chiefs), "{chiefs}");
        assert!(probes.iter().any(|probe| probe["n"] == Value::from(6)));
        assert!(probes.iter().any(|probe| probe["kind"] == Value::from("b")));
        assert!(probes.iter().any(|probe| probe["kind"] == Value::Undefined));
    }
}
