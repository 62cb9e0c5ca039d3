//! Filters (RFC 7644, section 3.4.2.2): read with the schema at hand, then held against resources.
//!
//! Refuses an attribute that no schema has and a comparison that means nothing for its kind.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::fault::{Kind as FaultKind, ScimFault};
use super::moment;
use super::place::{Place, Scope};
use super::schema::{Attribute, Kind};
use super::words::{FILTER_BYTES_MAX, Word, split};

/// Brackets within brackets.
const DEPTH_MAX: usize = 16;
/// Comparisons of one filter.
const TERMS_MAX: usize = 64;

/// A filter that means something for its resources.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// A comparison; any value that holds is enough.
    Compare(Place, Op, Literal),
    /// Something is there.
    Present(Place),
    /// One value of a list for which all of it holds.
    Some(Place, Box<Filter>),
    /// Both hold.
    Both(Box<Filter>, Box<Filter>),
    /// One of them holds.
    Either(Box<Filter>, Box<Filter>),
    /// It doesn't hold.
    Not(Box<Filter>),
}

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// The same.
    Eq,
    /// Another, or none.
    Ne,
    /// Contains.
    Co,
    /// Starts with.
    Sw,
    /// Ends with.
    Ew,
    /// Greater.
    Gt,
    /// Greater or the same.
    Ge,
    /// Less.
    Lt,
    /// Less or the same.
    Le,
}

/// What is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// Nothing: the attribute isn't there.
    Null,
    /// True or false.
    Bool(bool),
    /// Text, also of a moment.
    Text(String),
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// `invalidFilter`, with the word that is wrong.
    pub fn parse(scope: Scope, text: &str) -> Result<Self, ScimFault> {
        let words = split(text)
            .ok_or_else(|| fault(format!("the filter can't be read, or is longer than {FILTER_BYTES_MAX} bytes")))?;
        let mut reader = Reader { words: words.into_iter().peekable(), terms: 0 };
        let filter = reader.either(scope, 0)?;
        match reader.words.next() {
            None => Ok(filter),
            Some(word) => Err(unexpected(Some(&word))),
        }
    }

    /// Whether it holds for a resource, or for one value of a list.
    pub fn holds(&self, resource: &Map<String, Value>) -> bool {
        match self {
            Self::Compare(place, op, literal) => compare(place, *op, literal, resource),
            Self::Present(place) => place.whole(resource).is_some_and(|whole| match place.part {
                None => is_there(whole),
                Some(_) => place.values(resource).into_iter().any(is_there),
            }),
            Self::Some(place, inner) => {
                let each = place.whole(resource).and_then(Value::as_array);
                each.into_iter().flatten().filter_map(Value::as_object).any(|value| inner.holds(value))
            }
            Self::Both(one, other) => one.holds(resource) && other.holds(resource),
            Self::Either(one, other) => one.holds(resource) || other.holds(resource),
            Self::Not(inner) => !inner.holds(resource),
        }
    }

    /// A text that an attribute of the resource itself must have for the filter to hold: what an index can find.
    pub fn must_be(&self, name: &str) -> Option<&str> {
        match self {
            Self::Compare(place, Op::Eq, Literal::Text(text)) => {
                let is_it = place.extension.is_none() && place.part.is_none() && place.attribute.name == name;
                is_it.then_some(text.as_str())
            }
            Self::Both(one, other) => one.must_be(name).or_else(|| other.must_be(name)),
            Self::Compare(..) | Self::Present(_) | Self::Some(..) | Self::Either(..) | Self::Not(_) => None,
        }
    }
}

