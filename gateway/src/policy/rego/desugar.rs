//! Newer spellings of Rego, written in those that the engine's parser knows: keywords as names in references
//! (`input.default`, `if.foo := 1`), and texts with expressions inside (`$"user {name}"`). Pure.
//!
//! Lines stay as they are; columns move only behind a change, and [`Columns`] leads back. What this pass doesn't
//! understand it leaves alone, so that the parser says what is wrong.

mod calls;
mod columns;
mod negation;
mod template;

use std::collections::BTreeSet;

use super::tokens::{Kind, Token, tokens};
use calls::{out_call, walk_pattern};
pub use columns::Columns;
use columns::Shift;
pub use negation::PREFIX as NEGATION_PREFIX;
use negation::negation;
pub use template::TEMPLATE_TEXT;
use template::template;

/// Names that the parser takes for keywords (`set` and `contains` it reads by their place).
const KEYWORDS: [&str; 15] = [
    "as", "contains", "default", "else", "every", "false", "if", "import", "in", "not", "null", "package", "some",
    "true", "with",
];

/// A module as the parser reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// The text.
    pub text: String,
    /// Where its columns came from.
    pub columns: Columns,
}

/// The module in plain spelling, and after it one for each keyword that its rules are named by.
pub fn modules(text: &str) -> Vec<Plain> {
    let all = tokens(text);
    let package = package_path(&all);
    let rules = rules_by_keyword(&all);
    if rules.is_empty() {
        let mut writer = Writer::new(package.as_deref());
        writer.rules = rule_names(&all);
        return vec![writer.write(&all, &[])];
    }
    let moved: Vec<_> = rules.iter().flat_map(|rule| rule.from..rule.to).collect();
    let mut writer = Writer::new(package.as_deref());
    writer.rules = rule_names(&all);
    let mut out = vec![writer.write(&all, &moved)];
    let keywords: BTreeSet<&str> = rules.iter().map(|rule| rule.keyword).collect();
    let Some(package) = package else { return out };
    for keyword in keywords {
        out.push(moved_module(&all, &package, keyword, &rules));
    }
    out
}

/// Names of the module's rules, and those that its imports give to others.
fn rule_names<'a>(all: &[Token<'a>]) -> BTreeSet<&'a str> {
    let starts = statements(all);
    let ends = starts.iter().skip(1).copied().chain([all.len()]);
    let name = |(from, to): (&usize, usize)| {
        let words: Vec<&Token<'_>> = all.get(*from..to)?.iter().filter(|token| token.kind == Kind::Name).collect();
        let first = words.first()?;
        match first.text {
            "package" => None,
            // `import data.a.b` gives `b`, `import data.a as c` gives `c`.
            "import" => words.last().map(|token| token.text),
            "default" => words.get(1).map(|token| token.text),
            name => Some(name),
        }
    };
    starts.iter().zip(ends).filter_map(name).collect()
}

/// Tokens in plain spelling.
fn plain(tokens: &[Token<'_>]) -> String {
    query(&tokens.iter().map(|token| token.text).collect::<String>())
}

/// A query, or any other text that is no module.
pub fn query(text: &str) -> String {
    Writer::new(None).write(&tokens(text), &[]).text
}

/// A rule whose name begins with a keyword: its tokens, and where its name stands.
struct KeywordRule<'a> {
    keyword: &'a str,
    from: usize,
    to: usize,
    name: usize,
}

/// `test` of `package test`, in plain spelling.
fn package_path(all: &[Token<'_>]) -> Option<String> {
    let at = all.iter().position(|token| !token.is_blank())?;
    all.get(at).filter(|token| token.text == "package")?;
    let path = all.get(at.saturating_add(1)..)?;
    let line: Vec<_> =
        path.iter().skip_while(|t| t.kind == Kind::Space).take_while(|t| !t.is_blank()).copied().collect();
    Some(Writer::new(None).write(&line, &[]).text)
}

fn is_keyword(token: &Token<'_>) -> bool {
    token.kind == Kind::Name && KEYWORDS.contains(&token.text)
}

/// Whether the token at `at` is a keyword that a name follows after a point: there it can only be a name.
fn leads(all: &[Token<'_>], at: usize) -> bool {
    let is_name = |at: usize| all.get(at).is_some_and(|token| token.kind == Kind::Name);
    let is_point = |at: Option<usize>| at.and_then(|at| all.get(at)).is_some_and(|token| token.is_sign("."));
    all.get(at).is_some_and(is_keyword)
        && is_point(at.checked_add(1))
        && is_name(at.saturating_add(2))
        && !is_point(at.checked_sub(1))
}

/// Rules of the module whose name a keyword begins.
fn rules_by_keyword<'a>(all: &[Token<'a>]) -> Vec<KeywordRule<'a>> {
    let starts = statements(all);
    let ends = starts.iter().skip(1).copied().chain([all.len()]);
    let rules = starts.iter().zip(ends).filter_map(|(from, to)| {
        let is_default = all.get(*from).is_some_and(|token| token.text == "default") && !leads(all, *from);
        let name = match is_default {
            true => next_solid(all, from.saturating_add(1))?,
            false => *from,
        };
        let keyword = all.get(name)?.text;
        leads(all, name).then_some(KeywordRule { keyword, from: *from, to, name })
    });
    rules.collect()
}

