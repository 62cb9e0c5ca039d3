//! Rego text as tokens that cover it without a gap. Pure; knows just enough to tell names from strings and comments.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Spaces, tabs, line ends.
    Space,
    /// From `#` to the end of the line.
    Comment,
    /// A name or keyword.
    Name,
    /// A number.
    Number,
    /// A text in double quotes.
    Text,
    /// A text in backticks.
    Raw,
    /// `$"...{x}..."` or its form in backticks.
    Template,
    /// One other character.
    Sign,
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: &'a str,
    /// Byte offset of its start.
    pub start: usize,
}

impl Token<'_> {
    /// Whether it means nothing to the parser.
    pub fn is_blank(&self) -> bool {
        matches!(self.kind, Kind::Space | Kind::Comment)
    }

    /// How many brackets are open behind it, where `depth` are before it.
    pub fn depth_after(&self, depth: usize) -> usize {
        match (self.kind, self.text) {
            (Kind::Sign, "(" | "[" | "{") => depth.saturating_add(1),
            (Kind::Sign, ")" | "]" | "}") => depth.saturating_sub(1),
            (_, _) => depth,
        }
    }

    /// Whether it is this sign.
    pub fn is_sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }
}

/// All tokens; joined they are the text. A string without an end runs to the end of the text.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut all = Vec::new();
    let mut start = 0;
    while let Some(rest) = text.get(start..).filter(|rest| !rest.is_empty()) {
        let (kind, length) = next(rest);
        let end = start.saturating_add(length.max(1));
        let Some(text) = text.get(start..end) else { break };
        all.push(Token { kind, text, start });
        start = end;
    }
    all
}

fn next(rest: &str) -> (Kind, usize) {
    let mut chars = rest.chars();
    match (chars.next().unwrap_or(' '), chars.next()) {
        (space, _) if space.is_whitespace() => (Kind::Space, run(rest, char::is_whitespace)),
        ('#', _) => (Kind::Comment, rest.find('\n').unwrap_or(rest.len())),
        ('"', _) => (Kind::Text, quoted(rest, 1)),
        ('`', _) => (Kind::Raw, raw(rest, 1)),
        ('$', Some('"')) => (Kind::Template, template(rest, '"')),
        ('$', Some('`')) => (Kind::Template, template(rest, '`')),
        (first, _) if is_name_start(first) => (Kind::Name, run(rest, |c| is_name_start(c) || c.is_ascii_digit())),
        (first, _) if first.is_ascii_digit() => (Kind::Number, number(rest)),
        (other, _) => (Kind::Sign, other.len_utf8()),
    }
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn run(rest: &str, keep: impl Fn(char) -> bool) -> usize {
    rest.find(|c| !keep(c)).unwrap_or(rest.len())
}

/// Digits, a point that digits follow, an exponent.
fn number(rest: &str) -> usize {
    let digits =
        |from: usize| rest.get(from..).map_or(from, |tail| from.saturating_add(run(tail, |c| c.is_ascii_digit())));
    let mut end = match rest.starts_with("0x") {
        true => return run(rest, |c| c.is_ascii_alphanumeric()),
        false => digits(0),
    };
    let after_point = digits(end.saturating_add(1));
    if rest.get(end..).is_some_and(|tail| tail.starts_with('.')) && after_point > end.saturating_add(1) {
        end = after_point;
    }
    if rest.get(end..).is_some_and(|tail| tail.starts_with(['e', 'E'])) {
        let sign = rest.get(end.saturating_add(1)..).is_some_and(|tail| tail.starts_with(['+', '-']));
        let from = end.saturating_add(1).saturating_add(usize::from(sign));
        let exponent = digits(from);
        if exponent > from {
            end = exponent;
        }
    }
    end
}

/// Length of a text in double quotes whose inside begins at `from`.
fn quoted(rest: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip_while(|(at, _)| *at < from) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at.saturating_add(1),
            _ => {}
        }
    }
    rest.len()
}

fn raw(rest: &str, from: usize) -> usize {
    let tail = rest.get(from..).and_then(|tail| tail.find('`'));
    tail.map_or(rest.len(), |at| at.saturating_add(from).saturating_add(1))
}

/// Length of a template with its `$`: texts and templates inside its expressions don't end it.
fn template(rest: &str, quote: char) -> usize {
    let (mut at, mut depth) = (2, 0_usize);
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        let first = tail.chars().next().unwrap_or(' ');
        let step = match (depth, first) {
            // `\{` is a brace, `\"` a quote.
            (0, '\\') => 1_usize.saturating_add(tail.chars().nth(1).map_or(0, char::len_utf8)),
            (0, c) if c == quote => return at.saturating_add(1),
            (0, '{') => {
                depth = 1;
                1
            }
            (0, c) => c.len_utf8(),
            (_, '{') => {
                depth = depth.saturating_add(1);
                1
            }
            (_, '}') => {
                depth = depth.saturating_sub(1);
                1
            }
            _ => next(tail).1.max(1),
        };
        at = at.saturating_add(step);
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_cover_the_text_and_know_what_is_a_name() {
        let text = "p := $\"a {f(\"}\")} \\{ b\" if { # in\n\tx.in == 1.5e3; y[`{`] }\n";
        let all = tokens(text);
        assert_eq!(all.iter().map(|token| token.text).collect::<String>(), text);
        let of = |kind| all.iter().filter(|t| t.kind == kind).map(|t| t.text).collect::<Vec<_>>();
        assert_eq!(of(Kind::Template), ["$\"a {f(\"}\")} \\{ b\""]);
        assert_eq!(of(Kind::Name), ["p", "if", "x", "in", "y"]);
        assert_eq!(of(Kind::Number), ["1.5e3"]);
        assert_eq!(of(Kind::Raw), ["`{`"]);
        assert_eq!(of(Kind::Comment), ["# in"]);
    }

    #[test]
    fn what_has_no_end_runs_to_the_end() {
        for text in ["\"abc", "`abc", "$\"a {b", "$`x", "\"a\\"] {
            assert_eq!(tokens(text).len(), 1, "{text}");
        }
    }
}