fn is_there(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// A text as it is compared where case doesn't count.
pub fn folded(text: &str) -> String {
    text.to_lowercase()
}

fn compare(place: &Place, op: Op, literal: &Literal, resource: &Map<String, Value>) -> bool {
    let Some(attribute) = place.compared() else { return false };
    let values = place.values(resource);
    let same = |op| values.iter().any(|value| holds_for(attribute, op, literal, value));
    match (op, literal) {
        (Op::Eq, Literal::Null) => !values.into_iter().any(is_there),
        (Op::Ne, Literal::Null) => values.into_iter().any(is_there),
        (Op::Ne, Literal::Bool(_) | Literal::Text(_)) => !same(Op::Eq),
        (op, _) => same(op),
    }
}

fn holds_for(attribute: &Attribute, op: Op, literal: &Literal, value: &Value) -> bool {
    match (literal, value) {
        (Literal::Bool(wanted), Value::Bool(found)) => op == Op::Eq && wanted == found,
        (Literal::Text(wanted), Value::String(found)) => texts(attribute, op, found, wanted),
        (Literal::Null | Literal::Bool(_) | Literal::Text(_), _) => false,
    }
}

fn texts(attribute: &Attribute, op: Op, found: &str, wanted: &str) -> bool {
    if attribute.kind == Kind::Time
        && let (Some(found), Some(wanted)) = (moment::parse(found), moment::parse(wanted))
        && let Some(holds) = ordered(op, found.cmp(&wanted))
    {
        return holds;
    }
    let (found, wanted) = match attribute.exact {
        true => (found.to_owned(), wanted.to_owned()),
        false => (folded(found), folded(wanted)),
    };
    match op {
        Op::Co => found.contains(&wanted),
        Op::Sw => found.starts_with(&wanted),
        Op::Ew => found.ends_with(&wanted),
        Op::Eq | Op::Ne | Op::Gt | Op::Ge | Op::Lt | Op::Le => ordered(op, found.cmp(&wanted)).unwrap_or(false),
    }
}

fn ordered(op: Op, order: Ordering) -> Option<bool> {
    match op {
        Op::Eq => Some(order.is_eq()),
        Op::Ne => Some(order.is_ne()),
        Op::Gt => Some(order.is_gt()),
        Op::Ge => Some(order.is_ge()),
        Op::Lt => Some(order.is_lt()),
        Op::Le => Some(order.is_le()),
        Op::Co | Op::Sw | Op::Ew => None,
    }
}

fn fault(detail: impl Into<String>) -> ScimFault {
    ScimFault::new(FaultKind::InvalidFilter, detail)
}

fn unexpected(word: Option<&Word>) -> ScimFault {
    match word {
        None => fault("the filter ends too early"),
        Some(Word::Plain(text)) => fault(format!("`{text}` is not expected there in the filter")),
        Some(Word::Quoted(_)) => fault("a text is not expected there in the filter"),
        Some(Word::Open | Word::Close | Word::OpenValue | Word::CloseValue) => {
            fault("a bracket of the filter is not expected there")
        }
    }
}

/// Reads words; `or` binds least, `not` most.
struct Reader {
    words: std::iter::Peekable<std::vec::IntoIter<Word>>,
    terms: usize,
}

impl Reader {
    fn takes(&mut self, keyword: &str) -> bool {
        let is_it = |word: &Word| matches!(word, Word::Plain(text) if text.eq_ignore_ascii_case(keyword));
        self.words.next_if(is_it).is_some()
    }

    fn expect(&mut self, wanted: &Word) -> Result<(), ScimFault> {
        match self.words.next() {
            Some(word) if word == *wanted => Ok(()),
            other => Err(unexpected(other.as_ref())),
        }
    }

    fn either(&mut self, scope: Scope, depth: usize) -> Result<Filter, ScimFault> {
        let mut filter = self.both(scope, depth)?;
        while self.takes("or") {
            filter = Filter::Either(filter.into(), self.both(scope, depth)?.into());
        }
        Ok(filter)
    }

    fn both(&mut self, scope: Scope, depth: usize) -> Result<Filter, ScimFault> {
        let mut filter = self.one(scope, depth)?;
        while self.takes("and") {
            filter = Filter::Both(filter.into(), self.one(scope, depth)?.into());
        }
        Ok(filter)
    }

    fn one(&mut self, scope: Scope, depth: usize) -> Result<Filter, ScimFault> {
        let deeper = depth.saturating_add(1);
        self.terms = self.terms.saturating_add(1);
        if deeper > DEPTH_MAX || self.terms > TERMS_MAX {
            return Err(fault(format!("a filter has at most {TERMS_MAX} terms, {DEPTH_MAX} brackets deep")));
        }
        if self.takes("not") {
            self.expect(&Word::Open)?;
            let inner = self.either(scope, deeper)?;
            self.expect(&Word::Close)?;
            return Ok(Filter::Not(inner.into()));
        }
        if self.words.next_if_eq(&Word::Open).is_some() {
            let inner = self.either(scope, deeper)?;
            self.expect(&Word::Close)?;
            return Ok(inner);
        }
        let name = match self.words.next() {
            Some(Word::Plain(name)) => name,
            other => return Err(unexpected(other.as_ref())),
        };
        let place =
            Place::parse(scope, &name).ok_or_else(|| fault(format!("there is no attribute `{name}` to filter by")))?;
        if self.words.next_if_eq(&Word::OpenValue).is_some() {
            if place.part.is_some() || !place.attribute.many || place.attribute.parts.is_empty() {
                return Err(fault(format!("`{name}` is no list of complex values")));
            }
            let inner = self.either(Scope::Value(place.attribute), deeper)?;
            self.expect(&Word::CloseValue)?;
            return Ok(Filter::Some(place, inner.into()));
        }
        self.comparison(place, &name)
    }

    fn comparison(&mut self, place: Place, name: &str) -> Result<Filter, ScimFault> {
        let op = match self.words.next() {
            Some(Word::Plain(op)) => op,
            other => return Err(unexpected(other.as_ref())),
        };
        let op = match op.to_ascii_lowercase().as_str() {
            "pr" => return Ok(Filter::Present(place)),
            "eq" => Op::Eq,
            "ne" => Op::Ne,
            "co" => Op::Co,
            "sw" => Op::Sw,
            "ew" => Op::Ew,
            "gt" => Op::Gt,
            "ge" => Op::Ge,
            "lt" => Op::Lt,
            "le" => Op::Le,
            _ => return Err(fault(format!("`{op}` is no operator"))),
        };
        let literal = match self.words.next() {
            Some(Word::Quoted(text)) => Literal::Text(text),
            Some(Word::Plain(text)) if text == "true" => Literal::Bool(true),
            Some(Word::Plain(text)) if text == "false" => Literal::Bool(false),
            Some(Word::Plain(text)) if text == "null" => Literal::Null,
            other => return Err(unexpected(other.as_ref())),
        };
        let attribute = place.compared().ok_or_else(|| fault(format!("`{name}` has parts: compare one of them")))?;
        let literal = meant(attribute, literal);
        let means_something = match (&literal, attribute.kind) {
            (Literal::Null, _) | (Literal::Bool(_), Kind::Bool) => matches!(op, Op::Eq | Op::Ne),
            (Literal::Text(_), Kind::Binary) => !matches!(op, Op::Gt | Op::Ge | Op::Lt | Op::Le),
            (Literal::Text(_), Kind::Text | Kind::Time | Kind::Reference(_)) => true,
            (Literal::Bool(_) | Literal::Text(_), _) => false,
        };
        match means_something {
            true => Ok(Filter::Compare(place, op, literal)),
            false => Err(fault(format!("`{name}` can't be compared in that way"))),
        }
    }
}

/// Some clients write `"True"` for true.
fn meant(attribute: &Attribute, literal: Literal) -> Literal {
    match literal {
        Literal::Text(text) if attribute.kind == Kind::Bool && text.eq_ignore_ascii_case("true") => Literal::Bool(true),
        Literal::Text(text) if attribute.kind == Kind::Bool && text.eq_ignore_ascii_case("false") => {
            Literal::Bool(false)
        }
        same @ (Literal::Text(_) | Literal::Bool(_) | Literal::Null) => same,
    }
}
