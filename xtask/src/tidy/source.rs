//! A Rust file as the rules see it: code, comments and literals told apart, test code marked.
//!
//! A scanner, no parser: it knows strings, raw strings, characters, lifetimes and nested comments, which is what it
//! takes not to find a banned word inside a message. Start at `Source::new`.

/// One line: the same columns three times.
pub struct Line {
    /// As written.
    pub raw: String,
    /// Code only: what stands in comments and literals is blank.
    pub code: String,
    /// Comment only: everything else is blank.
    pub comment: String,
    /// Inside `#[cfg(test)]`, or in a file that is only built for tests.
    pub is_test: bool,
}

/// A Rust file.
pub struct Source {
    pub path: String,
    pub lines: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let mut lines = split(text);
        let all = is_test_file(path);
        let tests = test_lines(&lines);
        for (index, line) in lines.iter_mut().enumerate() {
            line.is_test = all || tests.iter().any(|range| range.contains(&index));
        }
        Self { path: path.into(), lines }
    }

    /// Lines with their numbers, from 1.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        (1..).zip(&self.lines)
    }
}

/// The package of end-to-end tests, and the files that only tests build.
pub fn is_test_file(path: &str) -> bool {
    let in_folder = |folder: &str| path.starts_with(&format!("{folder}/")) || path.contains(&format!("/{folder}/"));
    ["tests", "benches", "examples"].into_iter().any(in_folder)
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}

/// One character of input: the new state, and how many characters it takes with it.
struct Scanner<'a> {
    chars: &'a [char],
    at: usize,
    state: State,
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at.saturating_add(ahead)).copied().unwrap_or('\0')
    }

    fn before(&self) -> char {
        self.at.checked_sub(1).and_then(|at| self.chars.get(at)).copied().unwrap_or('\0')
    }

    /// How many characters are taken at once here, and the state after them.
    fn step(&self) -> (usize, State) {
        match self.state {
            State::Code => self.step_code(),
            State::LineComment if self.peek(0) == '\n' => (1, State::Code),
            State::LineComment => (1, State::LineComment),
            State::BlockComment { depth } => match (self.peek(0), self.peek(1)) {
                ('/', '*') => (2, State::BlockComment { depth: depth.saturating_add(1) }),
                ('*', '/') if depth == 1 => (2, State::Code),
                ('*', '/') => (2, State::BlockComment { depth: depth.saturating_sub(1) }),
                _ => (1, self.state),
            },
            State::Text => match self.peek(0) {
                '\\' => (2, State::Text),
                '"' => (1, State::Code),
                _ => (1, State::Text),
            },
            State::RawText { hashes } => {
                let ends = self.peek(0) == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == '#');
                if ends { (hashes.saturating_add(1), State::Code) } else { (1, self.state) }
            }
        }
    }

    fn step_code(&self) -> (usize, State) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => (2, State::LineComment),
            ('/', '*') => (2, State::BlockComment { depth: 1 }),
            ('"', _) => (1, State::Text),
            // A character literal; what is left is a lifetime.
            ('\'', '\\') => {
                let end = (3..12).find(|ahead| self.peek(*ahead) == '\'').unwrap_or(3);
                (end.saturating_add(1), State::Code)
            }
            ('\'', _) if self.peek(2) == '\'' => (3, State::Code),
            ('r', '"' | '#') if !is_word(self.before()) || matches!(self.before(), 'b' | 'c') => {
                let hashes = (1..).take_while(|ahead| self.peek(*ahead) == '#').count();
                let opens = self.peek(hashes.saturating_add(1)) == '"';
                if opens { (hashes.saturating_add(2), State::RawText { hashes }) } else { (1, State::Code) }
            }
            _ => (1, State::Code),
        }
    }
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn split(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut scanner = Scanner { chars: &chars, at: 0, state: State::Code };
    let (mut code, mut comment) = (String::new(), String::new());
    while scanner.at < chars.len() {
        let (taken, next) = scanner.step();
        let is_comment = |state| matches!(state, State::LineComment | State::BlockComment { .. });
        let in_comment = is_comment(scanner.state) || is_comment(next);
        // A single character that starts and ends in code is code; a quotation mark stays, to show that text was there.
        let in_code = scanner.state == State::Code && next == State::Code && taken == 1;
        for c in chars.iter().skip(scanner.at).take(taken) {
            let keep = |yes: bool| if *c == '\n' || yes { *c } else { ' ' };
            code.push(keep(in_code || (*c == '"' && !in_comment)));
            comment.push(keep(in_comment));
        }
        scanner.at = scanner.at.saturating_add(taken);
        scanner.state = next;
    }
    let parts = text.lines().zip(code.lines().zip(comment.lines()));
    parts
        .map(|(raw, (code, comment))| Line {
            raw: raw.into(),
            code: code.into(),
            comment: comment.into(),
            is_test: false,
        })
        .collect()
}