fn next_solid(all: &[Token<'_>], from: usize) -> Option<usize> {
    (from..all.len()).find(|at| all.get(*at).is_some_and(|token| !token.is_blank()))
}

/// Where each statement of the module begins: the first token of a line outside of all brackets, unless the line
/// before goes on.
fn statements(all: &[Token<'_>]) -> Vec<usize> {
    let (mut starts, mut depth, mut fresh, mut goes_on) = (Vec::new(), 0_usize, true, false);
    for (at, token) in all.iter().enumerate() {
        if token.is_blank() {
            fresh |= token.kind == Kind::Space && token.text.contains('\n');
            continue;
        }
        let continues = goes_on || (token.text == "else" && !leads(all, at)) || ["}", ")", "]"].contains(&token.text);
        if fresh && depth == 0 && !continues {
            starts.push(at);
        }
        fresh = false;
        depth = token.depth_after(depth);
        goes_on = match token.kind {
            Kind::Sign => !["}", ")", "]"].contains(&token.text),
            Kind::Name => ["if", "contains", "else", "in"].contains(&token.text),
            Kind::Space | Kind::Comment | Kind::Number | Kind::Text | Kind::Raw | Kind::Template => false,
        };
    }
    starts
}

/// The rules of one keyword in a package of their own, on the lines where they stood.
fn moved_module(all: &[Token<'_>], package: &str, keyword: &str, rules: &[KeywordRule<'_>]) -> Plain {
    let starts = statements(all);
    let siblings: BTreeSet<&str> = starts
        .iter()
        .filter(|at| !leads(all, **at))
        .filter_map(|at| all.get(*at))
        .map(|token| token.text)
        .filter(|text| !KEYWORDS.contains(text))
        .collect();
    let mut writer = Writer::new(Some(package));
    writer.siblings = siblings;
    let rule_at = |at: usize| rules.iter().find(|rule| (rule.from..rule.to).contains(&at) && rule.keyword == keyword);
    let is_import = |at: usize| {
        let start = starts.iter().rfind(|start| **start <= at).and_then(|start| all.get(*start));
        start.is_some_and(|token| token.text == "import")
    };
    let header = next_solid(all, 0).unwrap_or_default();
    for (at, token) in all.iter().enumerate() {
        match rule_at(at) {
            Some(rule) if at == rule.name || at == rule.name.saturating_add(1) => writer.skip(token),
            Some(_) => writer.token(all, at),
            None if at == header => writer.put(token, &format!("package {package}[\"{keyword}\"]")),
            None if token.kind == Kind::Space || is_import(at) => writer.token(all, at),
            None => writer.blank(token),
        }
    }
    writer.done()
}

/// Writes tokens out and keeps the account of columns.
struct Writer<'a> {
    package: Option<&'a str>,
    /// Names that stand for rules in this text.
    rules: BTreeSet<&'a str>,
    /// Rules that must be named in full, because they stand in another package now.
    siblings: BTreeSet<&'a str>,
    out: String,
    columns: Vec<Shift>,
    /// Line and column of the next character, as written and as read.
    line: u32,
    read: u32,
    written: u32,
}

impl<'a> Writer<'a> {
    fn new(package: Option<&'a str>) -> Self {
        let columns = Vec::new();
        let rules = BTreeSet::new();
        Self { package, rules, siblings: BTreeSet::new(), out: String::new(), columns, line: 1, read: 1, written: 1 }
    }

    fn write(mut self, all: &[Token<'_>], moved: &[usize]) -> Plain {
        let mut skip_to = 0;
        for (at, token) in all.iter().enumerate() {
            if at < skip_to {
                continue;
            }
            if moved.binary_search(&at).is_ok() {
                self.blank(token);
                continue;
            }
            let other = out_call(all, at).or_else(|| walk_pattern(all, at));
            match other.or_else(|| negation(all, at, &self.rules)) {
                Some((end, plain)) => {
                    self.put_group(all.get(at..end).unwrap_or_default(), &plain);
                    skip_to = end;
                }
                None => self.token(all, at),
            }
        }
        self.done()
    }

    fn done(self) -> Plain {
        Plain { text: self.out, columns: Columns(self.columns) }
    }

    fn token(&mut self, all: &[Token<'_>], at: usize) {
        let Some(token) = all.get(at) else { return };
        let neighbour = |step: usize| all.get(at.wrapping_add(step));
        let follows_point = neighbour(usize::MAX).is_some_and(|token| token.is_sign("."));
        let before_keyword = token.is_sign(".") && neighbour(1).is_some_and(is_keyword);
        // A point after a blank begins no member: `1 .5` or a broken text, which the parser shall see.
        let is_member = at > 0 && neighbour(usize::MAX).is_some_and(|token| !token.is_blank());
        if before_keyword && is_member {
            return self.skip(token);
        }
        if is_keyword(token) && follows_point && at > 1 && all.get(at.wrapping_sub(2)).is_some_and(|t| !t.is_blank()) {
            return self.put(token, &format!("[\"{}\"]", token.text));
        }
        match (token.kind, self.package) {
            (Kind::Template, _) => {
                let plain = template(token.text, 0);
                match plain {
                    Some(plain) => self.put(token, &plain),
                    None => self.copy(token),
                }
            }
            (Kind::Name, Some(package)) if leads(all, at) => {
                let full = format!("data.{package}[\"{}\"]", token.text);
                self.put(token, &full);
            }
            (Kind::Name, Some(package)) if !follows_point && self.siblings.contains(token.text) => {
                let full = format!("data.{package}.{}", token.text);
                self.put(token, &full);
            }
            _ => self.copy(token),
        }
    }

    fn copy(&mut self, token: &Token<'_>) {
        self.out.push_str(token.text);
        self.advance(token.text, token.text);
    }

    /// Other text in a token's place; it has as many lines.
    fn put(&mut self, token: &Token<'_>, text: &str) {
        self.columns.push(Shift { line: self.line, from: self.written, was: self.read, is_flat: true });
        self.out.push_str(text);
        self.advance(token.text, text);
        self.columns.push(Shift { line: self.line, from: self.written, was: self.read, is_flat: false });
    }

    fn put_group(&mut self, group: &[Token<'_>], text: &str) {
        let read: String = group.iter().map(|token| token.text).collect();
        self.columns.push(Shift { line: self.line, from: self.written, was: self.read, is_flat: true });
        self.out.push_str(text);
        self.advance(&read, text);
        self.columns.push(Shift { line: self.line, from: self.written, was: self.read, is_flat: false });
    }

    fn skip(&mut self, token: &Token<'_>) {
        self.put(token, "");
    }

    /// Spaces in a token's place.
    fn blank(&mut self, token: &Token<'_>) {
        let spaces: String = token.text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        self.out.push_str(&spaces);
        self.advance(token.text, &spaces);
    }

    fn advance(&mut self, read: &str, written: &str) {
        let after = |column: u32, text: &str| match text.rsplit_once('\n') {
            Some((_, last)) => width(last).saturating_add(1),
            None => column.saturating_add(width(text)),
        };
        self.line = self.line.saturating_add(lines(read));
        self.read = after(self.read, read);
        self.written = after(self.written, written);
    }
}

fn width(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

fn lines(text: &str) -> u32 {
    u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        modules(text).into_iter().map(|module| module.text).collect::<Vec<_>>().join("\n===\n")
    }

    #[test]
    fn plain_rego_stays_as_it_is() {
        let text =
            "# not f(x.y)\npackage a\n\ndefault p := false\n\np if {\n\tnot input.x == 1 # no\n\tq[_] in [1]\n}\n";
        let all = modules(text);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].text, text);
        assert!(all[0].columns.is_empty());
    }

    #[test]
    fn keywords_in_references_are_quoted() {
        assert_eq!(
            plain("package a\np if input.default.in[1].x == data.as"),
            "package a\np if input[\"default\"][\"in\"][1].x == data[\"as\"]"
        );
        assert_eq!(
            plain("package a.in\np if 1 in [1]\nfoo.if := 1"),
            "package a[\"in\"]\np if 1 in [1]\nfoo[\"if\"] := 1"
        );
        assert_eq!(plain("package a\n# x.in\np := \"x.in\""), "package a\n# x.in\np := \"x.in\"");
    }

    #[test]
    fn a_rule_named_by_a_keyword_moves_to_a_package_of_that_name() {
        let text =
            "package a\nimport data.x\nq := 1\np if if.foo == 1\nif.foo := q if {\n\tinput.y\n} else := x\nr := 2";
        let all = modules(text);
        assert_eq!(
            all[0].text,
            "package a\nimport data.x\nq := 1\np if data.a[\"if\"].foo == 1\n                \n        \n           \nr := 2"
        );
        let lines: Vec<&str> = all[1].text.lines().map(str::trim_end).collect();
        let moved =
            ["package a[\"if\"]", "import data.x", "", "", "foo := data.a.q if {", "\tinput.y", "} else := x", ""];
        assert_eq!(lines, moved);
    }

    #[test]
    fn templates_become_calls_on_as_many_lines() {
        assert_eq!(plain("package a\np := $\"\""), "package a\np := \"\"");
        let made = plain("package a\np := $`a\n{x}\\{`");
        let text =
            "package a\np := concat(\"\", [\"a\\n\"\n, weir.template_text({__text0__ | __text0__ := (x)}), \"{\"])";
        assert_eq!(made, text);
    }

    #[test]
    fn columns_lead_back() {
        // `input.in.x` is `input["in"].x`: 3 characters longer behind it.
        let module = modules("package a\np := input.in.x + y").remove(0);
        let at = |needle: &str| u32::try_from(module.text.lines().nth(1).unwrap().find(needle).unwrap()).unwrap() + 1;
        assert_eq!(module.columns.written(2, at("y")), 19);
        assert_eq!(module.columns.written(2, at(".x")), 14);
        assert_eq!(module.columns.written(2, 1), 1);
        assert_eq!(module.columns.written(1, 5), 5);
    }
}