/// The lines of each item under `#[cfg(test)]`.
fn test_lines(lines: &[Line]) -> Vec<std::ops::RangeInclusive<usize>> {
    let starts = lines.iter().enumerate().filter(|(_, line)| line.code.trim_start().starts_with("#[cfg(test)]"));
    starts.map(|(start, _)| start..=block_end(lines, start)).collect()
}

/// Where the item that starts at line `start` ends: at its closing brace, or at a semicolon before any brace.
pub fn block_end(lines: &[Line], start: usize) -> usize {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (index, line) in lines.iter().enumerate().skip(start) {
        for c in line.code.chars() {
            match c {
                '(' | '[' => brackets = brackets.saturating_add(1),
                ')' | ']' => brackets = brackets.saturating_sub(1),
                '{' => braces = braces.saturating_add(1),
                '}' if braces <= 1 => return index,
                '}' => braces = braces.saturating_sub(1),
                ';' if braces == 0 && brackets == 0 => return index,
                _ => {}
            }
        }
    }
    lines.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        split(text).iter().map(|line| line.code.as_str()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn literals_and_comments_are_blank_in_code() {
        let cases = [
            ("a(\"x{\\\"y\") b", "a( ) b"),
            ("b // c", "b"),
            ("d /* e /* f */ g */ h", "d h"),
            ("r#\"i\"j{\"# k", "k"),
            ("br\"{\" k", "b k"),
            ("'{' l '\"' m", "l m"),
            ("'\\'' m '\\u{7f}' n", "m n"),
            ("fn n<'a>(x: &'a str)", "fn n<'a>(x: &'a str)"),
            ("for r in p", "for r in p"),
        ];
        for (text, want) in cases {
            let got = code(text);
            assert_eq!(got.chars().count(), text.chars().count(), "{text}: columns stay");
            let words: Vec<String> = got.replace('"', " ").split_whitespace().map(str::to_owned).collect();
            assert_eq!(words.join(" "), want, "{text}");
        }
    }

    #[test]
    fn text_over_several_lines_stays_text() {
        let source = Source::new("a.rs", "let a = \"one\n// two\";\nlet b = 1; // three\n");
        assert_eq!(source.lines[1].comment.trim(), "");
        assert_eq!(source.lines[2].comment.trim(), "// three");
    }

    #[test]
    fn a_test_module_is_marked_to_its_brace() {
        let source =
            Source::new("gateway/src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n");
        let marked: Vec<bool> = source.lines.iter().map(|line| line.is_test).collect();
        assert_eq!(marked, [false, true, true, true, true, false]);
    }

    #[test]
    fn a_test_module_in_its_own_file_marks_only_its_declaration() {
        let source = Source::new("gateway/src/a.rs", "#[cfg(test)]\nmod tests;\nfn c() {}\n");
        let marked: Vec<bool> = source.lines.iter().map(|line| line.is_test).collect();
        assert_eq!(marked, [true, true, false]);
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        assert!(is_test_file("tests/src/gateway.rs"));
        assert!(is_test_file("gateway/src/limits/tests.rs"));
        assert!(is_test_file("gateway/src/journal/crash_tests.rs"));
        assert!(!is_test_file("gateway/src/policy/rego_test.rs"));
    }
}
